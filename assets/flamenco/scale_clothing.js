// SPDX-License-Identifier: CC0-1.0
//
// Job type for Flamenco 3: bake the clothes of a scene once, then render its frames in chunks, then make a film.
// Put this file into the folder `scripts` beside flamenco-manager and start the manager again.
//
// Only the worker that bakes needs the add-on and its backend. The others render a copy of the file that plays the bake.

const JOB_TYPE = {
    label: "SCALE Clothing: Bake and Render",
    description: "Bake the clothes to a point cache, then render the frames",
    settings: [
        { key: "frames", type: "string", required: true, visible: "submission",
          eval: "f'{C.scene.frame_start}-{C.scene.frame_end}'",
          evalInfo: { showLinkButton: true, description: "Scene frame range" },
          description: "Frames to render, such as '47', '1-30' or '3,5-10'" },
        { key: "chunk_size", type: "int32", required: true, default: 10, visible: "submission",
          propargs: { min: 1 }, description: "Frames in one render task" },
        { key: "rigs", type: "string", default: "", visible: "submission",
          description: "Names of the rigs to dress, with a / between them. Empty: all that have clothes" },
        { key: "garment", type: "string", default: "", visible: "submission",
          description: "Garment to put on first. Empty: what the rigs wear" },
        { key: "samples", type: "int32", default: 1, visible: "submission", propargs: { min: 1, max: 16 },
          description: "Samples of the clothes in a frame: 4 for motion blur" },
        { key: "output_root", type: "string", subtype: "dir_path", required: true, visible: "submission",
          description: "Folder in the shared storage; a folder named after the job is made in it" },
        { key: "output", type: "string", subtype: "dir_path", editable: false, visible: "web",
          eval: "str(Path(abspath(settings.output_root), jobname, '{timestamp}'))",
          description: "Folder of this job's results" },
        { key: "blendfile", type: "string", required: true, visible: "web", description: "The file to render" },
        { key: "fps", type: "float", eval: "C.scene.render.fps / C.scene.render.fps_base", visible: "hidden" },
        { key: "format", type: "string", required: true, visible: "web",
          eval: "C.scene.render.image_settings.file_format", description: "Format of the pictures" },
        { key: "extension", type: "string", required: true, eval: "C.scene.render.file_extension", visible: "hidden" },
    ],
};

const FILM_FORMATS = ["FFMPEG", "AVI_JPEG", "AVI_RAW"];
const NOT_FOR_FILMS = ["OPEN_EXR", "OPEN_EXR_MULTILAYER", "EXR", "MULTILAYER"];  // FFmpeg cannot read them

function compileJob(job) {
    const settings = job.settings;
    if (FILM_FORMATS.includes(settings.format)) {
        throw `Choose a format of pictures in Blender's output settings; "${settings.format}" is one of films.`;
    }
    settings.output = settings.output.replace("{timestamp}", formatTimestampLocal(job.created));
    const baked = path.join(settings.output, "baked.blend");

    const bakeTask = authorBakeTask(settings, baked);
    job.addTask(bakeTask);
    const renderTasks = frameChunker(settings.frames, settings.chunk_size).map(
        (chunk) => authorRenderTask(settings, baked, chunk));
    for (const task of renderTasks) {
        task.addDependency(bakeTask);
        job.addTask(task);
    }
    if (settings.fps && !NOT_FOR_FILMS.includes(settings.format)) {
        const filmTask = authorFilmTask(settings);
        for (const task of renderTasks) {
            filmTask.addDependency(task);
        }
        job.addTask(filmTask);
    }
}

// A bake that was stopped goes on: Flamenco may requeue the task on another worker.
function authorBakeTask(settings, baked) {
    const numbers = frameChunker(settings.frames, 1).map(Number);
    const blur = settings.samples > 1 ? 1 : 0;  // the shutter is open before the first frame and after the last
    const range = `${Math.min(...numbers) - blur}..${Math.max(...numbers) + blur}`;
    let args = ["--command", "scale_clothing", "bake", settings.blendfile, `--frames=${range}`,
                "--samples", `${settings.samples}`, "--out", path.join(settings.output, "clothes"), "--save", baked];
    for (const rig of (settings.rigs || "").split("/").filter((name) => name)) {
        args = args.concat(["--rig", rig]);
    }
    if (settings.garment) {
        args = args.concat(["--garment", settings.garment]);
    }
    const task = author.Task("bake-clothes", "blender");
    task.addCommand(author.Command("exec", { exe: "{blender}", args: args }));
    return task;
}

function authorRenderTask(settings, baked, chunk) {
    const task = author.Task(`render-${chunk}`, "blender");
    task.addCommand(author.Command("blender-render", {
        exe: "{blender}",
        exeArgs: "{blenderArgs}",
        argsBefore: [],
        blendfile: baked,
        args: [
            "--render-output", path.join(settings.output, "frames", "######"),
            "--render-format", settings.format,
            "--render-frame", chunk.replaceAll("-", ".."),
        ],
    }));
    return task;
}

function authorFilmTask(settings) {
    const task = author.Task("film", "ffmpeg");
    task.addCommand(author.Command("frames-to-video", {
        exe: "ffmpeg",
        fps: settings.fps,
        inputGlob: path.join(settings.output, "frames", `*${settings.extension}`),
        outputFile: path.join(settings.output, "film.mp4"),
        args: ["-c:v", "h264", "-crf", "20", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", "-y"],
    }));
    return task;
}
