"""The job type for Flamenco: its tasks, and that the commands it asks for exist."""

from __future__ import annotations

import glob
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blender_addon.headless import command_line
from tests.addon.test_command_line import farm  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "frames": "5-26", "chunk_size": 10, "samples": 4, "rigs": "Anna/Ben", "garment": "dress",
    "output": "/shared/{timestamp}", "blendfile": "/shared/scene.blend", "fps": 24, "format": "PNG",
    "extension": ".png",
}  # fmt: skip

# Blender's own part of a render task, for the bpy module, which reads no command line; the add-on is not registered
RENDER = """
import sys
import bpy
blendfile, _, output, _, kind, _, frames = sys.argv[1:]
bpy.ops.wm.open_mainfile(filepath=blendfile)
assert not hasattr(bpy.types.Scene, "scale_clothing"), "the add-on is here"
scene = bpy.context.scene
scene.render.filepath, scene.render.image_settings.file_format = output, kind
for part in frames.split(","):
    scene.frame_start, scene.frame_end = int(part.split("..")[0]), int(part.split("..")[-1])
    bpy.ops.render.render(animation=True)
"""

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs node, to run JavaScript")


def compiled(**settings) -> dict:
    command = ["node", ROOT / "tests/addon/flamenco_job.js", ROOT / "assets/flamenco/scale_clothing.js"]
    done = subprocess.run([*command, json.dumps(SETTINGS | settings)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_bake_then_chunks_then_film():
    tasks = compiled()["tasks"]
    assert [task["name"] for task in tasks] == ["bake-clothes", "render-5-14", "render-15-24", "render-25,26", "film"]
    assert [task["dependencies"] for task in tasks] == [[], *[["bake-clothes"]] * 3, [t["name"] for t in tasks[1:4]]]
    render = tasks[1]["commands"][0]["parameters"]
    assert render["blendfile"] == "/shared/2026-01-02_030405/baked.blend" and render["args"][-1] == "5..14"


def test_the_bake_is_one_that_the_command_line_knows():
    (command,) = compiled()["tasks"][0]["commands"]
    assert command["name"] == "exec" and command["parameters"]["exe"] == "{blender}"
    flag, name, *arguments = command["parameters"]["args"]
    assert (flag, name) == ("--command", command_line.COMMAND)
    options = command_line.parser().parse_args(arguments)
    assert options.frames == [(4, 27)] and options.rig == ["Anna", "Ben"] and options.garment == "dress"
    assert options.samples == 4 and options.save == Path("/shared/2026-01-02_030405/baked.blend")
    assert compiled(samples=1, frames="1-3")["tasks"][0]["commands"][0]["parameters"]["args"][4] == "--frames=1..3"


def run(command: dict, environment: dict) -> None:
    """What a worker does with a command."""
    parameters = command["parameters"]
    if command["name"] == "exec":
        line = ["-m", "blender_addon.batch", *parameters["args"][2:]]  # without --command scale_clothing
    else:
        line = ["-c", RENDER, parameters["blendfile"], *parameters["args"]]
    done = subprocess.run(
        [sys.executable, *line], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_commands_of_a_job_leave_its_frames(farm, tmp_path):  # noqa: F811
    settings = {"frames": "3-5,8", "chunk_size": 2, "samples": 2, "rigs": "", "garment": "", "output": str(tmp_path),
                "blendfile": str(farm.scene)}  # fmt: skip
    *tasks, film = compiled(**settings)["tasks"]
    assert [task["name"] for task in tasks] == ["bake-clothes", "render-3,4", "render-5,8"]
    for task in tasks:
        run(*task["commands"], farm.environment)
    pictures = sorted(glob.glob(film["commands"][0]["parameters"]["inputGlob"]))
    assert [Path(each).name for each in pictures] == ["000003.png", "000004.png", "000005.png", "000008.png"]
    code, told = farm.run("render", "--frames", "5", "--out", tmp_path / "live")
    assert code == 0, told
    shown = tmp_path / "live" / "0005.png"
    played, live = (np.asarray(Image.open(each).convert("RGB"), int) for each in (pictures[2], shown))
    assert np.abs(played - live).max() <= 2 and played.std() > 5


def test_pictures_that_ffmpeg_cannot_read_give_no_film():
    assert compiled(format="OPEN_EXR")["tasks"][-1]["name"].startswith("render")


def test_every_setting_has_what_flamenco_asks_for():
    for setting in compiled()["jobType"]["settings"]:
        assert {"key", "type"} <= setting.keys()
        assert setting["type"] in {"string", "int32", "float", "bool"}
        assert setting.get("visible", "visible") in {"visible", "hidden", "submission", "web"}
