"""The positional map's layout as the research release has it: a UV template, and files that choose pixels and faces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from scale_backend.formats.arrays_file import ArraysFile, read_array
from scale_backend.formats.assets import asset_folder
from scale_backend.formats.foreign_file import ForeignFileError
from scale_backend.formats.uv_template import read_uv_template
from scale_backend.geometry.body import Body, load_body
from scale_backend.geometry.positional_map import UVLayout, place_pixels, rasterise

LARGEST_FILE = 16 << 20  # bytes
STRAY = 0.05  # pixels that a centre may lie outside the triangle the release has put it in


def read_body(path: str | Path, template: Path | None) -> Body:
    """The body that the checkpoint's frames have, with the UVs of a template where one is given.

    Raises ForeignFileError, OSError.
    """
    body = load_body(path)
    if template is None:
        if body.uv is None:
            raise ForeignFileError(f"The body '{body.name}' has no UVs; give the UV template with --template.")
        return body
    layout = read_uv_template(template)
    layout.check_triangles(body.triangles.numpy(), len(body.template), body.name)
    return replace(body, uv=torch.from_numpy(layout.uv), uv_triangles=torch.from_numpy(layout.uv_triangles))


def find_body_of(template: Path | None, folders: Iterable[Path]) -> Path | None:
    """The one body in some folders, or else among those that ship, that has a UV template's triangles; None where none
    has.

    Raises ForeignFileError, OSError.
    """
    if template is None:
        raise ForeignFileError("Which body the checkpoint's frames have is not known; name it with --body.")
    layout = read_uv_template(template)
    for group in (folders, [asset_folder() / "bodies"]):
        files = sorted({file.resolve() for folder in group for file in folder.glob("*.npz")})
        fitting = [file for file in files if layout.fits(_triangles(file))]
        if len(fitting) > 1:
            names = ", ".join(file.name for file in fitting)
            raise ForeignFileError(
                f"Several bodies have the triangles of {template.name}: {names}; choose with --body."
            )
        if fitting:
            return fitting[0]
    return None


def _triangles(file: Path) -> np.ndarray:  # [T, 3]; none in a file that is no body, or a surface alone
    try:
        with ArraysFile(file) as arrays:
            return arrays["f"] if "f" in arrays and "weights" in arrays else np.zeros((0, 3), np.int64)
    except (ForeignFileError, OSError):
        return np.zeros((0, 3), np.int64)


def read_layout(body: Body, size: int, valid_pixels: Path | None, face_ids: Path | None) -> UVLayout:
    """The positional map's layout: rasterised, or as the release's files have it. Raises ForeignFileError, OSError."""
    if body.uv is None or body.uv_triangles is None:
        raise ForeignFileError(f"The body '{body.name}' has no UV layout; import it with its UV template.")
    if face_ids is None:
        layout = rasterise(body.uv, body.uv_triangles, size)
    else:
        index = torch.from_numpy(_read_pixels(face_ids, size).astype(np.int64))
        if int(index.min()) < -1 or int(index.max()) >= len(body.triangles) or int(index.max()) < 0:
            raise ForeignFileError(
                f"{face_ids.name} has face numbers from {int(index.min())} to {int(index.max())}, the body "
                f"'{body.name}' has {len(body.triangles)} faces; choose the file of that body."
            )
        layout, outside = place_pixels(body.uv, body.uv_triangles, index)
        if float(outside.max()) > STRAY:
            row, column = divmod(int(outside.argmax()), size)
            raise ForeignFileError(
                f"{face_ids.name} is not of this UV template: {int((outside > STRAY).sum())} pixels lie outside their "
                f"faces (row {row}, column {column}: {float(outside.max()):.2g} pixels); choose the template it "
                "belongs to."
            )
    if valid_pixels is None:
        return layout
    chosen = torch.from_numpy(_read_pixels(valid_pixels, size) != 0)
    bare = int((chosen & ~layout.mask).sum())
    if bare or not chosen.any():
        raise ForeignFileError(
            f"{valid_pixels.name} chooses {int(chosen.sum())} pixels, {bare} of them where the UV template has no "
            "surface; choose the mask that belongs to it."
        )
    return UVLayout(layout.triangle_index, layout.barycentrics, chosen)


def _read_pixels(path: Path, size: int) -> np.ndarray:  # [H, W]
    array = read_array(path, LARGEST_FILE)
    if array.dtype.kind not in "biuf" or array.size != size * size:
        raise ForeignFileError(f"{path.name} is no .npy of {size} x {size} pixels (it has the shape {array.shape}); "
                               "choose another file.")  # fmt: skip
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and (array == np.round(array)).all()):
        raise ForeignFileError(f"{path.name} holds fractions where whole numbers belong; choose another file.")
    return array.reshape(size, size)
