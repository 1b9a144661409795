"""softplus in place, compiled by numba for the CPU at hand. Imported where numba is installed (extra `fast`).

torch's own softplus costs more than the matrix products between it: exp and log1p to float32's last digit, for
bfloat16 too. Here softplus(x) = max(x, 0) + log1p(exp(-|x|)) with polynomials as long as the format needs.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from torch import Tensor

from scale_backend.cpu.polynomials import fitted, log1p_ratio

single, integer = np.float32, np.int32
LOG2_E = single(math.log2(math.e))
LOWEST = single(-30)  # exp2 of less counts as exp2 of this: below 1e-9


# exp2 on [-1/2, 1/2] and log1p(a) / a on (0, 1]: to 1e-4 for bfloat16, to 2e-7 for float32
SHORT_EXP2, SHORT_LOG1P = fitted(np.exp2, -0.5, 0.5, 3), fitted(log1p_ratio, 1e-12, 1, 4)
LONG_EXP2, LONG_LOG1P = fitted(np.exp2, -0.5, 0.5, 5), fitted(log1p_ratio, 1e-12, 1, 8)
S0, S1, S2, S3 = SHORT_EXP2
T0, T1, T2, T3, T4 = SHORT_LOG1P
E0, E1, E2, E3, E4, E5 = LONG_EXP2
L0, L1, L2, L3, L4, L5, L6, L7, L8 = LONG_LOG1P

compiled = numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)


@compiled
def _bfloat16(values):  # [n] bits of bfloat16
    for k in range(values.size):
        x = integer(integer(values[k]) << 16).view(single)
        power = max(-abs(x) * LOG2_E, LOWEST)
        whole = integer(power - single(0.5))
        rest = power - single(whole)
        e = S0 + rest * (S1 + rest * (S2 + rest * S3))
        e = integer(single(e).view(integer) + (whole << 23)).view(single)
        y = max(x, single(0)) + e * (T0 + e * (T1 + e * (T2 + e * (T3 + e * T4))))
        values[k] = np.uint16((single(y).view(integer) + 0x8000) >> 16)


@compiled
def _float32(values):  # [n]
    for k in range(values.size):
        x = values[k]
        power = max(-abs(x) * LOG2_E, LOWEST)
        whole = integer(power - single(0.5))
        rest = power - single(whole)
        e = E0 + rest * (E1 + rest * (E2 + rest * (E3 + rest * (E4 + rest * E5))))
        e = integer(single(e).view(integer) + (whole << 23)).view(single)
        tail = L4 + e * (L5 + e * (L6 + e * (L7 + e * L8)))
        values[k] = max(x, single(0)) + e * (L0 + e * (L1 + e * (L2 + e * (L3 + e * tail))))


def softplus_(x: Tensor) -> Tensor:  # contiguous, bfloat16 or float32, on the CPU
    """softplus in place."""
    if x.dtype == torch.bfloat16:
        _bfloat16(x.view(torch.int16).numpy().view(np.uint16).reshape(-1))
    else:
        _float32(x.numpy().reshape(-1))
    return x
