"""What goes wrong for users, through the real command lines: one sentence that says what to do, and a failing exit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scale_backend.model.network import NetworkSettings
from tests.backend.test_import_checkpoint import write_checkpoint
from tests.training.synthetic import write_raw_folder
from tests.training.test_pairs import write_pair
from training.cli import main
from training.frames.pack import PackSettings
from training.frames.pack import run as pack
from training.frames.packed_frames import PackedFrameError, read_packed

SCANS = """
name: shirt
data_root: {data}
epochs: {epochs}
val_every: 1
batch_size: 2
scan_npoints: 500
hsize: 16
nf: 4
npoints: 4
{more}
"""
MODULES = {"scale-train": "training.cli", "scale-backend": "scale_backend.cli"}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Raw frames, packed frames, pairs, a training of two steps, a garment, results."""
    folder = tmp_path_factory.mktemp("failures")
    write_raw_folder(folder / "raw", {"train": 2, "val": 1, "test": 1})
    for size, name in ((32, "packed"), (64, "packed64")):
        pack(PackSettings(raw=folder / "raw", out=folder / name, points=600, map_size=size))
    write_pair(folder / "pairs" / "train", "shirt_walk.00001", 1)
    (folder / "scans.yaml").write_text(SCANS.format(data="packed", epochs=2, more=""))
    (folder / "empty").mkdir()
    for split in ("train", "val", "test"):  # one frame of another map size in each
        (folder / "mixed" / split).mkdir(parents=True)
        for name in ("packed", "packed64"):
            frame = next((folder / name / split).glob("*.npz"))
            shutil.copy(frame, folder / "mixed" / split / f"{name}.npz")
    (folder / "only-val").mkdir()
    shutil.copytree(folder / "packed" / "val", folder / "only-val" / "val")
    (folder / "only-train").mkdir()
    shutil.copytree(folder / "packed" / "train", folder / "only-train" / "train")
    for name in ("none", "empty", "only-val", "mixed"):
        (folder / f"{name}.yaml").write_text(SCANS.format(data=name, epochs=1, more=""))
    (folder / "patience.yaml").write_text(SCANS.format(data="only-train", epochs=1, more="patience: 2"))
    (folder / "surface.yaml").write_text("name: shirt\ndata: packed\n")
    assert said(folder, "train scans.yaml --out runs/shirt") == (0, [])
    assert said(folder, "test runs/shirt/shirt.safetensors --packed packed --out results") == (0, [])
    return folder


def said(folder: Path, line: str, program: str = "scale-train", before: str = "") -> tuple[int, list[str]]:
    """Run a command in a process of its own: exit status, and what it said that is no progress.

    before: shell commands, as root of a name space of its own.
    """
    run = f"import sys; from {MODULES[program]} import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", run, *line.split()]
    if before:
        script = f'{before} && exec "$@"'
        command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", *command]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=environment)
    return done.returncode, without_progress(done.stderr)


def without_progress(text: str) -> list[str]:
    lines = [line for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return [line for line in lines if "%|" not in line and "?it/s" not in line and "held-out mm" not in line]


def assert_told(answer: tuple[int, list[str]], *parts: str) -> None:
    status, lines = answer
    assert status == 2, answer
    assert len(lines) == 1, lines
    assert all(part in lines[0] for part in parts), lines[0]


def can_mount() -> bool:
    try:
        command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
        return subprocess.run(command, capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def small_disk(kilobytes: int) -> str:
    """Shell commands that put so small a file system at `full`; 0: one that is full."""
    filled = "head -c 8192 /dev/zero > full/filler"
    return f"mount -t tmpfs -o size={kilobytes or 8}k tmpfs full" + ("" if kilobytes else f" && {filled}")


def test_a_full_disk(made, tmp_path):
    """Each command writes to a file system of its own that is too small."""
    if not can_mount():
        pytest.skip("this system lets no user mount a file system")
    (made / "full").mkdir()
    garment, figures = "runs/shirt/shirt.safetensors", "full/figures.json"
    commands = [
        (8, "pack raw --out full/packed", "full/packed/train/"),
        (8, "pack pairs --out full/packed", "full/packed/train/"),
        (40, "posmap --size 64 --out full/map", "full/map/"),
        (8, f"test {garment} --packed packed --out full/results", "full/results/"),
        (8, "render results --out full/pictures", "full/pictures/"),
        (0, f"evaluate {garment} --raw raw --split val --json {figures}", figures),
    ]
    for kilobytes, line, named in commands:
        answer = said(made, line, before=small_disk(kilobytes))
        assert_told(answer, named, "No space left on device", "free some space")
    model, latent, _ = write_checkpoint(tmp_path, NetworkSettings(unet_width=4, hidden=32))
    line = f"import-checkpoint {model} {latent} --body neutral --out full/g.safetensors"
    answer = said(made, line, "scale-backend", small_disk(40))
    assert_told(answer, "full/g.safetensors", "No space left on device", "free some space")


@pytest.mark.parametrize("share", [0.02, 0.4, 0.6, 0.8, 0.95])
def test_a_disk_that_gets_full_while_training(made, share):
    """In the shards, a curve, a checkpoint, a sample or the garment: wherever it happens to be."""
    if not can_mount():
        pytest.skip("this system lets no user mount a file system")
    (made / "full").mkdir(exist_ok=True)
    whole = sum(path.stat().st_size for path in (made / "runs" / "shirt").rglob("*") if path.is_file())
    answer = said(made, "train scans.yaml --out full/run", before=small_disk(int(share * whole / 1024)))
    assert_told(answer, "full/run", "No space left on device", "free some space")


GARMENT = "runs/shirt/shirt.safetensors"
MISTAKES = [
    ("train nothing.yaml", "There is no recipe nothing.yaml", "name a YAML file", "scale-train recipe"),
    ("train none.yaml --out out", "There is no folder none", "scale-train simulate or pack", "--data"),
    ("train empty.yaml --out out", "empty holds no frames", "scale-train simulate or pack", "--data"),
    ("train only-val.yaml --out out", "no packed frames of the split 'train' (splits there: val)", "scale-train pack"),
    ("train mixed.yaml --out out", "map of 32 pixels (there: posmap64)", "pack it again with --map-size 32"),
    ("train patience.yaml --out out", "patience: 2", "'val'", "leave out patience"),
    ("train surface.yaml --out out", "packed holds packed frames", "set carrier: body"),
    ("train scans.yaml --out runs/shirt", "holds a training already", "--resume, or choose another --out"),
    ("train scans.yaml --out empty --resume", "There is no checkpoint in empty", "leave out --resume"),
    ("train scans.yaml --device tpu", "'tpu' is not available here", "there are: "),
    (f"test {GARMENT} --packed none", "There is no folder none", "name one"),
    (f"test {GARMENT} --packed empty", "no packed frames of the split 'test' (splits there: none)", "scale-train pack"),
    (f"test {GARMENT} --packed only-val", "split 'test' (splits there: val)", "scale-train pack"),
    (f"test {GARMENT} --packed mixed", "no positional map of 32 pixels", "pack it again with --map-size 32"),
    ("test model.pt --packed packed", "model.pt is a checkpoint", "import-checkpoint"),
    ("test none.safetensors --packed packed", "There is no file none.safetensors"),
    ("test --config nothing.yaml", "There is no recipe nothing.yaml", "name a YAML file"),
    ("pack none --out out", "There is no none", "name a folder"),
    ("pack empty --out out", "empty holds neither", "NAME_clothed.obj", "name another folder"),
    ("pack pairs --out out --splits val", "of the splits val", "name another folder"),
    ("pack raw --out out --splits path", "no frames of the splits path", "--splits"),
    ("pack raw --out packed64", "packed64 holds frames with maps of 64 pixels", "choose another --out"),
    ("pack raw --out out --map-size 48", "32, 64, 128, 256 pixels", "48"),
    ("check none", "none holds neither", "scale-train simulate or pack"),
    ("check empty", "empty holds neither", "scale-train simulate or pack"),
    ("check only-val", "only-val has 1 fault", "again, or delete"),
    ("check mixed", "mixed has ", "faults; they are above", "again, or delete"),
    (f"evaluate {GARMENT} --raw empty --split val", "garment.npz is missing", "scale-train simulate"),
    (f"evaluate {GARMENT} --raw raw --split path", "no frames of the split 'path'", "scale-train simulate"),
    ("evaluate dress --raw raw", "they are of another garment"),
    ("render none", "There is no folder none", "scale-train test"),
    ("render empty", "empty holds no .ply files", "scale-train test"),
    ("render results --size 4", "16 to 8192 pixels"),
    ("posmap --template none.obj", "none.obj", "There is no"),
    ("simulate --garment dress --split trian", "no split 'trian'", "choose one of train"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "parts"), [(line, parts) for line, *parts in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_a_mistake_is_one_sentence(made, monkeypatch, capsys, line, parts):
    monkeypatch.chdir(made)
    status = main(line.split())
    assert_told((status, without_progress(capsys.readouterr().err)), *parts)


IMPORT = "import-checkpoint {model} {latent} --body neutral --out "
BACKEND_MISTAKES = [
    ("decode {garment} --packed none --out out", "There is no folder none", "name one"),
    ("decode {garment} --packed empty --out out", "empty holds no packed frames"),
    ("decode {garment} --packed packed64 --out out", "lacks posmap32", "pack it again"),
    (IMPORT.replace("{model}", "none.pt") + "g.safetensors", "There is no none.pt", "name one"),
    (IMPORT.replace("{model}", "{other}") + "g.safetensors", "checkpoint of another network", "lacks"),
    (IMPORT + "none.txt", "is written as .safetensors", "name the file"),
]


@pytest.mark.parametrize(("line", "parts"), [(line, parts) for line, *parts in BACKEND_MISTAKES])
def test_a_mistake_of_the_backends_commands_is_one_sentence(made, tmp_path, line, parts):
    settings = NetworkSettings(unet_width=4, hidden=32)
    (tmp_path / "other").mkdir()
    other, _, _ = write_checkpoint(tmp_path / "other", settings, lambda state: state.pop("map2Dto3D.bn6N.weight"))
    model, latent, _ = write_checkpoint(tmp_path, settings)
    line = line.format(garment=GARMENT, other=other, model=model, latent=latent)
    assert_told(said(made, line, "scale-backend"), *parts)


def test_a_checkpoint_of_another_network(made, tmp_path, monkeypatch, capsys):
    """Of a recipe with other settings, of the research code, or none at all."""
    monkeypatch.chdir(made)
    shutil.copytree("runs/shirt", tmp_path / "run")
    wider = SCANS.format(data=made / "packed", epochs=3, more="").replace("hsize: 16", "hsize: 24")
    (tmp_path / "wider.yaml").write_text(wider)
    command = ["train", f"{tmp_path}/wider.yaml", "--resume", "--out", f"{tmp_path}/run"]
    assert_told((main(command), without_progress(capsys.readouterr().err)), "network with other settings",
                "hidden: 16 there, 24 here", "take the recipe it was made with, or another output folder")  # fmt: skip
    for path in (tmp_path / "run").glob("*.pt"):
        path.unlink()
    model, _, _ = write_checkpoint(tmp_path, NetworkSettings(unet_width=4, hidden=32))
    model.rename(tmp_path / "run" / "checkpoint-00000001.pt")
    assert_told((main(command), without_progress(capsys.readouterr().err)), "no checkpoint of scale-train")
    (tmp_path / "run" / "checkpoint-00000001.pt").write_text("none")
    told = (main(command), without_progress(capsys.readouterr().err))
    assert_told(told, "checkpoint-00000001.pt cannot be read as a checkpoint", "delete it")


def test_simulating_without_blender_is_told(tmp_path):
    """In a Python that lacks bpy: also where `evaluate` would simulate the frames that it measures on."""
    for line in ("simulate --count 1 --out raw", "evaluate dress --raw raw"):
        run = "import sys; sys.modules['bpy'] = None; from training.cli import main; sys.exit(main(sys.argv[1:]))"
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run([sys.executable, "-c", run, *line.split()], cwd=tmp_path, capture_output=True, text=True,
                              env=environment, timeout=120)  # fmt: skip
        assert_told((done.returncode, without_progress(done.stderr)), "Blender's Python module", "pip install")
    assert list(tmp_path.iterdir()) == []


def test_frames_of_the_wrong_shape_are_told(made, tmp_path):
    with np.load(next((made / "packed" / "train").glob("*.npz"))) as file:
        arrays = {name: file[name] for name in file.files}
    for change, told in (
        ({"posmap32": arrays["posmap32"][:16]}, r"posmap32 of the shape \[16, 32, 3\] instead of 32 x 32 x 3"),
        ({"scan_n": arrays["scan_n"][:5]}, "600 scan points but 5 in scan_n"),
        ({"scan_pc": arrays["scan_pc"][:0], "scan_n": arrays["scan_n"][:0]}, "0 scan points"),
        ({"body_verts": arrays["body_verts"][0]}, "body_verts of the shape"),
    ):
        np.savez(tmp_path / "a.npz", **arrays | change)
        with pytest.raises(PackedFrameError, match=told):
            read_packed(tmp_path / "a.npz")
