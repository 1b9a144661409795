"""Which way is up in a motion: what its file says, what its kind of file is known for, or how the body stands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scale_backend.formats.motion import matrices_from_axis_angle

AXES = ("Y", "Z", "-Y", "-Z")
UPRIGHT = 0.5  # cosine of the angle to an axis up to which a body is taken to stand along it
CLIMB = 1.0  # metres that nobody who lies travels up and down


@dataclass(frozen=True)
class Kind:
    """What is known of files with certain keys."""

    name: str = ""  # as its users call it
    usual: str = "Z"  # the axis that is up where the body does not tell
    possible: tuple[str, ...] = AXES  # those that the body may tell
    frame_rate: float | None = None
    model: str = ""
    gender: str = ""
    in_camera: bool = False  # as the camera saw it: X to the right, Y down, Z away


def to_y_up(axis: str) -> np.ndarray:  # [3, 3]
    """The rotation from a world with this axis up to SMPL's axes. About X, so that left and right stay."""
    cosine, sine = {"Y": (1, 0), "Z": (0, -1), "-Y": (-1, 0), "-Z": (0, 1)}[axis]
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]], np.float64)


def find_up_axis(rotations: np.ndarray, translation: np.ndarray, kind: Kind) -> tuple[str, str]:  # [F, J, 3], [F, 3]
    """The axis, and what was assumed."""
    body = matrices_from_axis_angle(rotations[:, 0])[:, :, 1].mean(0)  # where the spine points, on average
    scores = {axis: float(body["XYZ".index(axis[-1])]) * (-1 if axis[0] == "-" else 1) for axis in AXES}
    standing = max(AXES, key=lambda axis: scores[axis])
    if kind.name == "AMASS":
        travel = np.ptp(translation, axis=0) if len(translation) else np.zeros(3)
        if standing != "Z" and scores[standing] > UPRIGHT:
            along = "XYZ".index(standing[-1])
            if standing[-1] == "Y" and travel[2] > max(CLIMB, 2 * travel[along]):
                return standing, f"{standing} was taken to be up, as the body stands along it while it travels along Z"
            return "Z", (f"Z was taken to be up, as in AMASS: the body lies then. If it should stand, set the up axis "
                         f"to {standing}")  # fmt: skip
        return "Z", "Z was taken to be up, as in AMASS"
    if standing in kind.possible and scores[standing] > UPRIGHT:
        what = ", as in camera coordinates" if standing == "-Y" else ", as the body mostly stands along it"
        return standing, f"{standing} was taken to be up{what}"
    reason = f", as in {kind.name}" if kind.name else "; the body does not stand, so say if it is another"
    return kind.usual, f"{kind.usual} was taken to be up{reason}"
