"""The arrays of a body in SMPL's file format: read within bounds, and checked in one place. numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from scale_backend.formats.arrays_file import ArraysFile
from scale_backend.formats.foreign_file import ForeignFileError
from scale_backend.formats.joints import SMPL_PARENTS

REQUIRED = ("v_template", "f", "weights", "J_regressor", "kintree_table", "shapedirs")
ARRAYS = (*REQUIRED, "posedirs", "vt", "ft")
SURFACE = ("v_template", "f", "vt", "ft")
FLOATS = ("v_template", "weights", "J_regressor", "shapedirs", "posedirs", "vt")


def read_body_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """SMPL's arrays of an .npz, those that are there. Raises ForeignFileError, OSError."""
    with ArraysFile(path) as file:
        return {key: file[key] for key in ARRAYS if key in file}


def is_surface_alone(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether a body file holds a surface with UVs and nothing that says how it follows a pose. It is made of a UV
    template, for frames that bring the posed body along."""
    skinning = [key for key in REQUIRED if key not in SURFACE]
    return all(key in arrays for key in SURFACE) and not any(key in arrays for key in skinning)


def as_rigid(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A surface alone as a body of 24 joints of which the root alone moves it."""
    vertices, joints = len(arrays["v_template"]), len(SMPL_PARENTS)
    weights = np.zeros((vertices, joints), np.float32)
    weights[:, 0] = 1
    rigid = {"weights": weights, "J_regressor": np.zeros((joints, vertices), np.float32)}
    tree = np.stack([SMPL_PARENTS, np.arange(joints)])
    return {**arrays, **rigid, "kintree_table": tree, "shapedirs": np.zeros((vertices, 3, 1), np.float32)}


def checked_body_arrays(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The arrays in one number format each: float32, int64. The root's parent is -1; pose components that are there
    transposed are turned. Raises ForeignFileError where they are no body."""
    missing = [key for key in REQUIRED if key not in arrays]
    if missing:
        raise ForeignFileError(f"{name} is no body in SMPL's format: it lacks {', '.join(missing)}.")
    if arrays["weights"].ndim != 2 or not arrays["weights"].size:
        raise ForeignFileError(f"{name} is no body in SMPL's format: its weights are no matrix.")
    for key in ARRAYS:
        if key in arrays and arrays[key].dtype.kind not in ("f", "i", "u"):
            raise ForeignFileError(f"'{key}' in {name} holds no numbers; get the file again.")
    vertices, joints = arrays["weights"].shape
    arrays = {key: arrays[key] for key in ARRAYS if key in arrays}
    if "posedirs" in arrays and arrays["posedirs"].shape == (9 * (joints - 1), 3 * vertices):  # as smplx keeps them
        arrays["posedirs"] = arrays["posedirs"].T.reshape(vertices, 3, -1)
    shapes = {
        "v_template": (vertices, 3), "f": (None, 3), "J_regressor": (joints, vertices), "kintree_table": (None, joints),
        "shapedirs": (vertices, 3, None), "posedirs": (vertices, 3, 9 * (joints - 1)), "vt": (None, 2), "ft": (None, 3),
    }  # fmt: skip
    for key, expected in shapes.items():
        shape = arrays[key].shape if key in arrays else expected
        if len(shape) != len(expected) or any(e not in (None, n) for e, n in zip(expected, shape, strict=True)):
            wanted = " x ".join("any" if e is None else str(e) for e in expected)
            raise ForeignFileError(f"'{key}' in {name} is {' x '.join(map(str, shape))}, not {wanted}; get it again.")
    with np.errstate(over="ignore"):
        checked = {key: np.ascontiguousarray(arrays[key], np.float32) for key in FLOATS if key in arrays}
    for key, values in checked.items():
        if not np.isfinite(values).all():
            raise ForeignFileError(f"'{key}' in {name} holds numbers that are not finite; get the file again.")
    checked["kintree_table"] = _checked_tree(arrays["kintree_table"], name)
    checked["f"] = _checked_triangles(arrays["f"], vertices, name, "triangles with vertices")
    if ("vt" in arrays) != ("ft" in arrays):
        raise ForeignFileError(f"{name} has vt or ft, and not both; import it again with its UV template.")
    if "ft" in arrays:
        checked["ft"] = _checked_triangles(arrays["ft"], len(arrays["vt"]), name, "UV triangles with UVs")
        if len(checked["ft"]) != len(checked["f"]):
            raise ForeignFileError(f"{name} has {len(checked['f'])} triangles, and {len(checked['ft'])} of UVs; import "
                                   "it again with its UV template.")  # fmt: skip
    return checked


def _checked_tree(table: np.ndarray, name: str) -> np.ndarray:  # [1 or 2, J]
    tree = table.astype(np.int64)
    if not len(tree) or not all(0 <= parent < joint for joint, parent in enumerate(tree[0, 1:], 1)):
        raise ForeignFileError(
            f"{name} has no tree of joints: kintree_table must name each joint's parent before the joint itself."
        )
    tree[0, 0] = -1  # in official files its unsigned image
    return tree


def _checked_triangles(triangles: np.ndarray, count: int, name: str, what: str) -> np.ndarray:  # [T, 3]
    whole = triangles.astype(np.int64)
    if not whole.size or whole.min() < 0 or whole.max() >= count or (whole != triangles).any():
        raise ForeignFileError(f"{name} has {what} that it does not have; get the file again.")
    return whole
