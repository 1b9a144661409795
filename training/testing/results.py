"""`scale-train test`: packed frames through a garment, as .ply files and figures."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from scale_backend.formats.frame_files import write_whole
from scale_backend.formats.whole_files import append_line
from training.config import ConfigError, Recipe, read_recipe

if TYPE_CHECKING:
    import torch

    from scale_backend.geometry.body import Body
    from scale_backend.model.garment import Garment
    from training.measuring.figures import ScanFigures

WRITTEN_EVERY = 10


@dataclass(frozen=True)
class ResultSettings:
    """Decode the packed frames of a split and compare them with their scans.

    `test GARMENT --packed DIR`, or `test --config C.yaml` for the garment and the data of a training. Writes
    MODEL_FRAME_pred.ply (coloured by normals) and MODEL_FRAME_pred_patchcolor.ply, results.json and results.log.
    """

    garment: Annotated[str, tyro.conf.arg(metavar="GARMENT"), tyro.conf.Positional] = ""
    """Garment: a .safetensors file, or the name of one that ships; the config's own if not given."""
    config: Path | None = None
    """Recipe, or a config in the release's keys."""
    packed: Path | None = None
    """Folder of packed frames, with the splits or itself one; the config's data if not given."""
    out: Path | None = None
    """Folder for the results; results/GARMENT if not given."""
    split: str = "test"
    """train, val or test."""
    every: int | None = None
    """Write every Nth frame; figures are always of all. 10 if not given, 1 where the config has
    save_all_results."""
    limit: int | None = None
    """At most this many frames."""
    body: str = ""
    """Body, by name or path; the garment's own if not given."""
    normalised: bool = False
    """Leave root rotation and place out of the files, as the network sees the frames."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    threads: int = 0
    """CPU threads; 0: torch's choice."""


def run(settings: ResultSettings) -> dict[str, float]:
    """Decode, write, measure. Raises UserError with one sentence for whatever the user can mend."""
    import torch

    from scale_backend.formats.assets import find_body
    from scale_backend.geometry.body import load_body
    from scale_backend.model.garment import load_garment
    from training.frames.packed_frames import packed_paths
    from training.learning.train import choose_device
    from training.recipes import find_recipe

    recipe = read_recipe(find_recipe(settings.config)) if settings.config else None
    garment_file = garment_path(settings, recipe)
    garment = load_garment(garment_file)
    folder = settings.packed or packed_folder(recipe)
    paths = packed_paths(folder, settings.split, recipe.data_spacing if recipe else 1)[: settings.limit]
    every = settings.every or (1 if recipe and recipe.save_all_results else WRITTEN_EVERY)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = choose_device(settings.device)
    body = load_body(find_body(settings.body or (recipe.body if recipe else garment.body_name), garment_file))
    out = settings.out or Path("results") / garment.name
    figures = decode_split(garment, body, paths, out, every, not settings.normalised, device)
    report(figures, garment.name, folder, settings.split, out)
    return figures.mean()


def garment_path(settings: ResultSettings, recipe: Recipe | None) -> Path:
    from scale_backend.formats.assets import find_garment

    if settings.garment:
        if settings.garment.endswith((".pt", ".pth")):
            raise ConfigError(f"{settings.garment} is a checkpoint, not a garment; make one of a checkpoint of the "
                              "research code with scale-backend import-checkpoint, of a training's with scale-train "
                              "train --resume.")  # fmt: skip
        return find_garment(settings.garment)
    if recipe is None:
        raise ConfigError("Name a garment, or give --config for the garment of a training.")
    path = Path("runs") / recipe.name / f"{recipe.name}.safetensors"
    if not path.is_file() and not import_from_release(settings, recipe, path):
        raise ConfigError(f"There is no garment {path}; train it with scale-train train {settings.config}, or name "
                          "another: scale-train test GARMENT --config ...")  # fmt: skip
    return path


def import_from_release(settings: ResultSettings, recipe: Recipe, out: Path) -> bool:
    """Make the garment of the checkpoint that the release's folder has under the config's name; False without one."""
    from scale_backend.geometry.body import load_body
    from scale_backend.released.import_checkpoint import PatchCoordinates, import_checkpoint
    from training.release_config import find_checkpoint, find_masks

    assert settings.config is not None  # it was read from there
    found = find_checkpoint(settings.config, recipe.name)
    if found is None:
        return False
    network = recipe.network
    coordinates = PatchCoordinates(network.points_per_patch, network.pq_include_end, network.pq_min, network.pq_max)
    valid, faces = find_masks(settings.config, network.map_size)
    body = load_body(settings.body or recipe.body)
    import_checkpoint(*found, body, out, valid, faces, coordinates, licence="as the checkpoint's")
    print(f"{out} was made of the checkpoint {found[0]}, on the body {body.name}.")
    return True


def packed_folder(recipe: Recipe | None) -> Path:
    if recipe is None:
        raise ConfigError("Give the folder of packed frames with --packed, or a recipe with --config.")
    if (Path(recipe.data) / "garment.npz").is_file():
        raise ConfigError(f"{recipe.data} holds raw frames; measure with scale-train evaluate, or pack them and give "
                          "that folder with --packed.")  # fmt: skip
    return Path(recipe.data)


def decode_split(
    garment: Garment, body: Body, paths: list[Path], out: Path, every: int, in_place: bool, device: torch.device
) -> ScanFigures:
    """Figures of all frames; files of every Nth."""
    import torch
    from tqdm import tqdm

    from scale_backend.formats.point_files import write_results
    from training.frames.packed_frames import read_packed
    from training.learning.dataset import garment_groundwork
    from training.learning.packed_poses import pose_packed
    from training.learning.plain_decoding import decode_points, point_queries
    from training.measuring.figures import ScanFigures

    groundwork = garment_groundwork(garment, body).to(device)
    network = garment.network.to(device)
    queries = point_queries(groundwork, network.settings)
    patch, workers, figures = queries.patch.cpu().numpy(), torch.get_num_threads(), ScanFigures()
    first = torch.zeros(1, dtype=torch.long, device=device)
    for number, path in enumerate(tqdm(paths, desc=garment.name, unit="frame")):
        frame = read_packed(path, groundwork.layout.size)
        with torch.no_grad():
            decoded = decode_points(network, groundwork, pose_packed(groundwork, [frame]), first, queries)
        assert decoded.normals is not None
        scan, scan_normals = (torch.from_numpy(values).to(device) for values in (frame.points, frame.normals))
        figures.add(frame.name, decoded.points[0], decoded.normals[0], scan, scan_normals, workers)
        if number % every == 0:
            points, normals = decoded.points[0].cpu().numpy(), decoded.normals[0].cpu().numpy()
            if in_place:
                points, normals = frame.in_place(points, normals)
            texture = None if decoded.colors is None else decoded.colors[0].cpu().numpy()
            write_results(out, f"{garment.name}_{Path(frame.name).name}", points, normals, patch, texture)
    return figures


def report(figures: ScanFigures, name: str, folder: Path, split: str, out: Path) -> None:
    """Print, write results.json, and add a line to results.log."""
    from training.measuring.figures import RELEASE_WEIGHTS

    mean = figures.mean()
    line = (f"{name} on {len(figures.rows)} frames of '{split}' in {folder}: m2s {mean['m2s']:.4f}, s2m "
            f"{mean['s2m']:.4f}, chamfer {mean['chamfer']:.4f}, normal {mean['normal']:.4f}; points to scan "
            f"{mean['to_scan_mm']:.2f} mm, scan to points {mean['from_scan_mm']:.2f} mm, normals "
            f"{mean['normal_degrees']:.2f}°")  # fmt: skip
    content = {"garment": name, "data": str(folder), "split": split, "frames": len(figures.rows),
               "weights": RELEASE_WEIGHTS, "mean": mean, "rows": figures.rows}  # fmt: skip
    write_whole(out / "results.json", json.dumps(content, indent=1).encode())
    append_line(out / "results.log", f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}")
    print(f"{line}\nfigures: {out / 'results.json'}")
