"""Packed frames: the file format in circulation for SCALE, one .npz a frame, with `scan_cloth`, `pose`,
`root` and `scan_color` added."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scale_backend.formats.arrays_file import ArraysFile
from scale_backend.formats.errors import UserError
from scale_backend.formats.foreign_file import ForeignFileError, quoted
from scale_backend.formats.joints import JOINT_NAMES
from scale_backend.formats.whole_files import write_npz


class PackedFrameError(UserError):
    """A packed frame that cannot be used; the sentence says what to do."""


@dataclass(frozen=True)
class PackedFrame:
    """Normalised space: root rotation identity, pelvis at the origin. Metres."""

    positional_map: np.ndarray  # [H, W, 3]
    body_vertices: np.ndarray  # [V, 3]
    points: np.ndarray  # [n, 3] the scan
    normals: np.ndarray  # [n, 3]
    name: str  # <outfit>_<sequence>.<frame>
    cloth: np.ndarray | None = None  # [n] bool
    pose: np.ndarray | None = None  # [J, 3] axis-angle
    root: np.ndarray | None = None  # [4, 4] from normalised space to where the scan stood; None: not known
    colors: np.ndarray | None = None  # [n, 3] in 0..1, NaN where the scanner saw none

    def in_place(self, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points and normals [M, 3] of this frame where the scan stood: the normalisation undone."""
        if self.root is None:
            return points, normals
        rotation = self.root[:3, :3]
        return points @ rotation.T + self.root[:3, 3], normals @ rotation.T


def write_packed(path: str | Path, frame: PackedFrame) -> None:
    """Write beside, then rename."""
    arrays = {
        f"posmap{len(frame.positional_map)}": frame.positional_map.astype(np.float32),
        "body_verts": frame.body_vertices.astype(np.float32),
        "scan_pc": frame.points.astype(np.float32),
        "scan_n": frame.normals.astype(np.float32),
        "scan_name": np.array(frame.name),
    }
    if frame.cloth is not None:
        arrays["scan_cloth"] = frame.cloth.astype(bool)
    if frame.pose is not None:
        arrays["pose"] = frame.pose.astype(np.float32)
    if frame.root is not None:
        arrays["root"] = frame.root.astype(np.float32)
    if frame.colors is not None:
        arrays["scan_color"] = frame.colors.astype(np.float32)
    write_npz(Path(path), arrays)


def packed_paths(folder: str | Path, split: str, spacing: int = 1) -> list[Path]:
    """Files of a split, every Nth. `folder` holds the splits, or is one itself.

    Raises PackedFrameError where there are none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise PackedFrameError(f"There is no folder {folder}; name one that holds packed frames.")
    inside = folder / split
    files = sorted((inside if inside.is_dir() else folder).glob("*.npz"))
    if not files or (files[0].parent == folder and (folder / "garment.npz").is_file()):
        there = ", ".join(sorted({path.parent.name for path in folder.glob("*/*.npz")})) or "none"
        raise PackedFrameError(f"{folder} has no packed frames of the split '{split}' (splits there: {there}); make "
                               "them with scale-train pack.")  # fmt: skip
    return files[::spacing]


def map_size_of(path: Path) -> int:
    """Side of the largest positional map of a packed frame. Raises PackedFrameError."""
    with _opened(path) as file:
        sizes = [int(name[6:]) for name in file if name.startswith("posmap") and name[6:].isdecimal()]
    if not sizes:
        raise PackedFrameError(f"{path.name} has no positional map; delete it and pack again.")
    return max(sizes)


def read_packed(path: str | Path, map_size: int = 32) -> PackedFrame:
    """Raises PackedFrameError for a file that lacks an array or holds a map of another size."""
    path = Path(path)
    key = f"posmap{map_size}"
    needed, optional = (
        (key, "body_verts", "scan_pc", "scan_n"),
        ("scan_name", "scan_cloth", "pose", "root", "scan_color"),
    )
    with _opened(path) as file:
        arrays = {name: file[name] for name in (*needed, *optional) if name in file}
        maps = ", ".join(name for name in file if name.startswith("posmap")) or "none"
    if key not in arrays:
        raise PackedFrameError(f"{path.name} has no positional map of {map_size} pixels (there: {quoted(maps)}); pack "
                               f"it again with --map-size {map_size}, or train with another map_size.")  # fmt: skip
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise PackedFrameError(f"{path.name} lacks {', '.join(missing)}; pack it again.")
    count = len(arrays["scan_pc"]) if arrays["scan_pc"].ndim else 0
    lengths = {name: len(arrays[name]) for name in ("scan_n", "scan_cloth", "scan_color") if name in arrays and
               arrays[name].ndim}  # fmt: skip
    if not count or any(length != count for length in lengths.values()):
        told = ", ".join(f"{length} in {name}" for name, length in lengths.items())
        raise PackedFrameError(f"{path.name} has {count} scan points but {told}; pack it again.")
    shapes = {
        key: (map_size, map_size, 3), "body_verts": (None, 3), "scan_pc": (None, 3), "scan_n": (None, 3),
        "scan_cloth": (None,), "pose": (None, 3), "root": (4, 4), "scan_color": (None, None),
    }  # fmt: skip
    for name, shape in shapes.items():
        there = arrays[name].shape if name in arrays else shape
        if len(there) != len(shape) or any(s not in (None, t) for s, t in zip(shape, there, strict=True)):
            wanted = " x ".join("n" if s is None else str(s) for s in shape)
            raise PackedFrameError(f"{path.name} has {name} of the shape {list(there)} instead of {wanted}; pack it "
                                   "again.")  # fmt: skip
        if name in arrays and arrays[name].dtype.kind not in "fiub":
            raise PackedFrameError(f"{path.name} has {name} that holds no numbers; pack it again.")
    cloth, pose, color = arrays.get("scan_cloth"), arrays.get("pose"), arrays.get("scan_color")
    if cloth is not None and not np.isin(cloth, (0, 1)).all():
        raise PackedFrameError(f"{path.name} has scan_cloth that is neither 0 nor 1 somewhere; pack it again.")
    if pose is not None and len(pose) not in JOINT_NAMES:
        raise PackedFrameError(f"{path.name} has a pose of {len(pose)} joints, not 24, 52 or 55; pack it again.")
    if color is not None and color.shape[1] not in (3, 4):
        raise PackedFrameError(f"{path.name} has colours of {color.shape[1]} numbers, not 3 or 4; pack it again.")
    with np.errstate(over="ignore"):
        floats = {name: np.ascontiguousarray(arrays[name], np.float32) for name in (*needed, "pose", "root")
                  if name in arrays}  # fmt: skip
    if not all(np.isfinite(values).all() for values in floats.values()):
        raise PackedFrameError(f"{path.name} holds numbers that are not finite; pack it again.")
    return PackedFrame(
        floats[key], floats["body_verts"], floats["scan_pc"], floats["scan_n"],
        str(arrays["scan_name"]) if "scan_name" in arrays else path.stem,
        None if cloth is None else cloth.astype(bool), floats.get("pose"), floats.get("root"), scan_colors(color),
    )  # fmt: skip


@contextmanager
def _opened(path: Path) -> Iterator[ArraysFile]:
    """Raises PackedFrameError for what cannot be read."""
    try:
        with ArraysFile(path) as file:
            yield file
    except (ForeignFileError, OSError) as error:
        raise PackedFrameError(f"{path.name} cannot be read as a packed frame; delete it and pack again.") from error


def scan_colors(stored: np.ndarray | None) -> np.ndarray | None:  # [n, 3 or 4] -> [n, 3] in 0..1
    """Colours of a file: whole numbers to 255 or fractions. NaN where there is none: a NaN or no opacity in the file,
    or, in whole numbers without opacity, black, which is what scanners put into holes."""
    if stored is None:
        return None
    colors = stored.astype(np.float32) / (255 if np.issubdtype(stored.dtype, np.integer) else 1)
    hole = ~np.isfinite(colors).all(1)
    if colors.shape[1] == 4:
        hole |= colors[:, 3] == 0
    elif np.issubdtype(stored.dtype, np.integer):
        hole |= (colors == 0).all(1)
    return np.where(hole[:, None], np.float32(np.nan), colors[:, :3])
