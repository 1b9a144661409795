"""Pieces of LLVM code for meshes: some vertices at a time, one a lane.

A vertex is four floats, x y z and one unused, so that one load fetches it; the vectors of four vertices a group are
then turned into those of x, y and z.
"""

from __future__ import annotations

from scale_backend.cpu.code import Code, splat

UNITS = {16: "+avx512f,+avx512bw,+avx512dq,+avx512vl,+fma", 8: "+avx2,+fma", 4: ""}


def mesh_module(lanes: int, functions: list[str]) -> str:
    """A module of functions for so many lanes, with what they call."""
    floats, suffix = f"<{lanes} x float>", f"v{lanes}f32"
    declared = [f"declare {floats} @llvm.fma.{suffix}({floats}, {floats}, {floats})",
                f"declare {floats} @llvm.sqrt.{suffix}({floats})"]  # fmt: skip
    units = f'"prefer-vector-width"="512" "target-features"="{UNITS[lanes]}"' if UNITS[lanes] else ""
    return "\n".join([*declared, *functions, f"attributes #0 = {{ nounwind {units} }}\n"])


def root(code: Code, x: str) -> str:
    return code.let(f"call {code.floats} @llvm.sqrt.{code.suffix}({code.floats} {x})")


def over_pairs(
    code: Code, name: str, before: str, start: str, end: str, own: list[str], means: bool
) -> list[str]:  # sums of x, y, z of the corrections, and of the distances where they are wanted
    """Over the pairs of a block's vertices."""
    count = 6 if means else 3
    sums, nexts = ([f"%{name}_{kind}{k}" for k in range(count)] for kind in ("sum", "next"))
    code(f"%{name}_none = icmp eq i64 {start}, {end}")
    code(f"br i1 %{name}_none, label %{name}_done, label %{name}")
    code.label(name)
    code(f"%{name}_k = phi i64 [{start}, %{before}], [%{name}_next, %{name}]")
    for total, following in zip(sums, nexts, strict=True):
        code(f"{total} = phi {code.floats} [zeroinitializer, %{before}], [{following}, %{name}]")
    row = code.times(f"%{name}_k", 4 * code.lanes)
    index, inverse = code.at("%index", row), code.load(code.at("%inverse", row))
    others = []
    for k in range(code.lanes):
        other = code.let(f"load i32, ptr {code.at(index, 4 * k)}, align 4")
        others.append(code.at("%from", code.times(code.let(f"zext i32 {other} to i64"), 16)))
    apart = [code.subtract(y, x) for y, x in zip(turned(code, others), own, strict=True)]
    squared = code.multiply(dot(code, apart, apart), inverse)
    ratio = code.let(f"fdiv {code.floats} {code.subtract(squared, splat(1))}, {code.add(squared, splat(1))}")
    for k in range(3):
        code(f"{nexts[k]} = {code.fused_call(ratio, apart[k], sums[k])}")
        if means:
            code(f"{nexts[3 + k]} = fadd {code.floats} {sums[3 + k]}, {apart[k]}")
    code(f"%{name}_next = add i64 %{name}_k, 1")
    code(f"%{name}_last = icmp eq i64 %{name}_next, {end}")
    code(f"br i1 %{name}_last, label %{name}_done, label %{name}")
    code.label(f"{name}_done")
    ends = [f"[zeroinitializer, %{before}], [{following}, %{name}]" for following in nexts]
    return [code.let(f"phi {code.floats} {end}") for end in ends]


def setting(code: Code, number: int) -> str:
    return code.spread(code.at("%set", 4 * number))


def dot(code: Code, a: list[str], b: list[str]) -> str:
    return code.fused(a[2], b[2], code.fused(a[1], b[1], code.multiply(a[0], b[0])))


def turned(code: Code, pointers: list[str]) -> list[str]:  # a vertex's address each -> x, y, z
    rows = [code.let(f"load <4 x float>, ptr {pointer}, align 16") for pointer in pointers]
    a, b, c, d = (_joined(code, rows[k::4]) for k in range(4))  # the first of each group of four, the second, ...
    low, high = _mixed(code, a, b, (0, 4, 1, 5)), _mixed(code, c, d, (0, 4, 1, 5))
    above, beyond = _mixed(code, a, b, (2, 6, 3, 7)), _mixed(code, c, d, (2, 6, 3, 7))
    return [_mixed(code, low, high, (0, 1, 4, 5)), _mixed(code, low, high, (2, 3, 6, 7)),
            _mixed(code, above, beyond, (0, 1, 4, 5))]  # fmt: skip


def rows(code: Code, place: list[str]) -> list[str]:  # x, y, z -> four floats a vertex
    x, y, z = place
    low, high = _mixed(code, x, y, (0, 4, 1, 5)), _mixed(code, x, y, (2, 6, 3, 7))
    above, beyond = (_mixed(code, z, "zeroinitializer", m) for m in ((0, 4, 1, 5), (2, 6, 3, 7)))
    four = [_mixed(code, low, above, (0, 1, 4, 5)), _mixed(code, low, above, (2, 3, 6, 7)),
            _mixed(code, high, beyond, (0, 1, 4, 5)), _mixed(code, high, beyond, (2, 3, 6, 7))]  # fmt: skip
    rows = []
    for k in range(code.lanes):
        places = ", ".join(f"i32 {4 * (k // 4) + j}" for j in range(4))
        rows.append(code.let(f"shufflevector {code.floats} {four[k % 4]}, {code.floats} poison, <4 x i32> <{places}>"))
    return rows


def _mixed(code: Code, a: str, b: str, chosen: tuple[int, ...]) -> str:
    """Within each group of four lanes: 0 to 3 of a, 4 to 7 of b."""
    places = [4 * group + k % 4 + (code.lanes if k > 3 else 0) for group in range(code.lanes // 4) for k in chosen]
    mask = ", ".join(f"i32 {place}" for place in places)
    return code.let(f"shufflevector {code.floats} {a}, {code.floats} {b}, <{code.lanes} x i32> <{mask}>")


def _joined(code: Code, parts: list[str]) -> str:
    """Vectors one behind another."""
    width = 4
    while len(parts) > 1:
        mask = ", ".join(f"i32 {k}" for k in range(2 * width))
        kind = f"<{width} x float>"
        parts = [
            code.let(f"shufflevector {kind} {a}, {kind} {b}, <{2 * width} x i32> <{mask}>")
            for a, b in zip(parts[::2], parts[1::2], strict=True)
        ]
        width *= 2
    return parts[0]
