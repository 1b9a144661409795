"""The MLP's number format: the fastest one in which a garment stays what it is.

bfloat16 has 8 bits of mantissa. Whether that is enough depends on the garment: on its activation, and on how far its
points lie from the carrier. So it is measured when a garment is opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scale_backend.cpu import amx
from scale_backend.formats.errors import UserError
from scale_backend.geometry.rotations import matrix_from_axis_angle
from scale_backend.machine.devices import matrix_units

# metres, in the trial: three quarters of what is promised for any pose
TOLERANCE = 0.00015  # for 99.9 % of the points
LARGEST = 0.00075  # for all


@dataclass(frozen=True)
class Precision:
    """How the MLP computes."""

    name: str
    dtype: torch.dtype  # of the trunk and the branches
    split: bool = False  # float32 as the sum of two bfloat16, where the CPU has matrix tiles


PRECISIONS = {
    p.name: p
    for p in (
        Precision("float32", torch.float32),
        Precision("bfloat16", torch.bfloat16),
        Precision("split", torch.float32, split=True),
        Precision("float16", torch.float16),
    )
}


def candidates(asked: str, device: torch.device) -> list[Precision]:
    """The precisions to try, fastest first; the last is taken unseen. Raises UserError for an unknown one."""
    if asked in PRECISIONS:
        return [PRECISIONS[asked]]
    if asked != "auto":
        raise UserError(f"The precision must be auto, {', '.join(PRECISIONS)}, not '{asked}'.")
    return [PRECISIONS[name] for name in fast_precisions(device.type)]


def fast_precisions(device: str) -> tuple[str, ...]:
    """What `auto` tries on a device, by the units it has."""
    if device == "cuda":
        return ("float16", "float32")
    if device == "cpu" and amx.available():
        return ("bfloat16", "split", "float32")
    if device == "cpu" and {"amx_bf16", "avx512_bf16"} & set(matrix_units()):
        return ("bfloat16", "float32")
    return ("float32",)


# axis-angle of SMPL's joints: a stride with swinging arms, and a sidestep with an arm raised
TRIAL_POSES = (
    {1: (-0.6, 0, 0), 2: (0.4, 0, 0), 4: (0.3, 0, 0), 5: (0.7, 0, 0), 3: (0.1, 0.15, 0), 16: (0.3, 0, -1.1),
     17: (-0.3, 0, 1.1), 18: (0, -0.4, 0), 19: (0, 0.4, 0)},
    {1: (-0.2, 0, 0.35), 2: (-0.1, 0, -0.1), 5: (0.2, 0, 0), 3: (0.1, -0.3, 0.1), 6: (0, -0.2, 0.1),
     16: (0, 0, 0.5), 17: (0, 0.3, 0.9), 18: (0, -0.9, 0), 19: (0, 0.6, 0)},
)  # fmt: skip


def trial_poses(joint_count: int, poses: Sequence[Mapping[int, Sequence[float]]] = TRIAL_POSES) -> Tensor:
    """Poses [F, J, 3, 3] such as people take, by default those to compare precisions in."""
    turns = torch.zeros(len(poses), joint_count, 3)
    for pose, joints in enumerate(poses):
        for joint, turn in joints.items():
            turns[pose, joint] = torch.tensor(turn)
    return matrix_from_axis_angle(turns)


def is_equal(points: Tensor, exact: Tensor) -> bool:  # [F, M, 3] x 2, metres
    """Whether rounded points lie near enough to the exact ones."""
    distance = (points - exact).norm(dim=-1).flatten()
    if not bool(distance.isfinite().all()):
        return False
    rank = max(1, int(0.999 * len(distance)))
    return float(distance.kthvalue(rank).values) <= TOLERANCE and float(distance.max()) <= LARGEST
