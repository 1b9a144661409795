"""`scale-train render`: pictures of .ply results, and a film of them. No display, no GPU, no Blender."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from scale_backend.point_files import NORMAL_SUFFIX, PATCH_SUFFIX, TEXTURE_SUFFIX, PointFileError, read_points
from training.splatter import Camera, write_picture

KINDS = {"normals": NORMAL_SUFFIX, "patches": PATCH_SUFFIX, "texture": TEXTURE_SUFFIX}
FILM_SECONDS = 1800  # ffmpeg is given up after this


@dataclass(frozen=True)
class RenderSettings:
    """Draw the .ply files of `scale-train test`: one set of pictures by normals and one by patch, from one camera."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder with the .ply files. Others than `test` makes are drawn in their own colours."""
    out: Path | None = None
    """Folder for the pictures; FOLDER/pictures if not given."""
    size: int = 1024
    """Side of a picture, pixels."""
    azimuth: float = 20.0
    """Degrees by which the camera has walked round the person, from the front to its left."""
    elevation: float = 5.0
    """Degrees of the camera above the horizon."""
    film: bool = True
    """Make films too, if ffmpeg is there."""
    frame_rate: float = 24.0
    overwrite: bool = False
    """Draw pictures again that are there."""


def run(settings: RenderSettings) -> dict[str, int]:
    """Draw; how many pictures of each kind. Raises PointFileError where there is nothing to draw."""
    from tqdm import tqdm

    sets = picture_sets(settings.folder)
    out = settings.out or settings.folder / "pictures"
    first = next(iter(sets.values()))
    low, high = bounds(first)
    camera = Camera.around(low, high, azimuth=settings.azimuth, elevation=settings.elevation, size=settings.size)
    for kind, paths in sets.items():
        pictures = []
        for path in tqdm(paths, desc=kind, unit="picture"):
            picture = out / kind / f"{path.stem}.png"
            pictures.append(picture)
            if settings.overwrite or not picture.exists():
                draw(path, camera, picture, shaded=kind != "normals")
        if settings.film and len(pictures) > 1:
            write_film(out / f"{kind}.mp4", pictures, settings.frame_rate)
    print(f"{', '.join(f'{len(paths)} by {kind}' for kind, paths in sets.items())}: {out}")
    return {kind: len(paths) for kind, paths in sets.items()}


def picture_sets(folder: Path) -> dict[str, list[Path]]:
    files = sorted(folder.glob("*.ply")) if folder.is_dir() else []
    if not files:
        raise PointFileError(f"{folder} holds no .ply files; make them with scale-train test.")
    sets = {kind: [path for path in files if path.name.endswith(suffix)] for kind, suffix in KINDS.items()}
    sets["others"] = [path for path in files if not path.name.endswith(tuple(KINDS.values()))]
    return {kind: paths for kind, paths in sets.items() if paths}


def bounds(paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """The box that all frames fit in, so that the camera stands still."""
    corners = [(points.min(0), points.max(0)) for points in (read_points(path).points for path in paths)]
    return np.min([low for low, _ in corners], 0), np.max([high for _, high in corners], 0)


def draw(path: Path, camera: Camera, picture: Path, shaded: bool) -> None:
    file = read_points(path)
    colors = file.colors if file.colors is not None else np.full((len(file.points), 3), 170, np.uint8)
    write_picture(picture, camera.picture(file.points, file.normals if shaded else None, colors))


def write_film(path: Path, pictures: list[Path], frame_rate: float) -> None:
    """H.264, by ffmpeg; told, not raised, where there is none: the pictures are the result."""
    if shutil.which("ffmpeg") is None:
        print(f"{path.name} was not made: ffmpeg is not installed.")
        return
    command = ["ffmpeg", "-v", "error", "-y", "-f", "image2pipe", "-framerate", str(frame_rate), "-i", "-",
               "-pix_fmt", "yuv420p", str(path)]  # fmt: skip
    frames = b"".join(picture.read_bytes() for picture in pictures)
    done = subprocess.run(command, input=frames, capture_output=True, timeout=FILM_SECONDS)
    if done.returncode:
        raise RuntimeError(f"ffmpeg could not make {path.name}: {done.stderr.decode(errors='replace').strip()[-200:]}")
