"""LLVM code of the whole MLP in float32 on a CPU's vector units (AVX-512, AVX2): some rows at a time through a layer.

A product keeps its sums of a few rows and columns in registers: each number that is read serves several fused
multiply-adds, and the activation follows before the sums are stored. Activations of a block of rows stay in the second
cache with a layer's weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from scale_backend.cpu.activations import ACTIVATIONS
from scale_backend.cpu.chain import BRANCHES, OUTPUTS, Chain, Numbers, driver
from scale_backend.cpu.code import Code, declarations

# lanes: rows and vectors of columns whose sums fit into the registers, with what is multiplied; the best first
REGISTERS = {16: ((6, 4), (12, 2)), 8: ((6, 2),)}
BLOCK = 384  # rows
UNITS = {16: "+avx512f,+avx512bw,+avx512dq,+avx512vl,+fma", 8: "+avx2,+fma"}


@dataclass(frozen=True)
class VectorChain(Chain):
    """Channels are even."""

    lanes: int
    rows: int  # of a group: all that are computed together
    columns: int  # that are computed together: multiples of the lanes, and the hidden ones of these
    shared: bool  # rows share features; what these add to the first and fifth layers comes from a table

    @property
    def buffer(self) -> int:
        """Bytes of a block's activations."""
        return 4 * BLOCK * self.hidden

    @property
    def scratch(self) -> int:
        """Bytes a thread needs."""
        return self.buffers * self.buffer


def registers(lanes: int, hidden: int) -> tuple[int, int] | None:
    """Rows and columns of sums that are kept at a time; None where no number of columns divides the hidden ones."""
    fitting = ((rows, vectors * lanes) for rows, vectors in REGISTERS.get(lanes, ()) if hidden % (vectors * lanes) == 0)
    return next(fitting, None)


@dataclass(frozen=True)
class RowInputs:
    """Rows of numbers that lie without gaps."""

    pointer: str
    channels: int | str  # a number that is known as the code is made, or the name of one that is not


@dataclass(frozen=True)
class SingleLayers:
    """Single layers of any size, with 4 K inputs and a multiple of `columns` outputs."""

    lanes: int

    activations = ("none", "relu", "leaky_relu")

    @property
    def rows(self) -> int:
        return REGISTERS[self.lanes][0][0]

    @property
    def columns(self) -> int:
        return REGISTERS[self.lanes][0][1] * self.lanes


def module(chain: VectorChain) -> str:
    """The code: void chain1(x, place, weights, biases, out, scratch, table, count), and chain2 for two branches.

    x [R, features], or [R] int32 into table [K, 2, hidden] if shared, place [R, place] and out [R, branches, 16], whose
    first 3 columns count, with R rows in `count` groups; weights and biases as `vector_mlp.VectorMLP` lays them out.
    Numbers are float32.
    """
    features = [] if chain.shared else [RowInputs("%x", chain.features)]
    place, h = RowInputs("%place", chain.place), RowInputs("%h", chain.hidden)
    vectors, activation = chain.columns // chain.lanes, chain.activation
    panels = str(chain.hidden // chain.columns)
    functions = [
        _layer(chain, "first", [*features, place], vectors, activation, panels),
        _layer(chain, "hidden", [h], vectors, activation, panels),
        _layer(chain, "fifth", [*features, place, h], vectors, activation, panels),
        _layer(chain, "output", [h], OUTPUTS // chain.lanes, "none", "1"),
        *(_driver(chain, branches) for branches in BRANCHES),
    ]
    return _with_units(chain.lanes, functions)


def layers_module(kind: SingleLayers) -> str:
    """The code: void ACTIVATION(x, weights, bias, out, inputs, outputs, groups) for each activation.

    x [R, inputs], out [R, outputs], weights [outputs / columns, inputs, columns].
    """
    functions = []
    for activation in kind.activations:
        layer = _layer(kind, f"layer_{activation}", [RowInputs("%x", "%depth")], kind.columns // kind.lanes,
                       activation, "%panels")  # fmt: skip
        code = Code(kind.lanes)
        panels, row = code.let(f"udiv i64 %outputs, {kind.columns}"), code.times("%outputs", 4)
        code(f"call void @layer_{activation}(ptr %x, ptr null, ptr null, ptr %weights, ptr %bias, ptr %out, i64 {row}, "
             f"ptr null, i64 %groups, i64 %inputs, i64 {panels})")  # fmt: skip
        arguments = "ptr %x, ptr %weights, ptr %bias, ptr %out, i64 %inputs, i64 %outputs, i64 %groups"
        functions += [layer, code.function(f"void @{activation}({arguments})")]
    return _with_units(kind.lanes, functions)


def _with_units(lanes: int, functions: list[str]) -> str:
    units = f'"prefer-vector-width"="512" "target-features"="{UNITS[lanes]}"'
    return "\n".join([declarations(lanes), *functions, f"attributes #0 = {{ nounwind {units} }}\n"])


def _layer(
    chain: VectorChain | SingleLayers, name: str, inputs: list[RowInputs], vectors: int, activation: str, panels: str
) -> str:
    """void name(x, place, h, weights, bias, out, row, table, groups): some vectors of columns after the other.

    Rows of what goes out are so many bytes apart.
    """
    code = Code(chain.lanes)
    columns = vectors * chain.lanes
    depth = _depth(inputs)

    code("br label %panel")
    code.label("panel")
    code("%p = phi i64 [0, %entry], [%next_p, %panel_end]")
    weights = code.at("%weights", code.times(code.times("%p", depth), 4 * columns))
    bias, out = (code.at(pointer, code.times("%p", 4 * columns)) for pointer in ("%bias", "%out"))
    code("br label %group")
    code.label("group")
    code("%g = phi i64 [0, %panel], [%next_g, %group_end]")
    first = code.times("%g", chain.rows)
    if isinstance(chain, VectorChain) and chain.shared and name in ("first", "fifth"):  # whose bias is in the table
        table = code.at("%table", code.times("%p", 4 * columns))
        rows = [_row_of_table(code, chain, code.at(table, 4 * chain.hidden * (name == "fifth")), row)
                for row in range(chain.rows)]  # fmt: skip
    else:
        rows = [bias] * chain.rows
    sums = [[code.load(code.at(row, 4 * chain.lanes * v)) for v in range(vectors)] for row in rows]
    before, read = "group", 0
    for source in inputs:
        sums, before = _multiply(code, chain, source, weights, read, sums, before)
        read += source.channels if isinstance(source.channels, int) else 0
    for row, values in enumerate(sums):
        here = code.at(out, code.let(f"mul i64 {code.let(f'add i64 {first}, {row}')}, %row"))
        for v, value in enumerate(values):
            value = ACTIVATIONS[activation](code, value)
            code.store(value, code.at(here, 4 * chain.lanes * v))
    _again(code, "g", "%groups", "group", "panel_end")
    code.label("panel_end")
    _again(code, "p", panels, "panel", "end", inner=False)
    code.label("end")
    return code.function(f"internal void @{name}(ptr noalias %x, ptr noalias %place, ptr noalias %h, ptr noalias "
                         "%weights, ptr noalias %bias, ptr noalias %out, i64 %row, ptr noalias %table, "
                         "i64 %groups, i64 %depth, i64 %panels)")  # fmt: skip


def _depth(inputs: list[RowInputs]) -> int | str:
    """All channels; where they are not known as the code is made there is one array of them."""
    known = [source.channels for source in inputs if isinstance(source.channels, int)]
    return sum(known) if len(known) == len(inputs) else inputs[0].channels


def _row_of_table(code: Code, chain: VectorChain, table: str, row: int) -> str:
    """What the features of a group's row add: a pointer."""
    number = code.at(code.at("%x", code.times("%g", 4 * chain.rows)), 4 * row)
    number = code.let(f"zext i32 {code.let(f'load i32, ptr {number}')} to i64")
    return code.at(table, code.times(number, 8 * chain.hidden))


def _again(code: Code, counter: str, limit: str, body: str, after: str, inner: bool = True) -> None:
    """The end of a loop that counts up to a limit."""
    if inner:
        code(f"br label %{body}_end")
        code.label(f"{body}_end")
    code(f"%next_{counter} = add i64 %{counter}, 1")
    code(f"%more_{counter} = icmp ult i64 %next_{counter}, {limit}")
    code(f"br i1 %more_{counter}, label %{body}, label %{after}")


def _multiply(
    code: Code,
    chain: VectorChain | SingleLayers,
    source: RowInputs,
    weights: str,
    read: int,
    sums: list[list[str]],
    before: str,
) -> tuple[list[list[str]], str]:
    """Sums of a group of rows after some inputs, and the label that they are known at."""
    name, vectors = source.pointer[1:], len(sums[0])
    columns = vectors * chain.lanes
    unrolled = 2 if isinstance(source.channels, int) and source.channels % 4 else 4
    group = code.at(source.pointer, code.times(code.times("%g", source.channels), 4 * chain.rows))
    if isinstance(source.channels, int):
        rows = [code.at(group, 4 * row * source.channels) for row in range(chain.rows)]
    else:
        rows = [code.at(group, code.times(source.channels, 4 * row)) for row in range(chain.rows)]
    weights = code.at(weights, 4 * read * columns)
    cells = [(row, v) for row in range(chain.rows) for v in range(vectors)]
    code(f"br label %{name}_loop")
    code.label(f"{name}_loop")
    code(f"%k_{name} = phi i64 [0, %{before}], [%next_{name}, %{name}_loop]")
    for row, v in cells:
        code(f"%{name}_{row}_{v} = phi {code.floats} [{sums[row][v]}, %{before}], "
             f"[%new_{name}_{row}_{v}, %{name}_loop]")  # fmt: skip
    sums = [[f"%{name}_{row}_{v}" for v in range(vectors)] for row in range(chain.rows)]
    here = code.times(f"%k_{name}", 4)
    weights = code.at(weights, code.times(f"%k_{name}", 4 * columns))
    for k in range(unrolled):
        factors = [code.load(code.at(weights, 4 * (k * columns + v * chain.lanes))) for v in range(vectors)]
        for row in range(chain.rows):
            number = code.spread(code.at(code.at(rows[row], here), 4 * k))
            for v in range(vectors):
                product = code.fused_call(number, factors[v], sums[row][v])
                if k < unrolled - 1:
                    sums[row][v] = code.let(product)
                else:
                    code(f"%new_{name}_{row}_{v} = {product}")
    code(f"%next_{name} = add i64 %k_{name}, {unrolled}")
    code(f"%more_{name} = icmp ult i64 %next_{name}, {source.channels}")
    code(f"br i1 %more_{name}, label %{name}_loop, label %{name}_end")
    code.label(f"{name}_end")
    return [[f"%new_{name}_{row}_{v}" for v in range(vectors)] for row in range(chain.rows)], f"{name}_end"


def _driver(chain: VectorChain, branches: int) -> str:
    """All layers, a block of groups of rows after the other."""
    code = Code(chain.lanes)
    numbers, groups = Numbers(code), BLOCK // chain.rows
    seen = {"first": chain.features, "fifth": chain.features} if chain.shared else {}  # in the table

    def turn(x: str, place: str, out: str) -> None:
        code("%left = sub i64 %count, %turn")
        code(f"%last = icmp ult i64 %left, {groups}")
        code(f"%groups = select i1 %last, i64 %left, i64 {groups}")
        buffers = tuple(code.at("%scratch", k * chain.buffer) for k in range(chain.buffers))

        def call(name: str, inputs: int, h: str, into: str, columns: int, row: int) -> None:
            arrays = (
                f"ptr {x}, ptr {place}, ptr {h}, {numbers.following(4 * inputs * columns, 4 * columns)}, ptr {into}"
            )
            code(f"call void @{name}({arrays}, i64 {4 * row}, ptr %table, i64 %groups, i64 0, i64 0)")

        def layer(name: str, inputs: int, h: str, into: str) -> None:
            call(name, inputs - seen.get(name, 0), h, into, chain.hidden, chain.hidden)

        def output(h: str, branch: int) -> None:
            call("output", chain.hidden, h, code.at(out, 4 * OUTPUTS * branch), OUTPUTS, OUTPUTS * branches)

        chain.run(branches, buffers, layer, output)

    of_row = (1 if chain.shared else chain.features, chain.place, OUTPUTS * branches)
    features, place, out = (4 * chain.rows * channels for channels in of_row)
    return driver(code, branches, groups, (features, place, out), turn)
