"""LLVM code of the sweeps: some vertices at a time, one a lane, for any CPU that LLVM knows."""

from __future__ import annotations

from scale_backend.cpu.code import Code
from scale_backend.cpu.vertex_code import dot, mesh_module, over_pairs, root, rows, setting, turned

# floats of the settings, as `fast.Sweeper` packs them
STRETCH, BEND, SMOOTH, KEPT, REACH = range(5)
# vectors of a block that differ from frame to frame: answer, where its neighbours' mean lay, plane
ANSWER, LAID, NORMAL, OFFSET = 0, 3, 6, 9
FRAME_VECTORS = 10


def module(lanes: int) -> str:
    """The code: void first(...), smooth(...) and free(...), a sweep over some blocks each, all with the arguments

    from [V, 4], to [V, 4], blocks [B, 4] int64 (where a block's edges and bends begin, and how many there are of each,
    in vectors), index (int32, a vertex each), inverse, shares [B, 2, lanes], frame [B, 10, lanes], settings [5],
    number of the first block, number of the one after the last. `first` starts from the answer and notes where the
    neighbours' means lay.
    """
    kinds = [_sweep(lanes, name) for name in ("first", "smooth", "free")]
    return mesh_module(lanes, kinds)


def _sweep(lanes: int, name: str) -> str:
    code, size = Code(lanes), 4 * lanes  # bytes of a vector
    code("br label %block")
    code.label("block")
    code("%b = phi i64 [%first, %entry], [%next_b, %moved]")
    head = code.at("%blocks", code.times("%b", 32))
    edges, edge_count, bends, bend_count = (
        code.let(f"load i64, ptr {code.at(head, 8 * k)}, align 8") for k in (0, 1, 2, 3)
    )
    shares = code.at("%shares", code.times("%b", 2 * size))
    frame = code.at("%frame", code.times("%b", FRAME_VECTORS * size))
    number = code.times("%b", lanes)
    own = turned(code, [code.at("%from", code.times(code.let(f"add i64 {number}, {k}"), 16)) for k in range(lanes)])
    code(f"%edges_end = add i64 {edges}, {edge_count}")
    code(f"%bends_end = add i64 {bends}, {bend_count}")
    asked = over_pairs(code, "edge", "block", edges, "%edges_end", own, means=True)
    stretched, apart = asked[:3], asked[3:]
    bent = over_pairs(code, "bend", "edge_done", bends, "%bends_end", own, means=False)

    share, bend_share = (code.load(code.at(shares, size * k)) for k in range(2))
    stretch = code.multiply(share, setting(code, STRETCH))
    bend = code.multiply(bend_share, setting(code, BEND))
    place = [code.fused(stretch, s, code.fused(bend, t, x)) for s, t, x in zip(stretched, bent, own, strict=True)]
    if name == "first":
        for k in range(3):
            code.store(code.multiply(share, apart[k]), code.at(frame, size * (LAID + k)))
    if name == "smooth":
        smooth = setting(code, SMOOTH)
        for k in range(3):
            laid = code.load(code.at(frame, size * (LAID + k)))
            away = code.subtract(code.multiply(share, apart[k]), laid)
            place[k] = code.fused(smooth, away, place[k])

    answer = [code.load(code.at(frame, size * (ANSWER + k))) for k in range(3)]
    kept, reach = setting(code, KEPT), setting(code, REACH)
    moved = [code.multiply(code.subtract(x, a), kept) for x, a in zip(place, answer, strict=True)]
    distance = root(code, dot(code, moved, moved))
    share = code.let(f"fdiv {code.floats} {reach}, {code.greater(distance, reach)}")
    place = [code.fused(share, m, a) for m, a in zip(moved, answer, strict=True)]

    normal = [code.load(code.at(frame, size * (NORMAL + k))) for k in range(3)]
    offset = code.load(code.at(frame, size * OFFSET))
    depth = code.greater(code.subtract(offset, dot(code, normal, place)), "zeroinitializer")
    place = [code.fused(depth, n, x) for n, x in zip(normal, place, strict=True)]
    for k, row in enumerate(rows(code, place)):
        to = code.at("%to", code.times(code.let(f"add i64 {number}, {k}"), 16))
        code(f"store <4 x float> {row}, ptr {to}, align 16")
    code("br label %moved")
    code.label("moved")
    code("%next_b = add i64 %b, 1")
    code("%is_last = icmp eq i64 %next_b, %last")
    code("br i1 %is_last, label %done, label %block")
    code.label("done")
    pointers = ", ".join(f"ptr %{p}" for p in ("from", "to", "blocks", "index", "inverse", "shares", "frame", "set"))
    return code.function(f"void @{name}({pointers}, i64 %first, i64 %last)")
