"""Bodies like the rest of SMPL's family, made of the one that ships: with fingers, a face, correctives, and larger."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scale_backend.formats.assets import find_body
from scale_backend.formats.joints import FACE, JOINT_NAMES, SMPL, SMPL_PARENTS

CHEST = np.array([0.0, 0.15, 0.02])  # metres: the origin is further up than in the body that ships
TALL = 1.08
BULGE = 0.04  # metres a unit of a rotation matrix


def write_relative(path: Path, joint_count: int, *, correctives: bool = False) -> Path:
    """A body of 52 or 55 joints as large as another person: each hand's skin shared among its fingers, the head's with
    jaw and eyes. With correctives the belly bulges when the left hip bends forward."""
    with np.load(find_body("neutral")) as file:
        arrays = {key: file[key] for key in ("v_template", "f", "J_regressor", "shapedirs", "weights", "vt", "ft")}
    names = JOINT_NAMES[joint_count]
    old = {name: arrays["weights"][:, SMPL.index(name)] for name in SMPL}
    weights = np.zeros((len(arrays["v_template"]), joint_count))
    regressor = np.zeros((joint_count, len(weights)))
    parents = [-1] + [0] * (joint_count - 1)
    for joint, name in enumerate(names):
        if name in SMPL:
            weights[:, joint] = old[name]
            regressor[joint] = arrays["J_regressor"][SMPL.index(name)]
            parents[joint] = SMPL_PARENTS[SMPL.index(name)]
            continue
        parents[joint] = names.index(_above(name))
        source, share = ("head", 0.1) if name in FACE else (f"{name.split('_')[0]}_hand", 1 / 15)
        weights[:, joint] = share * old[source]
        regressor[joint] = old[source] / old[source].sum()
    faces = [names.index(name) for name in FACE if name in names]
    weights[:, names.index("head")] -= weights[:, faces].sum(1)
    bulge = np.zeros((*arrays["v_template"].shape, 9 * (joint_count - 1)), np.float32)
    if correctives:
        height = arrays["v_template"][:, 1]
        belly = np.exp(-(((height + 0.02) / 0.08) ** 2)) * (np.abs(arrays["v_template"][:, 0]) < 0.25)
        bulge[:, 2, 5] = BULGE * belly  # the left hip's row 1, column 2: the sine of a bend forward
    arrays |= {
        "v_template": (TALL * arrays["v_template"] + CHEST).astype(np.float32), "weights": weights,
        "J_regressor": regressor, "kintree_table": np.stack([parents, np.arange(joint_count)]), "posedirs": bulge,
    }  # fmt: skip
    np.savez(path, **arrays)
    return path


def _above(name: str) -> str:
    """The parent of a finger's or the face's joint."""
    if name in FACE:
        return "head"
    knuckle = int(name[-1])
    return f"{name.split('_')[0]}_wrist" if knuckle == 1 else f"{name[:-1]}{knuckle - 1}"
