"""LLVM code of the whole MLP for CPUs with matrix tiles (Intel AMX): 32 points at a time through all layers.

A core multiplies tiles of 16 rows x 32 bfloat16 while its vector units compute the activation of the block before, so
the two are interleaved in the code. Activations stay in the first cache, in the order in which tiles are read.
Weights come from the second cache. Intel's manuals call the instructions TDPBF16PS, TILELOADD, VREDUCEPS, VSCALEFPS.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from scale_backend.llvm_code import ACTIVATIONS, BRANCHES, Chain, Code, declarations

ROWS = COLUMNS = 32  # of a block: 2 x 2 tiles of sums
DEPTH = 32  # inputs a step
TILE = 1024  # bytes: 16 rows of 64
SUMS = 4 * TILE  # bytes of a block's sums in float32; two of them take turns

FLOATS, BFLOATS = "<16 x float>", "<16 x bfloat>"


@dataclass(frozen=True)
class TileChain(Chain):
    """Channels are multiples of 32."""

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


class TileCode(Code):
    """With tiles of matrices beside the vectors."""

    def load_tile(self, tile: int, pointer: str, stride: int) -> None:
        self(f"call void @llvm.x86.tileloadd64(i8 {tile}, ptr {pointer}, i64 {stride})")

    def multiply_tiles(self, sums: int, rows: int, columns: int) -> None:
        self(f"call void @llvm.x86.tdpbf16ps(i8 {sums}, i8 {rows}, i8 {columns})")

    def store_tile(self, tile: int, pointer: str, stride: int | str) -> None:
        self(f"call void @llvm.x86.tilestored64(i8 {tile}, ptr {pointer}, i64 {stride})")


def module(chain: TileChain) -> str:
    """The code: void chain1(x, place, weights, biases, out, scratch, _, blocks), and chain2 for two branches.

    x [32 B, features] and place [32 B, place] bfloat16 (upper parts, then lower ones, if split), weights and float32
    biases as `tile_mlp.TileMLP` lays them out, out [32 B, branches, 16] float32, whose columns 0 to 2 and 3 to 5 belong
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
        *(_driver(chain, branches) for branches in BRANCHES),
    ]
    palette = bytes([1]) + bytes(15) + struct.pack("<16H", *[64] * 8, *[0] * 8) + bytes([16] * 8 + [0] * 8)
    constant = "".join(f"\\{byte:02X}" for byte in palette)
    return "\n".join([f'@palette = internal constant [64 x i8] c"{constant}", align 64', DECLARATIONS, *functions])


def _layer(chain: TileChain, name: str, inputs: list[Inputs]) -> str:
    """void name(x, place, h, weights, bias, out, sums): a layer of 32 rows, a block of 32 outputs after the other."""
    code = TileCode()
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
            made.extend(lambda k=k: code.multiply_tiles(k, 4 + k // 2, 6 + k % 2) for k in range(4))

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


def _finish(code: TileCode, chain: TileChain, sums: str, out: str, row: int, half: int) -> None:
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


def _output(chain: TileChain, h: Inputs) -> str:
    """void output(h, weights, bias, out, row): 16 columns of float32 for 32 rows, so many bytes apart."""
    code = TileCode()
    for tile in (0, 1):
        code.load_tile(tile, "%bias", 0)
    for step in range(h.steps * chain.parts):
        part, k = divmod(step, h.steps)
        code.load_tile(6, code.at("%weights", step * TILE), 64)
        for tile in (0, 1):
            code.load_tile(4 + tile, code.at(h.pointer, part * h.lower + k * h.step + tile * TILE), 64)
            code.multiply_tiles(tile, 4 + tile, 6)
    for tile in (0, 1):
        code.store_tile(tile, code.at("%out", code.times("%row", 16 * tile)), "%row")
    return code.function("internal void @output(ptr noalias %h, ptr noalias %weights, ptr noalias %bias, "
                         "ptr noalias %out, i64 %row)")  # fmt: skip


def _driver(chain: TileChain, branches: int) -> str:
    """All layers, a block of rows after the other."""
    code = TileCode()
    code("call void @llvm.x86.ldtilecfg(ptr @palette)")
    code("br label %loop")
    code.label("loop")
    code("%block = phi i64 [0, %entry], [%next, %loop]")
    x, place, out = (
        code.at(pointer, code.times("%block", ROWS * size))
        for pointer, size in (("%x", 2 * chain.features * chain.parts), ("%place", 2 * chain.place * chain.parts),
                              ("%out", 64 * branches))
    )  # fmt: skip
    buffers = tuple(code.at("%scratch", k * chain.buffer) for k in range(3))
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

    def output(h: str, branch: int) -> None:
        size = 2 * 16 * chain.hidden * chain.parts
        read = f"ptr {h}, ptr {weights(size)}, ptr {bias(16)}"
        code(f"call void @output({read}, ptr {code.at(out, 64 * branch)}, i64 {64 * branches})")

    chain.run(branches, buffers, layer, output)
    code("%next = add i64 %block, 1")
    code("%more = icmp ult i64 %next, %blocks")
    code("br i1 %more, label %loop, label %end")
    code.label("end")
    code("call void @llvm.x86.tilerelease()")
    arrays = ", ".join(f"ptr %{name}" for name in ("x", "place", "weights", "biases", "out", "scratch"))
    return code.function(f"void @chain{branches}({arrays}, ptr, i64 %blocks)")


DECLARATIONS = f"""
declare void @llvm.x86.ldtilecfg(ptr)
declare void @llvm.x86.tilerelease()
declare void @llvm.x86.tileloadd64(i8 immarg, ptr, i64)
declare void @llvm.x86.tilestored64(i8 immarg, ptr, i64)
declare void @llvm.x86.tdpbf16ps(i8 immarg, i8 immarg, i8 immarg)
{declarations(16)}
attributes #0 = {{ nounwind "prefer-vector-width"="512" "target-features"="+amx-tile,+amx-bf16,+avx512f,+avx512bf16,\
+avx512bw,+avx512vl,+avx512dq,+fma" }}
"""
