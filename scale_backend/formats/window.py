"""The moments that a garment's network sees beside the present one, and how they are read out of a motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ON_FRAME = 1e-3  # of a frame: nearer to one than this, a moment is that frame itself


@dataclass(frozen=True)
class Window:
    """What a garment was trained on beside the pose. The default is the paper's: the pose alone."""

    lags: tuple[float, ...] = ()
    """Seconds before the present of each earlier moment."""
    gravity: bool = False
    """Whether the network knows where down is."""
    shape: bool = False
    """Whether the network sees the wearer's body shape; otherwise it sees the mean one."""
    coarse: bool = False
    """Whether a coarse mesh falls through the earlier moments, and the network sees where it is in place of them."""

    def __post_init__(self) -> None:
        if any(not 0 < lag <= 10 for lag in self.lags):
            raise ValueError(f"Lags are seconds above 0 and up to 10, not {list(self.lags)}.")
        if self.coarse and not self.lags:
            raise ValueError("Coarse cloth falls through earlier moments: there are no lags.")

    def at_rest(self) -> Window:
        """What is still to be read of a rig when nothing is to have moved."""
        return Window((), self.gravity, self.shape)

    @property
    def channels(self) -> int:
        """Of the network's input: the positional map, its difference to each earlier one or how far the coarse cloth
        has fallen, the direction of down."""
        return 3 * (1 + (1 if self.coarse else len(self.lags)) + self.gravity)


def moments(
    rotations: np.ndarray,  # [F, J, 3, 3] local, the root's in the world
    translation: np.ndarray,  # [F, 3] metres
    times: np.ndarray,  # [F] seconds, rising
    lags: tuple[float, ...],  # seconds
    asked: np.ndarray | None = None,  # [A] frames whose windows are wanted; None: all
) -> tuple[np.ndarray, np.ndarray]:  # rotations [A, L, J, 3, 3] and translation [A, L, 3]
    """The motion some time before its frames. Before its first frame whoever moves has stood still in that pose.

    A frame's window depends on nothing but the motion round its moments, so it is the same to the bit in any part.
    """
    now = times if asked is None else times[asked]
    at = now[:, None] - np.asarray(lags, np.float64)  # [A, L]
    after = np.searchsorted(times, at, side="right").clip(1, max(1, len(times) - 1))
    before, after = after - 1, np.minimum(after, len(times) - 1)
    step = np.maximum(times[after] - times[before], 1e-9)
    share = ((at - times[before]) / step).clip(0, 1)
    share = np.where(share < ON_FRAME, 0, np.where(share > 1 - ON_FRAME, 1, share))
    places = (1 - share)[..., None] * translation[before] + share[..., None] * translation[after]
    return _between(rotations, before, after, share), places.astype(np.float32)


def _between(rotations: np.ndarray, before: np.ndarray, after: np.ndarray, share: np.ndarray) -> np.ndarray:
    nearest = np.where(share > 0.5, after, before)
    turned = rotations[nearest].astype(np.float32)
    mixed = (share > 0) & (share < 1)
    if mixed.any():
        s = share[mixed][:, None, None, None]
        turned[mixed] = _rotation((1 - s) * rotations[before[mixed]] + s * rotations[after[mixed]])
    return turned


def _rotation(matrices: np.ndarray) -> np.ndarray:  # [..., 3, 3]
    """The nearest rotations; between two that are less than half a turn apart the mean's is on the way."""
    u, _, v = np.linalg.svd(matrices.astype(np.float64))
    u[..., 2] *= np.linalg.det(u @ v)[..., None]
    return u @ v
