"""Raw frames: a simulated garment's rest mesh once, and its vertices frame by frame in 16 bits. numpy only.

A raw folder holds `garment.npz` and chunks named `<split>-<number>.npz`. Space: SMPL axes, metres, root rotation
removed, pelvis joint at the origin; the rest mesh is in the body's own template space.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale_backend.formats.arrays_file import read_arrays
from scale_backend.formats.errors import UserError
from scale_backend.formats.foreign_file import ForeignFileError, quoted
from scale_backend.formats.whole_files import write_npz

SPLITS = ("train", "val", "test", "path")
FINEST_STEP = 2e-5  # metres; the range of a chunk over 65,535 is less than this for anything smaller than 1.3 m
COARSEST_STEP = 5e-5


class RawFramesError(UserError):
    """A raw folder or file that cannot be used; the sentence says what to do."""


@dataclass(frozen=True, eq=False)
class RawGarment:
    """The rest mesh of a simulated garment, with everything that stays the same from frame to frame."""

    name: str
    vertices: NDArray[np.float32]  # [V, 3] metres, in the body's template space
    triangles: NDArray[np.int32]  # [T, 3]
    panel: NDArray[np.uint8]  # [T] pattern pieces, each one topological disk
    panel_names: tuple[str, ...]
    region: NDArray[np.uint8]  # [V] for evaluation
    region_names: tuple[str, ...]
    pin: NDArray[np.float32]  # [V] 1 follows the body, 0 is free
    blend_weights: NDArray[np.float32]  # [V, J] that the pinned part follows
    body_name: str
    body_digest: str
    settings: str  # JSON: how the garment was simulated


@dataclass(frozen=True, eq=False)
class RawFrames:
    """Clothed frames of one split."""

    pose: NDArray[np.float32]  # [F, J, 3] axis-angle of the body's joints, root zero
    vertices: NDArray[np.float32]  # [F, V, 3] metres
    names: tuple[str, ...]
    inside: NDArray[np.float32]  # [F] share of vertices inside the body
    speed: NDArray[np.float32]  # [F] millimetres a frame, mean over the free vertices, when sampled

    def __len__(self) -> int:
        return len(self.pose)


def chunk_path(folder: Path, split: str, number: int) -> Path:
    return Path(folder) / f"{split}-{number:04d}.npz"


def write_garment(folder: Path, garment: RawGarment) -> None:
    content = {field.name: getattr(garment, field.name) for field in fields(garment)}
    arrays = {name: np.asarray(value) for name, value in content.items()}
    write_npz(Path(folder) / "garment.npz", arrays, compress=True)


def read_garment(folder: Path) -> RawGarment:
    """Raises RawFramesError."""
    path = Path(folder) / "garment.npz"
    arrays = _read(path)
    missing = [field.name for field in fields(RawGarment) if field.name not in arrays]
    if missing:
        raise RawFramesError(f"{path} lacks {', '.join(missing)}: simulate the folder again.")
    vertices, triangles = _axis(arrays["vertices"]), _axis(arrays["triangles"])
    shapes = {"vertices": (vertices, 3), "triangles": (triangles, 3), "panel": (triangles,), "region": (vertices,),
              "pin": (vertices,), "blend_weights": (vertices, None), "panel_names": (None,), "region_names": (None,),
              "name": (), "body_name": (), "body_digest": (), "settings": ()}  # fmt: skip
    _check(path, arrays, shapes, whole=("triangles", "panel", "region"))
    for key, count in (("triangles", vertices), ("panel", len(arrays["panel_names"])),
                       ("region", len(arrays["region_names"]))):  # fmt: skip
        if arrays[key].size and not 0 <= int(arrays[key].min()) <= int(arrays[key].max()) < count:
            raise RawFramesError(f"{path} has {key} that point outside what they name: simulate the folder again.")
    values: dict[str, Any] = {field.name: arrays[field.name] for field in fields(RawGarment)}
    for name, shape in shapes.items():
        if shape == ():
            values[name] = str(values[name])
        elif name.endswith("_names"):
            values[name] = tuple(str(item) for item in values[name])
    return RawGarment(**values)


def write_chunk(path: Path, frames: RawFrames) -> None:
    """Write frames with coordinates rounded to a hundredth of a millimetre or so; all of the file or nothing."""
    low = frames.vertices.min((0, 1)).astype(np.float64)
    step = max(FINEST_STEP, float((frames.vertices.max((0, 1)) - low).max()) / 65535)
    if not step <= COARSEST_STEP:
        raise RawFramesError(f"{path.name} spans more than 3 metres or is not finite: a frame has exploded.")
    quantised = np.round((frames.vertices - low) / step).astype(np.uint16)
    write_npz(
        path,
        {
            "pose": frames.pose.astype(np.float32),
            "vertices": quantised,
            "low": low,
            "step": np.float64(step),
            "names": np.array(frames.names),
            "inside": frames.inside.astype(np.float32),
            "speed": frames.speed.astype(np.float32),
        },
        compress=True,
    )


def read_chunk(path: Path) -> RawFrames:
    """Raises RawFramesError."""
    arrays = _read(path)
    missing = [name for name in ("pose", "vertices", "low", "step", "names", "inside", "speed") if name not in arrays]
    if missing:
        raise RawFramesError(f"{path} lacks the array {', '.join(missing)}: delete it and simulate it again.")
    count = _axis(arrays["pose"])
    shapes = {"pose": (count, None, 3), "vertices": (count, None, 3), "low": (3,), "step": (), "names": (count,),
              "inside": (count,), "speed": (count,)}  # fmt: skip
    _check(path, arrays, shapes, whole=("vertices",))
    vertices = (arrays["low"] + arrays["step"] * arrays["vertices"]).astype(np.float32)
    names = tuple(str(name) for name in arrays["names"])
    return RawFrames(arrays["pose"], vertices, names, arrays["inside"], arrays["speed"])


def read_split(folder: Path, split: str, limit: int | None = None) -> RawFrames:
    """All frames of a split that are there (or the first `limit`), in order.

    Raises RawFramesError if there are none.
    """
    chunks, count = [], 0
    for path in sorted(Path(folder).glob(f"{split}-*.npz")):
        if limit is not None and count >= limit:
            break
        chunks.append(read_chunk(path))
        if chunks[-1].vertices.shape[1:] != chunks[0].vertices.shape[1:]:
            raise RawFramesError(f"{path} has frames of another garment than those before: delete it and simulate it "
                                 "again.")  # fmt: skip
        count += len(chunks[-1])
    if not count:
        raise RawFramesError(f"{folder} has no frames of the split '{split}': make them with scale-train simulate.")
    joined = {
        name: np.concatenate([getattr(chunk, name) for chunk in chunks])[:limit]
        for name in ("pose", "vertices", "inside", "speed")
    }
    return RawFrames(names=tuple(name for chunk in chunks for name in chunk.names)[:limit], **joined)


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_arrays(path)
    except FileNotFoundError:
        raise RawFramesError(f"{path} is missing: make it with scale-train simulate.") from None
    except (ForeignFileError, OSError) as error:
        raise RawFramesError(f"{path} cannot be read ({quoted(error)}): delete it and simulate it again.") from error


def _axis(array: np.ndarray) -> int:
    return array.shape[0] if array.ndim else 0


def _check(path: Path, arrays: dict[str, np.ndarray], shapes: dict[str, tuple], whole: tuple[str, ...]) -> None:
    """Raises RawFramesError for arrays of other shapes and kinds, and for numbers that are not finite."""
    for name, shape in shapes.items():
        array, text = arrays[name], name.endswith(("name", "names")) or name in ("settings", "body_digest")
        kinds = "US" if text else "iu" if name in whole else "fiu"
        fits = len(array.shape) == len(shape) and all(s in (None, n) for s, n in zip(shape, array.shape, strict=True))
        if not fits or (array.dtype.kind not in kinds and array.size):
            raise RawFramesError(f"{path} has {name} of another shape or kind ({list(array.shape)}, {array.dtype}): "
                                 "delete it and simulate it again.")  # fmt: skip
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise RawFramesError(
                f"{path} has {name} with numbers that are not finite: delete it and simulate it again."
            )
