"""The installed package, without the checkout and without Blender: from raw pairs to a garment, files and pictures."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from scale_backend.model.garment import load_garment
from tests.training.test_pairs import write_pair

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("LICENSE", "README.md", "pyproject.toml", "scale_backend", "training", "assets")
# the commands of docs/training.md; its recipe with a size that is tried in seconds
COMMANDS = """
scale-train recipe dress
scale-train pack raw/ --out packed/ --processes 1
scale-train check packed/
scale-train train recipe.yaml
scale-train test --config recipe.yaml
scale-train render results/shirt/
scale-backend decode dress --motion walk --out frames/ --frames 1-1
"""
RECIPE = "name: shirt\ndata_root: packed\nepochs: 2\nbatch_size: 2\nscan_npoints: 1000\nhsize: 32\nnf: 8\nnpoints: 4\n"


@pytest.fixture(scope="module")
def scripts(tmp_path_factory) -> Path:
    """The commands of an environment with the package installed; third-party packages are this one's, less bpy."""
    folder = tmp_path_factory.mktemp("installed")
    for name in SHIPPED:  # building leaves files behind
        if (ROOT / name).is_dir():
            left_out = shutil.ignore_patterns("*.pyc", *(["frames"] if name == "assets" else []))
            shutil.copytree(ROOT / name, folder / "source" / name, ignore=left_out)
        else:
            (folder / "source").mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / "source")
    venv.create(folder / "env", with_pip=False)
    scripts = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    site = Path(sysconfig.get_path("purelib", vars={"base": folder / "env", "platbase": folder / "env"}))
    (site / "bpy.py").write_text("raise ImportError('There is no Blender here.')")
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    install = [sys.executable, "-m", "pip", "--python", str(scripts / "python"), "install", "--quiet", "--no-deps",
               "--no-build-isolation", str(folder / "source")]  # fmt: skip
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return scripts


def test_the_documented_way_from_scans_to_pictures(scripts, tmp_path):
    for number, split in enumerate(("train", "train", "val", "test")):
        write_pair(tmp_path / "raw" / split, f"shirt_walk.{number:05d}", number)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    documented = "".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    for line in COMMANDS.strip().splitlines():
        program, *arguments = line.split()
        assert f"{program} {arguments[0]}" in documented
        done = subprocess.run([scripts / program, *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, (line, done.stderr)
        assert arguments[0] != "pack" or "pairs: 100%" in done.stderr
    assert load_garment(tmp_path / "runs" / "shirt" / "shirt.safetensors").training["steps"] == 2
    results = tmp_path / "results" / "shirt"
    assert len(list(results.glob("*.ply"))) == 2 and len(list(results.rglob("*.png"))) == 2
    assert sorted(path.name for path in results.rglob("*.mp4")) == ["normals.mp4", "patches.mp4"]
    assert len(list((tmp_path / "frames").glob("*.ply"))) == 1
    where = subprocess.run([scripts / "python", "-c", "import training; print(training.__file__)"], cwd=tmp_path,
                           capture_output=True, text=True)  # fmt: skip
    assert Path(where.stdout.strip()).is_relative_to(scripts.parent)
