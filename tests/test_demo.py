"""The demo from the zip to the film, small; and its .blend in a Blender that has no add-on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]

PLAY = """
import json, sys
import bpy, numpy as np
bpy.ops.wm.open_mainfile(filepath=sys.argv[1])
assert not hasattr(bpy.types.Scene, "scale_clothing"), "the add-on is here"
clothes = next(o for o in bpy.data.objects if any(m.type == "MESH_CACHE" for m in o.modifiers))
played = []
for frame in (1, 20, 40):
    bpy.context.scene.frame_set(frame)
    mesh = clothes.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    points = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.attributes["position"].data.foreach_get("vector", points.ravel())
    played.append(points)
steps = [float(np.abs(b - a).max()) for a, b in zip(played, played[1:])]
print("PLAYED", json.dumps({"points": len(played[0]), "steps": steps}))
"""


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    ran = run("-m", "demo", "--out", str(out), "--frames", "3", "--step", "20", "--size", "96", "--samples", "1")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    return out


def test_demo_leaves_pictures_film_and_scene(demo: Path) -> None:
    frames = sorted((demo / "frames").glob("*.png"))
    assert len(frames) == 3
    sizes = {Image.open(frame).size for frame in frames}
    assert sizes == {(80, 96)}
    assert Image.open(demo / "contact-sheet.png").size[0] > 3 * 80
    assert b"ftyp" in (demo / "film.mp4").read_bytes()[:16]


def test_demo_scene_plays_without_the_addon(demo: Path, tmp_path: Path) -> None:
    ran = run("-c", PLAY, str(demo / "demo.blend"), env={"BLENDER_USER_RESOURCES": str(tmp_path)})
    line = next((line for line in ran.stdout.splitlines() if line.startswith("PLAYED ")), None)
    assert line, ran.stdout + ran.stderr
    played = json.loads(line.removeprefix("PLAYED "))
    assert played["points"] > 100
    assert all(step > 0.01 for step in played["steps"])


def test_unknown_garment_is_one_sentence(tmp_path: Path) -> None:
    ran = run("-m", "demo", "--out", str(tmp_path), "--garment", "cape")
    assert ran.returncode == 1
    assert "No garment is called 'cape'" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_pictures_of_the_readme_are_made_anew(tmp_path: Path) -> None:
    ran = run("-m", "demo.pictures", "--out", str(tmp_path), "--only", "dance", "--samples", "1")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    with Image.open(tmp_path / "dance.jpg") as sheet, Image.open(ROOT / "docs" / "pictures" / "dance.jpg") as shown:
        assert sheet.size == shown.size
        apart = [abs(a - b) for a, b in zip(tiny(sheet), tiny(shown), strict=True)]
    assert sum(apart) / len(apart) < 8


def tiny(picture: Image.Image) -> bytes:
    return picture.convert("L").resize((60, 24)).tobytes()
