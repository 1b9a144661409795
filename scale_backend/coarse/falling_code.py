"""LLVM code of the simulation: some vertices at a time, one a lane; all of a window in one call."""

from __future__ import annotations

from scale_backend.cpu.code import Code, splat
from scale_backend.cpu.vertex_code import dot, mesh_module, over_pairs, root, rows, setting, turned

# floats of the settings, as `faller.Faller` packs them; gravity is three
KEPT, GRAVITY, STRETCH, MARGIN, REACH, FARTHEST, FASTEST, SHARE = 0, 1, 4, 5, 6, 7, 8, 9
# vectors of a block from one look at the body to the next: place, shift and normal of the skin, margin above it
PLACE, SHIFT, NORMAL, ABOVE = 0, 3, 6, 9
TOUCH_VECTORS = 10
SKIN_ROW = 32  # bytes: place and normal, four floats each
FAR_BELOW = -1e30  # a margin that nothing lies under


def module(lanes: int) -> str:
    """The code: void fall(...) with the arguments

    from [V, 4] (the places, changed), before [B, 3, lanes], blocks [B, 4] int64 (where a block's edges and bends begin,
    and how many there are of each, in vectors), index (int32, a vertex each), inverse, shares [B, 2, lanes] (of
    edges, how far it is free), targets [G + 1, 3, V], skin [G + 1, N, 8], touch [B, 10, lanes], settings [10],
    and the numbers G, steps from one look to the next, B, N.
    """
    return mesh_module(lanes, [_fall(lanes)])


def _fall(lanes: int) -> str:
    code = Code(lanes)
    code(f"%plane = mul i64 %block_count, {4 * lanes}")  # bytes of a coordinate of all targets
    code(f"%skin_size = mul i64 %point_count, {SKIN_ROW}")
    code("%target_size = mul i64 %plane, 3")
    code("br label %group")
    code.label("group")
    code("%g = phi i64 [0, %entry], [%next_g, %stepped]")
    code("%now = getelementptr i8, ptr %skin, i64 " + code.times("%g", "%skin_size"))
    code("%then = getelementptr i8, ptr %now, i64 %skin_size")
    code("%target = getelementptr i8, ptr %targets, i64 " + code.times("%g", "%target_size"))
    code("%next_target = getelementptr i8, ptr %target, i64 %target_size")
    code("br label %look")
    _look(code)
    code("br label %step")
    code.label("step")
    code("%s = phi i64 [1, %looked], [%next_s, %relaxed]")
    code("%whole = uitofp i64 %s to float")
    share = code.let(f"load float, ptr {code.at('%set', 4 * SHARE)}")
    code(f"%part = fmul float %whole, {share}")
    one = code.let(f"insertelement {code.floats} poison, float %part, i64 0")
    code(f"%time = shufflevector {code.floats} {one}, {code.floats} poison, <{lanes} x i32> splat (i32 0)")
    code("br label %predict")
    _predict(code)
    code("br label %relax")
    _relax(code)
    code("%next_s = add i64 %s, 1")
    code("%is_last_step = icmp eq i64 %s, %step_count")
    code("br i1 %is_last_step, label %stepped, label %step")
    code.label("stepped")
    code("%next_g = add i64 %g, 1")
    code("%is_last_group = icmp eq i64 %next_g, %group_count")
    code("br i1 %is_last_group, label %done, label %group")
    code.label("done")
    pointers = ("from", "before", "blocks", "index", "inverse", "shares", "targets", "skin", "touch", "set")
    counts = ("group_count", "step_count", "block_count", "point_count")
    arguments = [*(f"ptr %{name}" for name in pointers), *(f"i64 %{name}" for name in counts)]
    return code.function(f"void @fall({', '.join(arguments)})")


def _own(code: Code, block: str) -> list[str]:
    number = code.times(block, code.lanes)
    return turned(code, [_row(code, number, k) for k in range(code.lanes)])


def _row(code: Code, number: str, k: int) -> str:
    return code.at("%from", code.times(code.let(f"add i64 {number}, {k}"), 16))


def _kept(code: Code, block: str, place: list[str]) -> None:
    number = code.times(block, code.lanes)
    for k, row in enumerate(rows(code, place)):
        code(f"store <4 x float> {row}, ptr {_row(code, number, k)}, align 16")


def _end(code: Code, name: str, after: str) -> None:
    """Of a loop over the blocks, whose number is %NAME_b."""
    code(f"%{name}_next = add i64 %{name}_b, 1")
    code(f"%{name}_last = icmp eq i64 %{name}_next, %block_count")
    code(f"br i1 %{name}_last, label %{after}, label %{name}")
    code.label(after)


def _look(code: Code) -> None:
    """For each vertex the nearest point of the skin, and the plane that goes with it."""
    lanes, floats, size = code.lanes, code.floats, 4 * code.lanes
    code.label("look")
    code("%look_b = phi i64 [0, %group], [%look_next, %found]")
    own = _own(code, "%look_b")
    code("br label %search")
    code.label("search")
    code("%j = phi i64 [0, %look], [%next_j, %search]")
    code(f"%least = phi {floats} [{splat(1e30)}, %look], [%less, %search]")
    code(f"%nearest = phi <{lanes} x i32> [zeroinitializer, %look], [%nearer, %search]")
    point = code.at("%now", code.times("%j", SKIN_ROW))
    apart = [code.subtract(x, code.spread(code.at(point, 4 * k))) for k, x in enumerate(own)]
    squared = dot(code, apart, apart)
    is_less = code.let(f"fcmp olt {floats} {squared}, %least")
    code(f"%less = select <{lanes} x i1> {is_less}, {floats} {squared}, {floats} %least")
    short = code.let("trunc i64 %j to i32")
    one = code.let(f"insertelement <{lanes} x i32> poison, i32 {short}, i64 0")
    number = code.let(f"shufflevector <{lanes} x i32> {one}, <{lanes} x i32> poison, <{lanes} x i32> splat (i32 0)")
    code(f"%nearer = select <{lanes} x i1> {is_less}, <{lanes} x i32> {number}, <{lanes} x i32> %nearest")
    code("%next_j = add i64 %j, 1")
    code("%is_last_point = icmp eq i64 %next_j, %point_count")
    code("br i1 %is_last_point, label %found, label %search")
    code.label("found")
    offsets = []
    for k in range(lanes):
        chosen = code.let(f"extractelement <{lanes} x i32> %nearer, i64 {k}")
        offsets.append(code.times(code.let(f"zext i32 {chosen} to i64"), SKIN_ROW))
    begin = turned(code, [code.at("%now", offset) for offset in offsets])
    end = turned(code, [code.at("%then", offset) for offset in offsets])
    normal = turned(code, [code.at(code.at("%then", offset), SKIN_ROW // 2) for offset in offsets])
    touch = code.at("%touch", code.times("%look_b", TOUCH_VECTORS * size))
    for k in range(3):
        code.store(begin[k], code.at(touch, size * (PLACE + k)))
        code.store(code.subtract(end[k], begin[k]), code.at(touch, size * (SHIFT + k)))
        code.store(normal[k], code.at(touch, size * (NORMAL + k)))
    is_near = code.let(f"fcmp olt {floats} %less, {setting(code, REACH)}")
    margin = f"{floats} {setting(code, MARGIN)}, {floats} {splat(FAR_BELOW)}"
    code.store(code.let(f"select <{lanes} x i1> {is_near}, {margin}"), code.at(touch, size * ABOVE))
    _end(code, "look", "looked")


def _predict(code: Code) -> None:
    """On with the speed that it had, and falling."""
    size = 4 * code.lanes
    code.label("predict")
    code("%predict_b = phi i64 [0, %step], [%predict_next, %predict]")
    own = _own(code, "%predict_b")
    before = code.at("%before", code.times("%predict_b", 3 * size))
    last = [code.at(before, size * k) for k in range(3)]
    speed = [code.subtract(x, code.load(pointer)) for x, pointer in zip(own, last, strict=True)]
    kept, most = setting(code, KEPT), setting(code, FASTEST)
    slow = code.let(f"fdiv {code.floats} {most}, {code.greater(root(code, dot(code, speed, speed)), most)}")
    kept, place = code.multiply(kept, slow), []
    for k in range(3):
        place.append(code.fused(speed[k], kept, code.add(own[k], setting(code, GRAVITY + k))))
        code.store(own[k], last[k])
    _kept(code, "%predict_b", place)
    _end(code, "predict", "predicted")


def _relax(code: Code) -> None:
    """The vertices of a colour after those of the colour before: blocks stand in that order."""
    size = 4 * code.lanes
    code.label("relax")
    code("%b = phi i64 [0, %predicted], [%relax_next, %edge_done]")
    head = code.at("%blocks", code.times("%b", 32))
    edges, edge_count = (code.let(f"load i64, ptr {code.at(head, 8 * k)}, align 8") for k in (0, 1))
    own = _own(code, "%b")
    code(f"%edges_end = add i64 {edges}, {edge_count}")
    stretched = over_pairs(code, "edge", "relax", edges, "%edges_end", own, means=False)
    shares = code.at("%shares", code.times("%b", 2 * size))
    share, free = (code.load(code.at(shares, size * k)) for k in range(2))
    stretch = code.multiply(share, setting(code, STRETCH))
    place = [code.fused(stretch, s, x) for s, x in zip(stretched, own, strict=True)]

    touch = code.at("%touch", code.times("%b", TOUCH_VECTORS * size))
    begin, shift, normal = (
        [code.load(code.at(touch, size * (first + k))) for k in range(3)] for first in (PLACE, SHIFT, NORMAL)
    )
    above = [code.subtract(x, code.fused("%time", d, p)) for x, d, p in zip(place, shift, begin, strict=True)]
    margin = code.load(code.at(touch, size * ABOVE))
    push = code.greater(code.subtract(margin, dot(code, above, normal)), "zeroinitializer")
    place = [code.fused(push, n, x) for n, x in zip(normal, place, strict=True)]
    there = []
    for k in range(3):
        offset = code.let(f"add i64 {code.times('%plane', k)}, {code.times('%b', size)}")
        here = code.load(code.at("%target", offset))
        following = code.load(code.at("%next_target", offset))
        there.append(code.fused("%time", code.subtract(following, here), here))
    away = [code.subtract(x, t) for x, t in zip(place, there, strict=True)]
    most = setting(code, FARTHEST)
    near = code.let(f"fdiv {code.floats} {most}, {code.greater(root(code, dot(code, away, away)), most)}")
    part = code.multiply(free, near)
    place = [code.fused(part, d, t) for d, t in zip(away, there, strict=True)]
    _kept(code, "%b", place)
    code("%relax_next = add i64 %b, 1")
    code("%relax_last = icmp eq i64 %relax_next, %block_count")
    code("br i1 %relax_last, label %relaxed, label %relax")
    code.label("relaxed")
