"""Activations to the digits of bfloat16, in code that leaves a core's matrix tiles their unit.

softplus and silu are max(x, 0) + h(|x|) with an h that falls to nothing. h is 32 short polynomials, half a unit wide
each, whose coefficients are looked up by permutations. While tiles multiply, a core has one unit left for sums and
products of 16 floats: six or seven of them here, where an exponential and a logarithm need 13. Permutations,
comparisons and bits go through another unit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from scale_backend.cpu.activations import ACTIVATIONS, ZERO
from scale_backend.cpu.code import Code, splat, vector
from scale_backend.cpu.polynomials import fitted

PIECES, WIDTH = 32, 0.5  # middles at 0, 0.5, ...
LAST = (PIECES - 1) * WIDTH
STEPS = 1.5 * 2**23 * WIDTH  # added to a float32, it leaves the number of the piece in the lowest bits


def _softplus(t: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(-t))


def _silu(t: np.ndarray) -> np.ndarray:
    return -t / (1 + np.exp(t))


# h, and the degree that keeps it to 1e-4
EVEN: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {"softplus": (_softplus, 2), "silu": (_silu, 3)}


def activate(code: Code, activation: str, x: str) -> str:
    """Of 16 floats."""
    if activation not in EVEN:
        return ACTIVATIONS[activation](code, x)
    t = code.lesser(splat(LAST), code.size(x))
    piece = code.let(f"bitcast {code.floats} {code.add(t, splat(STEPS))} to <16 x i32>")
    halves = (
        [code.once(f"load {code.floats}, ptr {name}, align 64") for name in names] for names in _names(activation)
    )
    constant, *lower, value = (code.looked_up(low, high, piece) for low, high in halves)
    for coefficient in reversed(lower):
        value = code.fused(value, t, coefficient)
    # added only where x is positive: a comparison is cheaper here than a maximum
    positive = code.let(f"fcmp ogt {code.floats} {x}, {ZERO}")
    with_x = code.add(constant, x)
    rest = code.let(f"select <16 x i1> {positive}, {code.floats} {with_x}, {code.floats} {constant}")
    return code.fused(value, t, rest)


def constants(activation: str) -> str:
    """What the code looks up."""
    if activation not in EVEN:
        return ""
    return "\n".join(
        f"{name} = internal constant <16 x float> {vector(row[16 * half : 16 * half + 16])}, align 64"
        for row, names in zip(table(activation), _names(activation), strict=True)
        for half, name in enumerate(names)
    )


def _names(activation: str) -> list[tuple[str, str]]:
    """Of both halves of each coefficient."""
    return [(f"@low{power}", f"@high{power}") for power in range(EVEN[activation][1] + 1)]


@functools.cache
def table(activation: str) -> np.ndarray:  # [degree + 1, 32] coefficients, lowest first
    function, degree = EVEN[activation]
    middles = WIDTH * np.arange(PIECES)
    return np.transpose([fitted(function, max(0, m - WIDTH / 2), m + WIDTH / 2, degree) for m in middles])
