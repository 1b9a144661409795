"""Official SMPL, SMPL-H and SMPL-X files as bodies: the arrays that are needed, with a UV layout, in a plain .npz."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scale_backend.formats.arrays_file import ArraysFile
from scale_backend.formats.foreign_file import ForeignFileError, quoted
from scale_backend.formats.joints import JOINT_NAMES
from scale_backend.formats.pickled_values import as_array
from scale_backend.formats.restricted_pickle import read_pickle
from scale_backend.formats.whole_files import written_whole
from scale_backend.geometry.body import ARRAYS, REQUIRED, SHAPE_COUNT, body_from_arrays
from scale_backend.released.uv_template import read_uv_template


def import_body(source: str | Path, template: str | Path, out: str | Path) -> str:
    """Write a body that `load_body` reads; returns what it is, in words.

    Raises ForeignFileError, OSError.
    """
    source, out = Path(source), Path(out)
    if out.suffix != ".npz":
        raise ForeignFileError(f"A body is written as .npz; name the file {out.with_suffix('.npz').name}.")
    arrays = checked_arrays(read_arrays(source), source.name)
    layout = read_uv_template(template)
    layout.check_triangles(arrays["f"], len(arrays["v_template"]), source.name)
    arrays |= {"vt": layout.uv, "ft": layout.uv_triangles.astype(np.uint32)}
    body = body_from_arrays(arrays, out.stem)
    arrays["joint_names"] = np.array(body.joint_names)
    with written_whole(out) as beside, open(beside, "wb") as file:
        np.savez_compressed(file, **arrays)
    return f"{body.joint_count} joints, {len(body.template)} vertices, {len(body.triangles)} triangles"


def read_arrays(source: Path) -> dict[str, np.ndarray]:
    """SMPL's arrays, those that are there, from a .pkl or .npz. Raises ForeignFileError, OSError."""
    if source.suffix == ".npz":
        with ArraysFile(source) as file:
            return {key: file[key] for key in ARRAYS if key in file}
    content, arrays = read_pickle(source), {}
    if not isinstance(content, dict):
        raise ForeignFileError(f"{source.name} holds no dictionary of arrays; choose a body model's file.")
    for key in (*REQUIRED, "posedirs"):
        if key in content:
            try:
                arrays[key] = as_array(content[key])
            except Exception as error:  # of whatever shapes a damaged file has
                raise ForeignFileError(f"'{key}' in {source.name} {quoted(error)}; get the file again.") from error
    return arrays


def checked_arrays(arrays: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The arrays in our number formats. Raises ForeignFileError where they are no body of the family."""
    missing = [key for key in REQUIRED if key not in arrays]
    if missing:
        raise ForeignFileError(f"{name} is no body in SMPL's format: it lacks {', '.join(missing)}.")
    if arrays["weights"].ndim != 2:
        raise ForeignFileError(f"{name} is no body in SMPL's format: its weights are no matrix.")
    vertices, joints = arrays["weights"].shape
    if joints not in JOINT_NAMES:
        raise ForeignFileError(f"{name} has {joints} joints; bodies of SMPL's family have 24, 52 or 55.")
    shapes = {
        "v_template": (vertices, 3), "f": (None, 3), "J_regressor": (joints, vertices), "kintree_table": (2, joints),
        "shapedirs": (vertices, 3, None), "posedirs": (vertices, 3, 9 * (joints - 1)),
    }  # fmt: skip
    for key, expected in shapes.items():
        found = arrays[key].shape if key in arrays else expected
        if len(found) != len(expected) or any(e not in (None, n) for n, e in zip(found, expected, strict=True)):
            wanted = " x ".join("any" if e is None else str(e) for e in expected)
            raise ForeignFileError(f"'{key}' in {name} is {' x '.join(map(str, found))}, not {wanted}; get it again.")
    floats = ("v_template", "weights", "J_regressor", "shapedirs", "posedirs")
    checked = {key: arrays[key].astype(np.float32) for key in floats if key in arrays}
    for key, values in checked.items():
        if not np.isfinite(values).all():
            raise ForeignFileError(f"'{key}' in {name} holds numbers that are not finite; get the file again.")
    parents = arrays["kintree_table"].astype(np.int64)
    parents[0, 0] = -1
    if any(not 0 <= parents[0, joint] < joint for joint in range(1, joints)):
        raise ForeignFileError(
            f"The joints of {name} are no tree with the pelvis first; choose a file of SMPL's family."
        )
    triangles = arrays["f"].astype(np.int64)
    if not triangles.size or triangles.min() < 0 or triangles.max() >= vertices:
        raise ForeignFileError(f"{name} has triangles with vertices that it does not have; get the file again.")
    checked["shapedirs"] = checked["shapedirs"][..., :SHAPE_COUNT]
    return checked | {"f": triangles.astype(np.uint32), "kintree_table": parents}
