"""`scale-train render`: pictures of .ply results, and a film of them. No display, no GPU, no Blender."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from scale_backend.formats.errors import UserError
from scale_backend.formats.point_files import NORMAL_SUFFIX, PATCH_SUFFIX, TEXTURE_SUFFIX, PointFileError, read_points
from scale_backend.formats.whole_files import written_whole
from training.pictures.splatter import Camera, write_picture

KINDS = {"normals": NORMAL_SUFFIX, "patches": PATCH_SUFFIX, "texture": TEXTURE_SUFFIX}


@dataclass(frozen=True)
class RenderSettings:
    """Draw the .ply files of `scale-train test`: one set of pictures by normals and one by patch, from one camera."""

    folder: Annotated[Path, tyro.conf.arg(metavar="FOLDER"), tyro.conf.Positional]
    """Folder with the .ply files. Files that `test` did not make are drawn in their own colours."""
    out: Path | None = None
    """Folder for the pictures; FOLDER/pictures if not given."""
    size: int = 1024
    """Side of a picture, pixels."""
    azimuth: float = 20.0
    """Degrees from the person's front to the camera, counted towards the person's left."""
    elevation: float = 5.0
    """Degrees of the camera above the horizon."""
    film: bool = True
    """Make films of the pictures too (H.264 in .mp4)."""
    frame_rate: float = 24.0
    """Pictures a second."""
    overwrite: bool = False
    """Draw again the pictures that are there already."""


def run(settings: RenderSettings) -> dict[str, int]:
    """Draw; how many pictures of each kind. Raises UserError, among them PointFileError where there is nothing to
    draw, and OSError."""
    from tqdm import tqdm

    if not 16 <= settings.size <= 8192 or not 0 < settings.frame_rate <= 1000:
        raise UserError(f"Pictures are 16 to 8192 pixels wide and up to 1000 a second, not {settings.size} and "
                         f"{settings.frame_rate:g}.")  # fmt: skip
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
            if settings.overwrite or not is_drawn(picture, settings.size):
                draw(path, camera, picture, shaded=kind != "normals")
        if settings.film:
            write_film(out / f"{kind}.mp4", pictures, settings.frame_rate)
    print(f"{', '.join(f'{len(paths)} by {kind}' for kind, paths in sets.items())}: {out}")
    return {kind: len(paths) for kind, paths in sets.items()}


def picture_sets(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise PointFileError(f"There is no folder {folder}; name one with .ply files of scale-train test.")
    files = sorted(folder.glob("*.ply"))
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


def is_drawn(picture: Path, size: int) -> bool:
    from PIL import Image

    if not picture.is_file():
        return False
    with Image.open(picture) as image:
        return image.size == (size, size)


def write_film(path: Path, pictures: list[Path], frame_rate: float) -> None:
    """Square pictures of one size as H.264, which wants an even side. PyAV brings the coder along."""
    import av
    from PIL import Image

    with written_whole(path) as beside, av.open(str(beside), "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=Fraction(frame_rate).limit_denominator(1000), options={"crf": "18"})
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(pictures):
            pixels = np.asarray(Image.open(picture).convert("RGB"))
            side = len(pixels) // 2 * 2
            if not number:
                stream.width = stream.height = side
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:side, :side]), format="rgb24")
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
