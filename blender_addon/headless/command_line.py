"""`blender --command scale_clothing bake|render|info SCENE.blend`: for scripts and render farms.

Exit codes: 0 all is there; 1 a fault of the program; 2 wrong arguments; 3 something in the scene or its files is wrong;
4 the backend; 5 the disk; 130 and 143 stopped by SIGINT and SIGTERM: run the same command again to resume.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import bpy
from bpy.types import Object

from scale_backend.formats.closed_output import end_quietly
from scale_backend.formats.errors import UserError

from ..backend import process
from ..bake import formats, plan
from ..bake.baking import Steps
from ..bake.baking import bake as run_in_steps
from ..blender.objects import mesh_of
from ..clothes import playback, request, selection
from ..clothes.dressing import dress
from ..garments import kinds, library
from ..messages import AddonError
from ..present import present
from ..rig import recognition
from ..settings import clothes_settings, scene_settings
from ..tasks.interruption import Interruption
from . import render

COMMAND = "scale_clothing"  # Blender wants an identifier
FAILED, SCENE, BACKEND, DISK = 1, 3, 4, 5  # 2 is for a command line that was written wrongly
RANGE = re.compile(r"(-?\d+)(?:(?:-|\.\.)(-?\d+))?")
NORMAL_NAMES = {kinds.WIRE_NAMES[name]: name for name, *_ in kinds.NORMALS}
SURFACE_NAMES = {name.replace("_", "-").lower(): name for name, *_ in kinds.SURFACES}

_handle = None


def frame_ranges(text: str) -> list[tuple[int, int]]:
    """ "1-50,60,70..80" as pairs of first and last frame. Raises ArgumentTypeError."""
    ranges = []
    for part in text.replace(" ", "").split(","):
        range_of = RANGE.fullmatch(part)
        if range_of is None:
            raise argparse.ArgumentTypeError(f"'{part}' is neither a frame nor a range such as 1-50")
        first, last = int(range_of[1]), int(range_of[2] or range_of[1])
        if last < first:
            raise argparse.ArgumentTypeError(f"{part} ends before it begins")
        ranges.append((first, last))
    return ranges


def parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("scene", type=Path, metavar="SCENE.blend")
    shared.add_argument("--rig", action="append", help="name of a character's armature; may be given again. "
                        "Without it: every rig that has clothes")  # fmt: skip
    dressing = argparse.ArgumentParser(add_help=False)
    dressing.add_argument("--garment", help="name or file of a garment to put on. Without it: what the rigs wear")
    dressing.add_argument("--surface", choices=SURFACE_NAMES, help="what the clothes are made of")
    dressing.add_argument("--normals", choices=NORMAL_NAMES, help="the normals that surfaces with faces are "
                          "shaded with. Without it: unchanged")  # fmt: skip
    dressing.add_argument("--motion", type=share, help="how much the clothes feel of how the character moved, from 0, "
                          "at rest, to 1. Without it: unchanged")  # fmt: skip
    dressing.add_argument("--fabric", help="fabric that the cloth behaves as, of those that the garment was trained on")
    dressing.add_argument("--mixed-with", help="another fabric that it behaves as in part, as --mix says")
    dressing.add_argument("--mix", type=share, help="how much of that, from 0 to 1. Without it: unchanged")
    dressing.add_argument("--pre-roll", action=argparse.BooleanOptionalAction, help="whether the clothes feel what the "
                          "animation has before the scene's first frame. Without it: unchanged")  # fmt: skip
    dressing.add_argument("--frames", type=frame_ranges, help="1-250, or 1-50,60,70-80. Without it: the scene's")
    dressing.add_argument("--out", type=Path, help="folder of the results")
    dressing.add_argument("--overwrite", action="store_true", help="replace what is there already")
    top = argparse.ArgumentParser(prog=COMMAND, description=__doc__.splitlines()[0],
                                  epilog=" ".join(__doc__.split("\n\n")[1].split()))  # fmt: skip
    commands = top.add_subparsers(dest="command", required=True)
    baking = commands.add_parser("bake", parents=[shared, dressing], help="write the clothes to disk")
    baking.add_argument("--format", choices=[each.key.lower() for each in formats.FORMATS], default="pc2",
                        help="pc2 (the default) plays in any Blender, the others in other programs")  # fmt: skip
    baking.add_argument("--step", type=positive, default=1, help="frames from one sample to the next")
    baking.add_argument("--samples", type=positive, default=1, help="samples in a step, for motion blur")
    baking.add_argument("--save", type=Path, metavar="BAKED.blend", help="also save the scene, playing the point cache")
    rendering = commands.add_parser("render", parents=[shared, dressing], help="render the frames in the clothes")
    rendering.add_argument("--engine", choices=render.ENGINES, help="without it: the scene's")
    rendering.add_argument("--samples", type=positive, help="samples a pixel; without it: the scene's")
    rendering.add_argument("--size", type=positive, help="per cent of the scene's resolution")
    commands.add_parser("info", parents=[shared], help="what is in a scene, as JSON")
    return top


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return number


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code."""
    try:
        options = parser().parse_args(list(arguments))
    except SystemExit as end:  # of argparse, which has said why
        return int(end.code or 0)
    try:
        open_scene(options.scene)
        with Interruption() as interruption:
            {"bake": run_bake, "render": run_render, "info": run_info}[options.command](options, interruption)
            if interruption.signal:
                say("stopped; run the same command again to resume")
            return interruption.exit_code
    except plan.DiskError as error:
        return fail(error, DISK)
    except process.BackendError as error:
        return fail(error, BACKEND)
    except UserError as error:
        return fail(error, SCENE)
    except BrokenPipeError:
        return end_quietly()
    except Exception:
        traceback.print_exc()
        return FAILED
    finally:
        process.stop()


def open_scene(path: Path) -> None:
    """Raises AddonError."""
    try:
        bpy.ops.wm.open_mainfile(filepath=str(path.absolute()), load_ui=False)
    except RuntimeError as error:
        raise AddonError(f"{path} could not be opened: {str(error).removeprefix('Error: ').strip()}") from error


def chosen_rigs(names: Sequence[str] | None, bare: bool) -> list[Object]:
    """The named rigs, else all that wear clothes; with `bare`, all rigs where none does. Raises AddonError."""
    scene = present(bpy.context.scene)
    if names:
        named: list[Object] = []
        for name in names:
            target = scene.objects.get(name)
            if target is None:
                raise AddonError(f"The scene has no object '{name}'; 'info' lists its rigs.")
            recognition.recognise(target)
            named.append(target)
        return named
    rigs = [obj for obj in scene.objects if recognition.is_rig(obj)]
    return [each for each in rigs if selection.clothes_of(each)] or (rigs if bare else [])


def dressed(options: argparse.Namespace) -> list[Object]:
    """The clothes that a command is about, put on where that is asked for. Raises AddonError and BackendError."""
    rigs = chosen_rigs(options.rig, bare=options.garment is not None)
    if not rigs:
        raise AddonError(f"No rig in {options.scene.name} has clothes; name a garment with --garment, or a rig.")
    worn = []
    for target in rigs:
        clothes = selection.clothes_of(target)
        if not clothes and options.garment is None:
            raise AddonError(f"'{target.name}' has no clothes; name a garment with --garment.")
        worn += [wear(target, clothes[0] if clothes else None, options)]
        if options.normals:
            shade(worn[-1], NORMAL_NAMES[options.normals])
        behave(worn[-1], options)
    chosen = scene_settings(bpy.context.scene)
    if options.pre_roll is not None and options.pre_roll != chosen.pre_roll:
        for obj in worn:
            if library.entry(clothes_settings(obj).garment).window().lags:
                playback.clear_bake(obj)
        chosen.pre_roll = options.pre_roll
    return worn


def wear(target: Object, clothes: Object | None, options: argparse.Namespace) -> Object:
    """The clothes of a rig, generated anew only where they are others than asked for."""
    chosen = clothes_settings(clothes) if clothes else scene_settings(bpy.context.scene)
    key = options.garment or chosen.garment
    if Path(key).is_file():
        key = str(Path(key).absolute())
    surface = SURFACE_NAMES[options.surface] if options.surface else chosen.surface
    if clothes is not None and (chosen.garment, chosen.surface) == (key, surface):
        return clothes
    say(f"dressing '{target.name}' in '{key}'")
    return dress(bpy.context, target, key, surface, chosen.part)


def shade(obj: Object, normals: str) -> None:
    """Have clothes show these normals; a bake with others goes."""
    settings = clothes_settings(obj)
    if not kinds.has_choice_of_normals(settings.surface):
        say(f"note: '{obj.name}' is {settings.surface.lower()}, which leaves no choice of normals")
    elif settings.normals != normals:
        playback.clear_bake(obj)
        settings.normals = normals


def behave(obj: Object, options: argparse.Namespace) -> None:
    """Have clothes behave as asked for; a bake of others goes. Raises AddonError."""
    settings = clothes_settings(obj)
    known = library.entry(settings.garment).fabrics()
    for fabric in (options.fabric, options.mixed_with):
        if fabric is not None and fabric.lower() not in known:
            raise AddonError(f"'{obj.name}' was not trained on {fabric}: its garment knows "
                             f"{', '.join(known) or 'one fabric alone'}.")  # fmt: skip
    named = (fabric and fabric.capitalize() for fabric in (options.fabric, options.mixed_with))
    asked = dict(zip(("behaves_as", "mixed_with"), named, strict=True)) | {"motion": options.motion, "mix": options.mix}
    for name, value in asked.items():
        if value is not None and getattr(settings, name) != value:
            playback.clear_bake(obj)
            setattr(settings, name, value)


def run_bake(options: argparse.Namespace, interruption: Interruption) -> None:
    scene = present(bpy.context.scene)
    worn = dressed(options)
    folder = str(options.out.absolute()) if options.out else scene_settings(scene).bake_folder
    whole = (scene.frame_start, scene.frame_end)
    tell_outside(options.frames)
    for first, last in options.frames or [whole]:
        # a chunk has those of the whole range's samples that lie in it
        begin = whole[0] + math.ceil((first - whole[0]) / options.step) * options.step
        if begin > last:
            say(f"nothing to bake in {first}-{last}: the step leaves it out")
            continue
        settings = plan.BakeSettings(
            folder, begin, last, options.overwrite, options.format.upper(), options.step, options.samples,
            keep=not options.overwrite,
            label="" if (first, last) == whole or formats.BY_KEY[options.format.upper()].is_sequence
            else f"_{first:04d}-{last:04d}",
        )  # fmt: skip
        names = ", ".join(f"'{obj.name}'" for obj in worn)
        folder_path = plan.bake_path(worn[0], settings).parent
        say(f"bake {first}-{last} of {names}: {plan.megabytes(plan.size(worn, settings))} to {folder_path}")
        follow(run_in_steps(scene, worn, settings), interruption)
        if interruption.signal:
            return
        for obj in worn:
            files = plan.results(plan.bake_path(obj, settings), settings)
            say(f"saved {files[0]}" + (f" to {files[-1].name}" if len(files) > 1 else ""))
    if options.save:
        options.save.parent.mkdir(parents=True, exist_ok=True)
        bpy.ops.wm.save_as_mainfile(filepath=str(options.save.absolute()), copy=True, relative_remap=True)
        say(f"saved {options.save}")


def run_render(options: argparse.Namespace, interruption: Interruption) -> None:
    scene = present(bpy.context.scene)
    folder = options.out.absolute() if options.out else Path(bpy.path.abspath("//frames")).absolute()
    render.prepare(scene, options.engine, options.samples, options.size)
    ranges = options.frames or [(scene.frame_start, scene.frame_end)]
    tell_outside(options.frames)
    frames = sorted({frame for first, last in ranges for frame in range(first, last + 1)})
    missing = [frame for frame in frames if options.overwrite or not render.picture(scene, folder, frame).exists()]
    if len(missing) < len(frames):
        say(f"skipped {len(frames) - len(missing)} frames that are in {folder}")
    if not missing:
        return
    worn = [obj for obj in dressed(options) if not playback.is_baked(obj) and not plan.why_no_cache(obj)]
    scraps = Path(tempfile.mkdtemp(prefix="scale-render-"))
    with render.played(scene, worn, missing, scraps) as steps:
        follow(steps, interruption)
        for done, frame in enumerate(missing, 1):
            if interruption.signal:
                return
            path = render.render(scene, folder, frame, scraps, interruption)
            say(f"saved {path}")
            say_progress(done, len(missing), f"Rendering {frame}")


def run_info(options: argparse.Namespace, _interruption: Interruption) -> None:
    scene = present(bpy.context.scene)
    rigs = chosen_rigs(options.rig, bare=True)
    print(
        json.dumps(
            {
                "scene": str(options.scene),
                "blender": bpy.app.version_string,
                "frames": [scene.frame_start, scene.frame_end],
                "pre_roll": scene_settings(scene).pre_roll,
                "rate": scene.render.fps / scene.render.fps_base,
                "engine": scene.render.engine,
                "camera": scene.camera.name if scene.camera else None,
                "formats": {each.key.lower(): formats.why_missing(each.key) or "yes"
                            for each in formats.FORMATS},
                "rigs": [
                    {
                        "name": target.name,
                        "family": recognition.recognise(target).family,
                        "clothes": [clothes_info(obj, scene) for obj in selection.clothes_of(target)],
                    }
                    for target in rigs
                ],
            },
            indent=1,
        ),
        flush=True,
    )  # fmt: skip


def clothes_info(obj: Object, scene: bpy.types.Scene) -> dict:
    settings = clothes_settings(obj)
    return {
        "name": obj.name,
        "garment": settings.garment,
        "usable": library.entry(settings.garment).problem or "yes",
        "surface": settings.surface.lower(),
        "part": settings.part.lower(),
        "normals": kinds.WIRE_NAMES["DECODED" if settings.surface == "POINTS" else request.shown_normals(obj)],
        "feels_motion": bool(library.entry(settings.garment).window().lags),
        "motion": settings.motion,
        "fabrics": list(library.entry(settings.garment).fabrics()),
        "fabric": request.fabric_of(obj),
        "vertices": len(mesh_of(obj).vertices),
        "baked": playback.is_baked(obj),
        "bytes": {
            each.key.lower(): plan.size(
                [obj], plan.BakeSettings("", scene.frame_start, scene.frame_end, format=each.key)
            )
            for each in formats.FORMATS
        },
    }


def tell_outside(ranges: list[tuple[int, int]] | None) -> None:
    """Frames that the scene does not have may be a mistake, or wanted."""
    scene = present(bpy.context.scene)
    for first, last in ranges or []:
        if first < scene.frame_start or last > scene.frame_end:
            asked = f"{first}-{last}" if first != last else f"{first}"
            say(f"note: {asked} goes beyond the scene's frames, {scene.frame_start}-{scene.frame_end}")


def follow(steps: Steps, interruption: Interruption) -> None:
    """Work through a bake and tell how far it is; stop it when that is asked for."""
    told, started = -1, time.monotonic()
    try:
        for step in steps:
            if interruption.signal:
                return
            share = 100 * step.done // max(step.total, 1)
            if share > told:
                told = share
                say_progress(step.done, step.total, step.text)
    finally:
        steps.close()
    if told >= 0:
        say(f"baked in {time.monotonic() - started:.1f} s")


def say_progress(done: int, total: int, text: str) -> None:
    say(f"progress {done}/{total} {100 * done // total}% {text}")


def say(text: str) -> None:
    """A line that a farm can tell from Blender's own."""
    print(f"scale_clothing: {text}", flush=True)


def fail(error: Exception, code: int) -> int:
    print(f"scale_clothing: error: {error}", file=sys.stderr, flush=True)
    return code


def register() -> None:
    global _handle
    _handle = bpy.utils.register_cli_command(COMMAND, main)  # type: ignore[func-returns-value]  # it does


def unregister() -> None:
    global _handle
    if _handle is not None:
        bpy.utils.unregister_cli_command(_handle)
        _handle = None
