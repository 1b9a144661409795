"""Activations as LLVM code for vectors, from polynomials."""

from __future__ import annotations

from collections.abc import Callable

from scale_backend.cpu.code import Code, splat
from scale_backend.cpu.polynomials import fitted, log1p_ratio

LOG2_E = 1.4426950408889634
EXP2_DEGREE, LOG1P_DEGREE = 5, 8  # to float32's last digit


ZERO, ONE = splat(0), splat(1)


def _softplus(code: Code, x: str) -> str:
    """max(x, 0) + log1p(exp(-|x|))"""
    e = code.exp2(code.multiply(code.size(x), splat(-LOG2_E)), EXP2_DEGREE)
    ratio = code.polynomial(fitted(log1p_ratio, 1e-12, 1, LOG1P_DEGREE), e)
    return code.fused(e, ratio, code.greater(x, ZERO))


def _silu(code: Code, x: str) -> str:
    """x / (1 + exp(-x))"""
    power = code.lesser(splat(125), code.multiply(x, splat(-LOG2_E)))
    below = code.add(code.exp2(power, EXP2_DEGREE), ONE)
    if code.lanes == 8:
        return code.let(f"fdiv {code.floats} {x}, {below}")
    floats = code.floats
    inverse = code.let(f"call {floats} @llvm.x86.avx512.rcp14.ps.512({floats} {below}, {floats} undef, i16 -1)")
    minus = code.let(f"fneg {floats} {below}")  # a step of Newton's: from 14 bits to all
    inverse = code.fused(inverse, code.fused(minus, inverse, ONE), inverse)
    return code.multiply(x, inverse)


ACTIVATIONS: dict[str, Callable[[Code, str], str]] = {
    "softplus": _softplus,
    "silu": _silu,
    "relu": lambda code, x: code.greater(ZERO, x),
    "leaky_relu": lambda code, x: code.greater(code.multiply(x, splat(0.2)), x),
    "none": lambda _code, x: x,
}
