"""The job type for Flamenco: its tasks, and that the commands it asks for exist."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from blender_addon import command_line

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "frames": "5-26", "chunk_size": 10, "samples": 4, "rigs": "Anna/Ben", "garment": "dress",
    "output": "/shared/{timestamp}", "blendfile": "/shared/scene.blend", "fps": 24, "format": "PNG",
    "extension": ".png",
}  # fmt: skip

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs node, to run JavaScript")


def compiled(**settings) -> dict:
    command = ["node", ROOT / "tests/addon/flamenco_job.js", ROOT / "assets/flamenco/scale_clothing.js"]
    done = subprocess.run([*command, json.dumps(SETTINGS | settings)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_bake_then_chunks_then_film():
    tasks = compiled()["tasks"]
    assert [task["name"] for task in tasks] == ["bake-clothes", "render-5-14", "render-15-24", "render-25-26", "film"]
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


def test_pictures_that_ffmpeg_cannot_read_give_no_film():
    assert compiled(format="OPEN_EXR")["tasks"][-1]["name"].startswith("render")


def test_every_setting_has_what_flamenco_asks_for():
    for setting in compiled()["jobType"]["settings"]:
        assert {"key", "type"} <= setting.keys()
        assert setting["type"] in {"string", "int32", "float", "bool"}
        assert setting.get("visible", "visible") in {"visible", "hidden", "submission", "web"}
