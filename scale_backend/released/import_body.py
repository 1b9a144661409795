"""Official SMPL, SMPL-H and SMPL-X files as bodies: the arrays that are needed, with a UV layout, in a plain .npz."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scale_backend.formats.body_arrays import REQUIRED, checked_body_arrays, read_body_arrays
from scale_backend.formats.foreign_file import ForeignFileError, quoted
from scale_backend.formats.joints import JOINT_NAMES
from scale_backend.formats.pickled_values import as_array
from scale_backend.formats.restricted_pickle import read_pickle
from scale_backend.formats.uv_template import read_uv_template
from scale_backend.formats.whole_files import written_whole
from scale_backend.geometry.body import SHAPE_COUNT, body_from_arrays


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
    body = body_from_arrays(arrays, out.name)
    arrays["joint_names"] = np.array(body.joint_names)
    with written_whole(out) as beside, open(beside, "wb") as file:
        np.savez_compressed(file, **arrays)
    return f"{body.joint_count} joints, {len(body.template)} vertices, {len(body.triangles)} triangles"


def read_arrays(source: Path) -> dict[str, np.ndarray]:
    """SMPL's arrays, those that are there, from a .pkl or .npz. Raises ForeignFileError, OSError."""
    if source.suffix == ".npz":
        return read_body_arrays(source)
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
    weights = arrays.get("weights")
    if weights is not None and weights.ndim == 2 and weights.shape[1] not in JOINT_NAMES:
        raise ForeignFileError(f"{name} has {weights.shape[1]} joints; bodies of SMPL's family have 24, 52 or 55.")
    checked = checked_body_arrays(arrays, name)
    checked["shapedirs"] = checked["shapedirs"][..., :SHAPE_COUNT]
    return checked | {"f": checked["f"].astype(np.uint32)}
