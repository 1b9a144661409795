"""Pictures of points: discs in an orthographic view, the nearer over the farther. numpy only: no display, no GPU."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scale_backend.formats.whole_files import written_whole

BACKGROUND = 255
FINER = 2  # pixels of the canvas a pixel of the picture, along a side
LARGEST_DISC = 24  # canvas pixels, radius
MARGIN = 1.08
SPACING_SAMPLES = 2000


@dataclass(frozen=True)
class Camera:
    """Looks at a centre from a direction; Y is up."""

    centre: tuple[float, float, float]
    half: float  # metres from the centre to the picture's edge
    azimuth: float = 20.0  # degrees from +Z towards +X
    elevation: float = 5.0
    size: int = 1024

    @classmethod
    def around(cls, low: np.ndarray, high: np.ndarray, **view: Any) -> Camera:  # [3], [3] corners of a box
        half = MARGIN * max(0.5 * float((high - low)[[0, 2]].max()), 0.5 * float(high[1] - low[1]), 1e-6)
        x, y, z = (float(c) for c in 0.5 * (low + high))
        return cls((x, y, z), half, **view)

    def axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # right, up, towards the camera
        a, e = np.deg2rad([self.azimuth, self.elevation])
        towards = np.array([np.cos(e) * np.sin(a), np.sin(e), np.cos(e) * np.cos(a)])
        right = np.array([np.cos(a), 0.0, -np.sin(a)])
        return right, np.cross(towards, right), towards

    def picture(
        self,
        points: np.ndarray,  # [M, 3]
        normals: np.ndarray | None,  # [M, 3]; given: surfaces that are seen at a slant are darker
        colors: np.ndarray,  # [M, 3] uint8
        radius: float | None = None,  # metres; from the points' spacing if not given
    ) -> np.ndarray:  # [size, size, 3] uint8
        canvas_size = FINER * self.size
        right, up, towards = self.axes()
        scale = canvas_size / (2 * self.half)
        low = points - np.asarray(self.centre)
        column = np.round(low @ right * scale + canvas_size / 2 - 0.5).astype(np.int64)
        row = np.round(canvas_size / 2 - 0.5 - low @ up * scale).astype(np.int64)
        disc = disc_pixels(scale * (spacing(points) if radius is None else radius))
        order = np.argsort(low @ towards, kind="stable")  # far to near: numpy keeps the last value of a pixel
        rows, columns = (values[order][:, None] + disc[:, axis] for axis, values in enumerate((row, column)))
        inside = (rows >= 0) & (rows < canvas_size) & (columns >= 0) & (columns < canvas_size)
        shaded = colors.astype(np.float32)
        if normals is not None:
            shaded = shaded * (0.45 + 0.55 * np.abs(normals @ towards).clip(0, 1))[:, None]
        per_pixel = np.broadcast_to(shaded[order].astype(np.uint8)[:, None], (*rows.shape, 3))
        canvas = np.full((canvas_size * canvas_size, 3), BACKGROUND, np.uint8)
        canvas[(rows * canvas_size + columns)[inside]] = per_pixel[inside]
        fine = canvas.reshape(self.size, FINER, self.size, FINER, 3)
        return (fine.astype(np.float32).mean((1, 3)) + 0.5).astype(np.uint8)


def spacing(points: np.ndarray) -> float:
    """Radius at which discs close the gaps between neighbours: nearly a high quantile of the distance to
    the fourth neighbour (points of a grid have four)."""
    from scipy.spatial import cKDTree

    if len(points) < 6:
        return 0.01
    chosen = points[np.linspace(0, len(points) - 1, min(len(points), SPACING_SAMPLES)).astype(int)]
    return 0.95 * float(np.percentile(cKDTree(points).query(chosen, 5)[0][:, 4], 75))


def disc_pixels(radius: float) -> np.ndarray:  # canvas pixels -> [K, 2] offsets
    radius = float(np.clip(radius, 1, LARGEST_DISC))
    reach = np.arange(-int(radius), int(radius) + 1)
    offsets = np.stack(np.meshgrid(reach, reach, indexing="ij"), -1).reshape(-1, 2)
    return offsets[(offsets**2).sum(1) <= radius**2]


def png(picture: np.ndarray) -> bytes:  # [H, W, 3] uint8
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write beside, then rename."""
    with written_whole(path) as beside:
        beside.write_bytes(png(picture))
