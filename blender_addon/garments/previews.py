"""Small pictures of garments for menus: the one in the file, else one that is drawn from the surface in the file."""

from __future__ import annotations

from pathlib import Path

import bpy
import bpy.utils.previews
import numpy as np
from bpy.types import ImagePreview
from bpy.utils.previews import ImagePreviewCollection

from scale_backend.formats.garment_header import garment_tensors

from ..messages import AddonError
from . import library

SIZE = 128  # pixels
FINER = 2  # samples a pixel, along a side
MARGIN = 1.08
FRONT = np.array([0.42, 0.12, 0.90])  # where the eye is, SMPL's axes
LIGHT = np.array([-0.45, 0.55, 0.70])
CLOTH, SKIN = (0.30, 0.50, 0.72), (0.55, 0.52, 0.50)
DTYPES = {"F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}

_collection: ImagePreviewCollection | None = None


def icon(entry: library.Entry) -> int:
    """The number of a garment's icon; 0 where there is nothing to show, and without a window."""
    picture = preview(entry)
    return picture.icon_id if picture else 0


def preview(entry: library.Entry) -> ImagePreview | None:
    """The picture of a garment; read or drawn when it is first asked for."""
    global _collection
    if entry.summary is None:
        return None
    if _collection is None:
        _collection = bpy.utils.previews.new()
    try:
        key = f"{entry.path}:{entry.path.stat().st_mtime_ns}"
        if key not in _collection:
            _load(_collection, key, entry)
        return _collection[key]
    except (OSError, ValueError, KeyError, IndexError, AddonError):
        return None  # a menu must show; what is wrong with the file is told when it is used


def _load(collection: ImagePreviewCollection, key: str, entry: library.Entry) -> None:
    stored = garment_tensors(entry.path, "preview")
    if stored:
        file = Path(bpy.app.tempdir) / f"scale-preview-{library.number(key)}.png"
        file.write_bytes(stored["preview"][2])
        collection.load(key, str(file), "IMAGE")
        return
    pixels = draw(entry)
    drawn = collection.new(key)
    drawn.image_size = drawn.icon_size = (SIZE, SIZE)
    drawn.image_pixels_float = drawn.icon_pixels_float = pixels.ravel().tolist()


def draw(entry: library.Entry) -> np.ndarray:  # [SIZE, SIZE, 4] from the bottom up
    """The garment at rest: its own surface, or its body with the cloth in another colour. Raises AddonError,
    OSError and ValueError."""
    names = ("carrier.template", "carrier.triangles", "cloth", "layout.triangle_index")
    arrays = {
        name: np.frombuffer(data, DTYPES[dtype]).reshape(shape)
        for name, (dtype, shape, data) in garment_tensors(entry.path, *names).items()
    }
    if "carrier.template" in arrays:
        triangles = arrays["carrier.triangles"]
        return picture(arrays["carrier.template"], triangles, np.tile(CLOTH, (len(triangles), 1)))
    body = entry.body()
    colors = np.tile(CLOTH, (len(body.triangles), 1))
    if "cloth" in arrays:
        middles = body.template[body.triangles].mean(1)
        home = arrays["layout.triangle_index"]
        home = home[home >= 0]
        is_cloth = arrays["cloth"].reshape(len(home), -1).mean(1) > 0.5
        far = (middles**2).sum(1)[:, None] - 2 * middles @ middles[home].T + (middles[home] ** 2).sum(1)
        colors[~is_cloth[far.argmin(1)]] = SKIN
    return picture(body.template, body.triangles, colors)


def picture(points: np.ndarray, triangles: np.ndarray, colors: np.ndarray) -> np.ndarray:  # [V, 3], [T, 3], [T, 3]
    """Triangles from the front, the nearer over the farther, in [SIZE, SIZE, 4] from the bottom up."""
    side = SIZE * FINER
    eye = FRONT / np.linalg.norm(FRONT)
    right = np.cross((0.0, 1.0, 0.0), eye)
    right /= np.linalg.norm(right)
    flat = points @ np.stack([right, np.cross(eye, right), eye], 1)  # right, up, towards the eye
    low, high = flat.min(0), flat.max(0)
    scale = side / (MARGIN * max((high - low)[:2].max(), 1e-6))
    flat = (flat - (low + high) / 2) * scale
    corners = flat[triangles]
    normal = np.cross(*np.moveaxis(points[triangles][:, 1:] - points[triangles][:, :1], 1, 0))
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    normal *= np.sign(normal @ eye)[:, None]  # inside and outside alike
    shade = 0.35 + 0.65 * np.clip(normal @ (LIGHT / np.linalg.norm(LIGHT)), 0, 1)
    # places so dense that each pixel of the largest triangle gets one
    steps = int(min(np.ptp(corners[..., :2], axis=1).max() * 1.5 + 2, 64))
    first, second = np.meshgrid(np.arange(steps), np.arange(steps))
    inside = first + second < steps
    weights = np.stack([first[inside], second[inside]], 1) / max(steps - 1, 1)
    weights = np.concatenate([1 - weights.sum(1, keepdims=True), weights], 1)
    canvas = np.zeros((side * side, 4), np.float32)
    order = np.argsort(corners[..., 2].mean(1))  # far to near: numpy keeps the last value of a pixel
    for some in np.array_split(order, max(len(order) * len(weights) // 500_000, 1)):
        places = np.einsum("wc,tcx->twx", weights, corners[some, :, :2]) + side / 2
        column, row = np.clip(places.astype(int), 0, side - 1).reshape(-1, 2).T
        shaded = np.repeat(colors[some] * shade[some, None], len(weights), 0)
        canvas[row * side + column] = np.concatenate([shaded, np.ones((len(shaded), 1))], 1)
    return canvas.reshape(SIZE, FINER, SIZE, FINER, 4).mean((1, 3))


def unregister() -> None:
    global _collection
    if _collection is not None:
        bpy.utils.previews.remove(_collection)
    _collection = None
