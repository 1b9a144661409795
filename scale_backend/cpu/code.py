"""What the MLP's codes for LLVM have in common: named values, numbers a vector at a time, the order of the layers."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import count

import numpy as np

from scale_backend.cpu.polynomials import fitted

FLOOR = 9  # VREDUCEPS: what is left above the next lower whole number, quietly
ROUNDING = 1.5 * 2**23  # added to a float32 it leaves the nearest whole number in the lowest bits


class Code:
    """The lines of a function for vectors of 16 or 8 floats (AVX-512, AVX2). Each value has a name of its own."""

    def __init__(self, lanes: int = 16):
        self.lanes, self.floats, self.suffix = lanes, f"<{lanes} x float>", f"v{lanes}f32"
        self.lines: list[str] = []
        self.known: dict[str, str] = {}  # what is computed once, as the function begins, and its name
        self.names = (f"%v{k}" for k in count())

    def __call__(self, line: str) -> None:
        self.lines.append(f"  {line}")

    def let(self, value: str) -> str:
        name = next(self.names)
        self(f"{name} = {value}")
        return name

    def once(self, value: str) -> str:
        return self.known.setdefault(value, next(self.names))

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")

    def at(self, pointer: str, offset: str | int) -> str:
        return self.let(f"getelementptr i8, ptr {pointer}, i64 {offset}") if offset else pointer

    def times(self, value: str, factor: int | str) -> str:
        return self.let(f"mul i64 {value}, {factor}")

    def load(self, pointer: str) -> str:
        return self.let(f"load {self.floats}, ptr {pointer}, align 4")

    def store(self, value: str, pointer: str) -> None:
        self(f"store {self.floats} {value}, ptr {pointer}, align 4")

    def spread(self, pointer: str) -> str:
        """One number in all lanes."""
        one = self.let(f"insertelement {self.floats} poison, float {self.let(f'load float, ptr {pointer}')}, i64 0")
        return self.let(f"shufflevector {self.floats} {one}, {self.floats} poison, <{self.lanes} x i32> splat (i32 0)")

    def add(self, a: str, b: str) -> str:
        return self.let(f"fadd {self.floats} {a}, {b}")

    def subtract(self, a: str, b: str) -> str:
        return self.let(f"fsub {self.floats} {a}, {b}")

    def multiply(self, a: str, b: str) -> str:
        return self.let(f"fmul {self.floats} {a}, {b}")

    def fused(self, a: str, b: str, c: str) -> str:
        """a b + c"""
        return self.let(self.fused_call(a, b, c))

    def fused_call(self, a: str, b: str, c: str) -> str:
        return f"call {self.floats} @llvm.fma.{self.suffix}({self.floats} {a}, {self.floats} {b}, {self.floats} {c})"

    def size(self, x: str) -> str:
        return self.let(f"call {self.floats} @llvm.fabs.{self.suffix}({self.floats} {x})")

    def greater(self, a: str, b: str) -> str:
        return self._chosen("ogt", a, b)

    def lesser(self, a: str, b: str) -> str:
        return self._chosen("olt", a, b)

    def _chosen(self, comparison: str, a: str, b: str) -> str:
        """b where one of them is no number, as VMAXPS and VMINPS have it."""
        chosen = self.let(f"fcmp {comparison} {self.floats} {a}, {b}")
        return self.let(f"select <{self.lanes} x i1> {chosen}, {self.floats} {a}, {self.floats} {b}")

    def polynomial(self, coefficients: tuple[np.float32, ...], x: str) -> str:
        *lower, value = [splat(c) for c in coefficients]
        for coefficient in reversed(lower):
            value = self.fused(value, x, coefficient)
        return value

    def looked_up(self, low: str, high: str, place: str) -> str:
        """Of 16 low and 16 high numbers those at 16 places, of which the lowest five bits count."""
        permute, floats = "@llvm.x86.avx512.vpermi2var.ps.512", self.floats
        return self.let(f"call {floats} {permute}({floats} {low}, <16 x i32> {place}, {floats} {high})")

    def exp2(self, power: str, degree: int) -> str:  # of powers below 126
        floats = self.floats
        if self.lanes == 16:
            unit, last = "@llvm.x86.avx512.mask", f"{floats} undef, i16 -1, i32 4"
            rest = self.let(f"call {floats} {unit}.reduce.ps.512({floats} {power}, i32 {FLOOR}, {last})")
            value = self.polynomial(fitted(np.exp2, 0, 1, degree), rest)
            return self.let(f"call {floats} {unit}.scalef.ps.512({floats} {value}, {floats} {power}, {last})")
        power = self.greater(splat(-126), power)
        shifted = self.add(power, splat(ROUNDING))
        rest = self.subtract(power, self.subtract(shifted, splat(ROUNDING)))
        value = self.polynomial(fitted(np.exp2, -0.5, 0.5, degree), rest)
        whole = f"<{self.lanes} x i32>"  # the whole number goes into the exponent
        exponent = self.let(f"shl {whole} {self.let(f'bitcast {floats} {shifted} to {whole}')}, splat (i32 23)")
        scaled = self.let(f"add {whole} {self.let(f'bitcast {floats} {value} to {whole}')}, {exponent}")
        return self.let(f"bitcast {whole} {scaled} to {floats}")

    def function(self, body: str) -> str:
        known = [f"  {name} = {value}" for value, name in self.known.items()]
        return f"define {body} #0 {{\nentry:\n" + "\n".join([*known, *self.lines]) + "\n  ret void\n}\n"


def splat(number: float | np.floating) -> str:
    return f"splat ({_literal(number)})"


def vector(numbers: Iterable[float | np.floating]) -> str:
    return f"<{', '.join(map(_literal, numbers))}>"


def _literal(number: float | np.floating) -> str:
    bits = struct.unpack("<Q", struct.pack("<d", float(np.float32(number))))[0]
    return f"float 0x{bits:016X}"


def declarations(lanes: int) -> str:
    """Of what the functions above call, and of the units that they may use."""
    floats, suffix = f"<{lanes} x float>", f"v{lanes}f32"
    lines = [
        f"declare {floats} @llvm.fma.{suffix}({floats}, {floats}, {floats})",
        f"declare {floats} @llvm.fabs.{suffix}({floats})",
    ]
    if lanes == 16:
        lines += [
            f"declare {floats} @llvm.x86.avx512.rcp14.ps.512({floats}, {floats}, i16)",
            f"declare {floats} @llvm.x86.avx512.vpermi2var.ps.512({floats}, <16 x i32>, {floats})",
            f"declare {floats} @llvm.x86.avx512.mask.reduce.ps.512({floats}, i32 immarg, {floats}, i16, i32 immarg)",
            f"declare {floats} @llvm.x86.avx512.mask.scalef.ps.512({floats}, {floats}, {floats}, i16, i32 immarg)",
        ]
    return "\n".join(lines)
