"""LLVM code of the whole MLP for CPUs with matrix tiles (Intel AMX): 32 points at a time through all layers.

A core multiplies tiles of 16 rows x 32 bfloat16 while its vector units compute the activation of the block before, so
the two are interleaved in the code. Activations stay in the first cache, in the order in which tiles are read.
Weights come from the second cache. Intel's manuals call the instructions TDPBF16PS, TILELOADD, VREDUCEPS, VSCALEFPS.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import numpy as np

from scale_backend.polynomials import fitted, log1p_ratio

ROWS = COLUMNS = 32  # of a block: 2 x 2 tiles of sums
DEPTH = 32  # inputs a step
TILE = 1024  # bytes: 16 rows of 64
SUMS = 4 * TILE  # bytes of a block's sums in float32; two of them take turns
LOG2_E = 1.4426950408889634
FLOOR = 9  # VREDUCEPS: what is left above the next lower whole number, quietly

FLOATS, BFLOATS = "<16 x float>", "<16 x bfloat>"


@dataclass(frozen=True)
class Chain:
    """What the code depends on. Channels are multiples of 32."""

    features: int
    place: int  # channels of what depends on the place alone
    hidden: int
    activation: str
    trunk: int  # layers between the first and the fifth
    branches: int  # of two hidden layers and an output of up to 3 channels
    split: bool  # each number as the sum of two bfloat16: 16 bits of mantissa for three products instead of one

    @property
    def parts(self) -> int:
        return 2 if self.split else 1

    @property
    def scratch(self) -> int:
        """Bytes a thread needs."""
        return 3 * self.buffer + 2 * SUMS

    @property
    def buffer(self) -> int:
        """Bytes of a block's activations: all of the upper parts, then the lower ones."""
        return 2 * ROWS * self.hidden * self.parts


@dataclass(frozen=True)
class Inputs:
    """Where a layer finds some of its inputs: steps of 32 channels for 32 rows."""

    pointer: str
    steps: int
    step: int  # bytes from one step to the next
    row: int  # bytes from one row to the next
    lower: int  # bytes from upper to lower parts


class Code:
    """The lines of a function. Each value has a name of its own."""

    def __init__(self):
        self.lines: list[str] = []
        self.names = (f"%v{k}" for k in count())

    def __call__(self, line: str) -> None:
        self.lines.append(f"  {line}")

    def let(self, value: str) -> str:
        name = next(self.names)
        self(f"{name} = {value}")
        return name

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")

    def at(self, pointer: str, offset: str | int) -> str:
        return self.let(f"getelementptr i8, ptr {pointer}, i64 {offset}") if offset else pointer

    def times(self, value: str, factor: int) -> str:
        return self.let(f"mul i64 {value}, {factor}")

    def load_tile(self, tile: int, pointer: str, stride: int) -> None:
        self(f"call void @llvm.x86.tileloadd64(i8 {tile}, ptr {pointer}, i64 {stride})")

    def multiply(self, sums: int, rows: int, columns: int) -> None:
        self(f"call void @llvm.x86.tdpbf16ps(i8 {sums}, i8 {rows}, i8 {columns})")

    def store_tile(self, tile: int, pointer: str, stride: int) -> None:
        self(f"call void @llvm.x86.tilestored64(i8 {tile}, ptr {pointer}, i64 {stride})")

    # 16 numbers at a time

    def fused(self, a: str, b: str, c: str) -> str:
        """a b + c"""
        return self.let(f"call {FLOATS} @llvm.fma.v16f32({FLOATS} {a}, {FLOATS} {b}, {FLOATS} {c})")

    def greater(self, a: str, b: str) -> str:
        return self.let(f"call {FLOATS} @llvm.x86.avx512.max.ps.512({FLOATS} {a}, {FLOATS} {b}, i32 4)")

    def lesser(self, a: str, b: str) -> str:
        return self.let(f"call {FLOATS} @llvm.x86.avx512.min.ps.512({FLOATS} {a}, {FLOATS} {b}, i32 4)")

    def polynomial(self, coefficients: list[np.float32], x: str) -> str:
        *lower, value = [splat(c) for c in coefficients]
        for coefficient in reversed(lower):
            value = self.fused(value, x, coefficient)
        return value

    def function(self, body: str) -> str:
        return f"define {body} #0 {{\nentry:\n" + "\n".join(self.lines) + "\n  ret void\n}\n"


def splat(number: float) -> str:
    bits = struct.unpack("<Q", struct.pack("<d", float(np.float32(number))))[0]
    return f"splat (float 0x{bits:016X})"


ZERO, ONE = splat(0), splat(1)


def _degrees(split: bool) -> tuple[int, int]:
    """Of exp2 and of log1p: as exact as the numbers that are kept."""
    return (6, 8) if split else (3, 4)


def _exp2(code: Code, power: str, split: bool) -> str:
    rest = code.let(f"call {FLOATS} @llvm.x86.avx512.mask.reduce.ps.512({FLOATS} {power}, i32 {FLOOR}, {FLOATS} undef,"
                    " i16 -1, i32 4)")  # fmt: skip
    value = code.polynomial(fitted(np.exp2, 0, 1, _degrees(split)[0]), rest)
    return code.let(f"call {FLOATS} @llvm.x86.avx512.mask.scalef.ps.512({FLOATS} {value}, {FLOATS} {power}, {FLOATS} "
                    "undef, i16 -1, i32 4)")  # fmt: skip


def _softplus(code: Code, x: str, split: bool) -> str:
    """max(x, 0) + log1p(exp(-|x|))"""
    size = code.let(f"call {FLOATS} @llvm.fabs.v16f32({FLOATS} {x})")
    e = _exp2(code, code.let(f"fmul {FLOATS} {size}, {splat(-LOG2_E)}"), split)
    ratio = code.polynomial(fitted(log1p_ratio, 1e-12, 1, _degrees(split)[1]), e)
    return code.fused(e, ratio, code.greater(x, ZERO))


def _silu(code: Code, x: str, split: bool) -> str:
    """x / (1 + exp(-x))"""
    power = code.lesser(code.let(f"fmul {FLOATS} {x}, {splat(-LOG2_E)}"), splat(125))
    below = code.let(f"fadd {FLOATS} {_exp2(code, power, split)}, {ONE}")
    inverse = code.let(f"call {FLOATS} @llvm.x86.avx512.rcp14.ps.512({FLOATS} {below}, {FLOATS} undef, i16 -1)")
    if split:  # a step of Newton's: from 14 bits to all
        minus = code.let(f"fneg {FLOATS} {below}")
        inverse = code.fused(inverse, code.fused(minus, inverse, ONE), inverse)
    return code.let(f"fmul {FLOATS} {x}, {inverse}")


ACTIVATIONS: dict[str, Callable[[Code, str, bool], str]] = {
    "softplus": _softplus,
    "silu": _silu,
    "relu": lambda code, x, _split: code.greater(x, ZERO),
    "leaky_relu": lambda code, x, _split: code.greater(x, code.let(f"fmul {FLOATS} {x}, {splat(0.2)}")),
}


def module(chain: Chain) -> str:
    """The code: void chain(x, place, weights, biases, out, scratch, blocks).

    x [32 B, features] and place [32 B, place] bfloat16 (upper parts, then lower ones, if split), weights and float32
    biases as `amx.TileMLP` lays them out, out [32 B, branches, 16] float32, whose columns 0 to 2 and 3 to 5 belong
    together.
    """
    x, place = (Inputs(f"%{name}", channels // DEPTH, 64, 2 * channels * chain.parts, 2 * channels)
                for name, channels in (("x", chain.features), ("place", chain.place)))  # fmt: skip
    h = Inputs("%h", chain.hidden // DEPTH, 2 * TILE, 64, 2 * ROWS * chain.hidden)
    functions = [
        _layer(chain, "first", [x, place]),
        _layer(chain, "hidden", [h]),
        _layer(chain, "fifth", [x, place, h]),
        _output(chain, h),
        _driver(chain),
    ]
    palette = bytes([1]) + bytes(15) + struct.pack("<16H", *[64] * 8, *[0] * 8) + bytes([16] * 8 + [0] * 8)
    constant = "".join(f"\\{byte:02X}" for byte in palette)
    return "\n".join([f'@palette = internal constant [64 x i8] c"{constant}", align 64', DECLARATIONS, *functions])


def _layer(chain: Chain, name: str, inputs: list[Inputs]) -> str:
    """void name(x, place, h, weights, bias, out, sums): a layer of 32 rows, a block of 32 outputs after the other."""
    code = Code()
    blocks, step_bytes = chain.hidden // COLUMNS, 2 * TILE * chain.parts

    def sums_of(block: str) -> str:
        return code.at("%sums", code.times(code.let(f"and i64 {block}, 1"), SUMS))

    def products(block: str) -> list[Callable[[], None]]:
        weights = code.at("%weights", code.times(block, sum(x.steps for x in inputs) * step_bytes))
        made: list[Callable[[], None]] = []

        def rows(x: Inputs, start: int) -> None:
            for tile in (0, 1):
                made.append(lambda t=tile: code.load_tile(4 + t, code.at(x.pointer, start + 16 * x.row * t), x.row))

        def columns(start: int) -> None:
            for tile in (0, 1):
                made.append(lambda t=tile: code.load_tile(6 + t, code.at(weights, start + TILE * t), 64))

        def multiply() -> None:
            made.extend(lambda k=k: code.multiply(k, 4 + k // 2, 6 + k % 2) for k in range(4))

        for step, (source, k) in enumerate([(x, k) for x in inputs for k in range(x.steps)]):
            columns(step * step_bytes)
            if chain.split:  # lower times lower is too small to matter
                rows(source, k * source.step + source.lower)
                multiply()
            rows(source, k * source.step)
            multiply()
            if chain.split:
                columns(step * step_bytes + 2 * TILE)
                multiply()
        return made

    def out_of(block: str) -> str:
        return code.at("%out", code.times(block, 2 * TILE))

    def activation(block: str) -> list[Callable[[], None]]:
        sums, out = sums_of(block), out_of(block)
        return [lambda k=k: _finish(code, chain, sums, out, *divmod(k, 2)) for k in range(2 * ROWS)]

    def multiply(block: str, meanwhile: list[Callable[[], None]]) -> None:
        bias = code.at("%bias", code.times(block, 4 * COLUMNS))
        for tile in range(4):  # in all rows: read again and again
            code.load_tile(tile, code.at(bias, tile % 2 * 64), 0)
        made = products(block)
        for k, step in enumerate(made):
            step()
            for other in meanwhile[k * len(meanwhile) // len(made) : (k + 1) * len(meanwhile) // len(made)]:
                other()
        sums = sums_of(block)
        for tile in range(4):
            code.store_tile(tile, code.at(sums, tile // 2 * 2 * TILE + tile % 2 * 64), 128)

    multiply("0", [])
    if blocks > 1:
        code("br label %loop")
        code.label("loop")
        code("%block = phi i64 [1, %entry], [%next, %loop]")
        multiply("%block", activation(code.let("sub i64 %block, 1")))
        code("%next = add i64 %block, 1")
        code(f"%more = icmp ult i64 %next, {blocks}")
        code("br i1 %more, label %loop, label %last")
        code.label("last")
    sums, out = sums_of(str(blocks - 1)), out_of(str(blocks - 1))
    code("br label %rows")
    code.label("rows")
    code(f"%row = phi i64 [0, %{'last' if blocks > 1 else 'entry'}], [%below, %rows]")
    where = code.at(sums, code.times("%row", 128)), code.at(out, code.times("%row", 64))
    for half in (0, 1):
        _finish(code, chain, *where, 0, half)
    code("%below = add i64 %row, 1")
    code(f"%unfinished = icmp ult i64 %below, {ROWS}")
    code("br i1 %unfinished, label %rows, label %done")
    code.label("done")
    return code.function(f"internal void @{name}(ptr noalias %x, ptr noalias %place, ptr noalias %h, ptr noalias "
                         "%weights, ptr noalias %bias, ptr noalias %out, ptr noalias %sums)")  # fmt: skip


def _finish(code: Code, chain: Chain, sums: str, out: str, row: int, half: int) -> None:
    """Half a row of a block: the activation of its sums, and rounding."""
    x = code.let(f"load {FLOATS}, ptr {code.at(sums, row * 128 + half * 64)}, align 64")
    y = ACTIVATIONS[chain.activation](code, x, chain.split)
    place = code.at(out, row * 64 + half * 32)
    upper = code.let(f"fptrunc {FLOATS} {y} to {BFLOATS}")
    code(f"store {BFLOATS} {upper}, ptr {place}, align 32")
    if chain.split:
        rest = code.let(f"fsub {FLOATS} {y}, {code.let(f'fpext {BFLOATS} {upper} to {FLOATS}')}")
        lower = code.let(f"fptrunc {FLOATS} {rest} to {BFLOATS}")
        code(f"store {BFLOATS} {lower}, ptr {code.at(place, 2 * ROWS * chain.hidden)}, align 32")


def _output(chain: Chain, h: Inputs) -> str:
    """void output(h, weights, bias, out): 16 columns of float32 for 32 rows."""
    code = Code()
    for tile in (0, 1):
        code.load_tile(tile, "%bias", 0)
    for step in range(h.steps * chain.parts):
        part, k = divmod(step, h.steps)
        code.load_tile(6, code.at("%weights", step * TILE), 64)
        for tile in (0, 1):
            code.load_tile(4 + tile, code.at(h.pointer, part * h.lower + k * h.step + tile * TILE), 64)
            code.multiply(tile, 4 + tile, 6)
    for tile in (0, 1):
        code.store_tile(tile, code.at("%out", tile * 16 * 64 * chain.branches), 64 * chain.branches)
    return code.function("internal void @output(ptr noalias %h, ptr noalias %weights, ptr noalias %bias, "
                         "ptr noalias %out)")  # fmt: skip


def _driver(chain: Chain) -> str:
    """All layers, a block of rows after the other."""
    code = Code()
    code("call void @llvm.x86.ldtilecfg(ptr @palette)")
    code("br label %loop")
    code.label("loop")
    code("%block = phi i64 [0, %entry], [%next, %loop]")
    x, place, out = (
        code.at(pointer, code.times("%block", ROWS * size))
        for pointer, size in (("%x", 2 * chain.features * chain.parts), ("%place", 2 * chain.place * chain.parts),
                              ("%out", 64 * chain.branches))
    )  # fmt: skip
    one, other, shared = (code.at("%scratch", k * chain.buffer) for k in range(3))
    sums = code.at("%scratch", 3 * chain.buffer)
    weights_read = biases_read = 0

    def weights(size: int) -> str:
        nonlocal weights_read
        weights_read += size
        return code.at("%weights", weights_read - size)

    def bias(columns: int) -> str:
        nonlocal biases_read
        biases_read += 4 * columns
        return code.at("%biases", biases_read - 4 * columns)

    def layer(name: str, inputs: int, h: str, into: str) -> None:
        size = 2 * inputs * chain.hidden * chain.parts
        read = f"ptr {x}, ptr {place}, ptr {h}, ptr {weights(size)}, ptr {bias(chain.hidden)}"
        code(f"call void @{name}({read}, ptr {into}, ptr {sums})")

    layer("first", chain.features + chain.place, other, one)
    for _ in range(chain.trunk):
        layer("hidden", chain.hidden, one, other)
        one, other = other, one
    layer("fifth", chain.features + chain.place + chain.hidden, one, shared)
    for branch in range(chain.branches):
        layer("hidden", chain.hidden, shared, one)
        layer("hidden", chain.hidden, one, other)
        code(f"call void @output(ptr {other}, ptr {weights(2 * 16 * chain.hidden * chain.parts)}, ptr {bias(16)}, "
             f"ptr {code.at(out, 64 * branch)})")  # fmt: skip
    code("%next = add i64 %block, 1")
    code("%more = icmp ult i64 %next, %blocks")
    code("br i1 %more, label %loop, label %end")
    code.label("end")
    code("call void @llvm.x86.tilerelease()")
    return code.function(
        "void @chain(ptr %x, ptr %place, ptr %weights, ptr %biases, ptr %out, ptr %scratch, i64 %blocks)"
    )


DECLARATIONS = f"""
declare void @llvm.x86.ldtilecfg(ptr)
declare void @llvm.x86.tilerelease()
declare void @llvm.x86.tilezero(i8 immarg)
declare void @llvm.x86.tileloadd64(i8 immarg, ptr, i64)
declare void @llvm.x86.tilestored64(i8 immarg, ptr, i64)
declare void @llvm.x86.tdpbf16ps(i8 immarg, i8 immarg, i8 immarg)
declare {FLOATS} @llvm.fma.v16f32({FLOATS}, {FLOATS}, {FLOATS})
declare {FLOATS} @llvm.fabs.v16f32({FLOATS})
declare {FLOATS} @llvm.x86.avx512.max.ps.512({FLOATS}, {FLOATS}, i32 immarg)
declare {FLOATS} @llvm.x86.avx512.min.ps.512({FLOATS}, {FLOATS}, i32 immarg)
declare {FLOATS} @llvm.x86.avx512.rcp14.ps.512({FLOATS}, {FLOATS}, i16)
declare {FLOATS} @llvm.x86.avx512.mask.reduce.ps.512({FLOATS}, i32 immarg, {FLOATS}, i16, i32 immarg)
declare {FLOATS} @llvm.x86.avx512.mask.scalef.ps.512({FLOATS}, {FLOATS}, {FLOATS}, i16, i32 immarg)
attributes #0 = {{ nounwind "prefer-vector-width"="512" "target-features"="+amx-tile,+amx-bf16,+avx512f,+avx512bf16,\
+avx512bw,+avx512vl,+avx512dq,+fma" }}
"""
