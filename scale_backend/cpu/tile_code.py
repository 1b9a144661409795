"""LLVM code of the whole MLP for CPUs with matrix tiles (Intel AMX): 32 points at a time through all layers.

A core multiplies tiles of 16 rows x 32 bfloat16 while its vector units compute the activation of the block before,
which may be the last one of the layer before, so the two are interleaved in the code. Activations stay in the first
cache, in the order in which tiles are read. Weights come from the second cache. Intel's manuals call the instructions
TDPBF16PS, TILELOADD and TILESTORED.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from scale_backend.cpu.activations import ACTIVATIONS
from scale_backend.cpu.chain import BRANCHES, OUTPUTS, Chain, Numbers, driver
from scale_backend.cpu.code import Code, declarations
from scale_backend.cpu.piecewise import activate, constants

ROWS = COLUMNS = 32  # of a block: 2 x 2 tiles of sums
DEPTH = 32  # inputs a step
TILE = 1024  # bytes: 16 rows of 64
SUMS = 4 * TILE  # bytes of a block's sums in float32
FLOWING = 128  # channels from which a layer can begin before the one before has ended

FLOATS, BFLOATS = "<16 x float>", "<16 x bfloat>"


@dataclass(frozen=True)
class TileChain(Chain):
    """Channels are multiples of 32."""

    split: bool  # each number as the sum of two bfloat16: 16 bits of mantissa for three products instead of one

    buffers = 4

    @property
    def parts(self) -> int:
        return 2 if self.split else 1

    @property
    def flows(self) -> bool:
        """Whether a layer begins before the one before it has ended."""
        return self.hidden >= FLOWING

    @property
    def scratch(self) -> int:
        """Bytes a thread needs."""
        return self.buffers * self.buffer + SUMS

    @property
    def buffer(self) -> int:
        """Bytes of a block's activations: all of the upper parts, then the lower ones."""
        return 2 * ROWS * self.hidden * self.parts


@dataclass(frozen=True)
class TileInputs:
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
    """The code: void chain1(x, place, weights, biases, out, scratch, _, count), and chain2 for two branches.

    x [32 count, features] and place [32 count, place] bfloat16 (upper parts, then lower ones, if split), weights and
    float32 biases as `tile_mlp.TileMLP` lays them out, out [32 count, branches, 16] float32, whose columns 0 to 2 and
    3 to 5 belong together.
    """
    x, place = (TileInputs(f"%{name}", channels // DEPTH, 64, 2 * channels * chain.parts, 2 * channels)
                for name, channels in (("x", chain.features), ("place", chain.place)))  # fmt: skip
    h = TileInputs("%h", chain.hidden // DEPTH, 2 * TILE, 64, 2 * ROWS * chain.hidden)
    functions = [
        _layer(chain, "first", [x, place], False),
        _layer(chain, "hidden", [h], chain.flows),
        _layer(chain, "fifth", [x, place, h], chain.flows),
        _ending(chain),
        _output(chain, h),
        *(_driver(chain, branches) for branches in BRANCHES),
    ]
    palette = bytes([1]) + bytes(15) + struct.pack("<16H", *[64] * 8, *[0] * 8) + bytes([16] * 8 + [0] * 8)
    constant = "".join(f"\\{byte:02X}" for byte in palette)
    tables = "" if chain.split else constants(chain.activation)
    return "\n".join(
        [tables, f'@palette = internal constant [64 x i8] c"{constant}", align 64', DECLARATIONS, *functions]
    )


@dataclass(frozen=True)
class Step:
    """Four products: two tiles of rows with two of columns. A tile that is there already has no pointer."""

    rows: tuple[str, int] | None  # and the bytes from one row to the next
    columns: str | None
    last: bool  # reads what the layer before computed last


def _steps(code: TileCode, chain: TileChain, inputs: list[TileInputs], weights: str) -> list[Step]:
    """Of a block of 32 outputs."""
    steps = []
    for number, (x, k) in enumerate([(source, k) for source in inputs for k in range(source.steps)]):
        columns, last = code.at(weights, number * 2 * TILE * chain.parts), x.pointer == "%h" and k == x.steps - 1
        upper, lower = ((code.at(x.pointer, k * x.step + offset), x.row) for offset in (0, x.lower))
        if chain.split:  # lower times lower is too small to matter
            steps += [Step(lower, columns, last), Step(upper, None, last)]
            steps.append(Step(None, code.at(columns, 2 * TILE), last))
        else:
            steps.append(Step(upper, columns, last))
    return steps


def _load_rows(code: TileCode, step: Step, tile: int) -> None:
    assert step.rows is not None
    pointer, row = step.rows
    code.load_tile(4 + tile, code.at(pointer, 16 * row * tile), row)


def _load_columns(code: TileCode, step: Step, tile: int) -> None:
    assert step.columns is not None
    code.load_tile(6 + tile, code.at(step.columns, TILE * tile), 64)


def _load_bias(code: TileCode, bias: str, tile: int) -> None:
    code.load_tile(tile, code.at(bias, tile % 2 * 64), 0)  # in all rows


def _store_sums(code: TileCode, tile: int) -> None:
    code.store_tile(tile, code.at("%sums", tile // 2 * 2 * TILE + tile % 2 * 64), 128)


def _multiply(
    code: TileCode, steps: list[Step], following: Step, bias: str, finish: list[Callable[[], None]], waits: bool
) -> None:
    """The sums of a block, which stay in their tiles, and meanwhile what finishes those that are there before.

    Tiles are loaded as soon as what was in them has been used: those of the first step before, those of the step
    `following` by this. With `waits` the last inputs are not read before all is finished.
    """
    made: list[Callable[[], None]] = []
    start = end = 0
    for number, after in enumerate([*steps[1:], following]):
        if waits and after.last and not end:
            end = len(made)
        for tile in range(4):
            if number == 0:
                if finish:
                    made.append(partial(_store_sums, code, tile))
                made.append(partial(_load_bias, code, bias, tile))
            made.append(partial(code.multiply_tiles, tile, 4 + tile // 2, 6 + tile % 2))
            if after.rows and tile in (1, 3):
                made.append(partial(_load_rows, code, after, tile // 2))
            if after.columns and tile in (2, 3):
                made.append(partial(_load_columns, code, after, tile - 2))
        start = start or len(made)
    end = end or len(made)
    done = 0
    for number, make in enumerate(made):
        make()
        due = len(finish) * min(max(number + 1 - start, 0), end - start) // max(end - start, 1)
        for other in finish[done:due]:
            other()
        done = due


def _layer(chain: TileChain, name: str, inputs: list[TileInputs], follows: bool) -> str:
    """void name(x, place, h, weights, bias, out, sums, before): a layer of 32 rows, 32 outputs after the other.

    The last 32 are left in the tiles. A layer that follows another begins with those of that one, for `before`.
    """
    code = TileCode()
    blocks = chain.hidden // COLUMNS

    def finish(out: str) -> list[Callable[[], None]]:
        return [partial(_finish, code, chain, "%sums", out, *divmod(k, 2)) for k in range(2 * ROWS)]

    def block(number: str, following: str, finished: list[Callable[[], None]], waits: bool) -> None:
        size = sum(x.steps for x in inputs) * 2 * TILE * chain.parts
        here, there = (code.at("%weights", code.times(n, size)) for n in (number, following))
        bias = code.at("%bias", code.times(number, 4 * COLUMNS))
        steps, (first, *_) = _steps(code, chain, inputs, here), _steps(code, chain, inputs, there)
        _multiply(code, steps, first, bias, finished, waits)

    first = _steps(code, chain, inputs, "%weights")[0]
    for tile in (0, 1):
        _load_rows(code, first, tile)
        _load_columns(code, first, tile)
    block("0", str(min(1, blocks - 1)), finish("%before") if follows else [], follows)
    if blocks > 1:
        code("br label %loop")
        code.label("loop")
        code("%block = phi i64 [1, %entry], [%next, %loop]")
        code("%next = add i64 %block, 1")
        code(f"%more = icmp ult i64 %next, {blocks}")
        following = code.let("select i1 %more, i64 %next, i64 %block")
        out = code.at("%out", code.times(code.let("sub i64 %block, 1"), 2 * TILE))
        block("%block", following, finish(out), False)
        code("br i1 %more, label %loop, label %done")
        code.label("done")
    pointers = ("x", "place", "h", "weights", "bias", "out", "sums", "before")
    return code.function(f"internal void @{name}({', '.join(f'ptr %{p}' for p in pointers)})")


def _ending(chain: TileChain) -> str:
    """void ending(sums, before): finishes what a layer has left in the tiles."""
    code = TileCode()
    for tile in range(4):
        _store_sums(code, tile)
    code("br label %rows")
    code.label("rows")
    code("%row = phi i64 [0, %entry], [%below, %rows]")
    where = code.at("%sums", code.times("%row", 128)), code.at("%before", code.times("%row", 64))
    for half in (0, 1):
        _finish(code, chain, *where, 0, half)
    code("%below = add i64 %row, 1")
    code(f"%unfinished = icmp ult i64 %below, {ROWS}")
    code("br i1 %unfinished, label %rows, label %done")
    code.label("done")
    return code.function("internal void @ending(ptr %sums, ptr %before)")


def _finish(code: TileCode, chain: TileChain, sums: str, out: str, row: int, half: int) -> None:
    """Half a row of a block: the activation of its sums, and rounding."""
    x = code.let(f"load {FLOATS}, ptr {code.at(sums, row * 128 + half * 64)}, align 64")
    y = ACTIVATIONS[chain.activation](code, x) if chain.split else activate(code, chain.activation, x)
    place = code.at(out, row * 64 + half * 32)
    upper = code.let(f"fptrunc {FLOATS} {y} to {BFLOATS}")
    code(f"store {BFLOATS} {upper}, ptr {place}, align 32")
    if chain.split:
        rest = code.let(f"fsub {FLOATS} {y}, {code.let(f'fpext {BFLOATS} {upper} to {FLOATS}')}")
        lower = code.let(f"fptrunc {FLOATS} {rest} to {BFLOATS}")
        code(f"store {BFLOATS} {lower}, ptr {code.at(place, 2 * ROWS * chain.hidden)}, align 32")


def _output(chain: TileChain, h: TileInputs) -> str:
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
    numbers = Numbers(code)

    def turn(x: str, place: str, out: str) -> None:
        buffers = tuple(code.at("%scratch", k * chain.buffer) for k in range(chain.buffers))
        sums = code.at("%scratch", chain.buffers * chain.buffer)
        before: str | None = None  # where what is in the tiles goes

        def end() -> None:
            nonlocal before
            if before:
                code(f"call void @ending(ptr {sums}, ptr {before})")
            before = None

        def layer(name: str, inputs: int, h: str, into: str) -> None:
            nonlocal before
            if not chain.flows:
                end()
            read = numbers.following(2 * inputs * chain.hidden * chain.parts, 4 * chain.hidden)
            arrays = f"ptr {x}, ptr {place}, ptr {h}, {read}, ptr {into}, ptr {sums}, ptr {before or 'null'}"
            code(f"call void @{name}({arrays})")
            before = code.at(into, 2 * ROWS * (chain.hidden - COLUMNS))

        def output(h: str, branch: int) -> None:
            end()
            read = numbers.following(2 * OUTPUTS * chain.hidden * chain.parts, 4 * OUTPUTS)
            into = code.at(out, 4 * OUTPUTS * branch)
            code(f"call void @output(ptr {h}, {read}, ptr {into}, i64 {4 * OUTPUTS * branches})")

        chain.run(branches, buffers, layer, output)

    rows = 2 * ROWS * chain.parts
    sizes = (rows * chain.features, rows * chain.place, 4 * ROWS * OUTPUTS * branches)
    begin, end = "call void @llvm.x86.ldtilecfg(ptr @palette)", "call void @llvm.x86.tilerelease()"
    return driver(code, branches, 1, sizes, turn, begin, end)


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
