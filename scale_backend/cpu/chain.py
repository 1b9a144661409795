"""The layers of an MLP as one program: who reads what, where branches flow into each other, and the loop round it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scale_backend.cpu.code import Code

BRANCHES = (1, 2)  # that a code is for: residuals or colours alone, residuals and normals
OUTPUTS = 16  # columns of a branch's output; the first three count, and on tiles the next three


@dataclass(frozen=True)
class Chain:
    """The MLP that a code computes."""

    features: int
    place: int  # channels of what depends on the place alone
    hidden: int
    activation: str
    trunk: int  # layers between the first and the fifth

    buffers = 3  # for activations

    def run(
        self,
        branches: int,  # of two hidden layers and an output of up to 3 channels
        buffers: Sequence[str],  # 3, or 4: then outputs come last, and each layer follows another
        layer: Callable[[str, int, str, str], None],  # name, inputs, the hidden ones, where to
        output: Callable[[str, int], None],  # the hidden ones, number of the branch
    ) -> None:
        """All layers in their order."""
        one, other, shared, *more = buffers
        layer("first", self.features + self.place, other, one)
        for _ in range(self.trunk):
            layer("hidden", self.hidden, one, other)
            one, other = other, one
        layer("fifth", self.features + self.place + self.hidden, one, shared)
        ends = [other, *more]
        for branch in range(branches):
            layer("hidden", self.hidden, shared, one)
            layer("hidden", self.hidden, one, ends[branch if more else 0])
            if not more:
                output(other, branch)
        for branch in range(branches if more else 0):
            output(ends[branch], branch)


class Numbers:
    """Weights and biases where the code finds them: each layer's behind those of the layer before."""

    def __init__(self, code: Code):
        self.code = code
        self.weights = self.biases = 0  # bytes that have been read

    def following(self, weights: int, biases: int) -> str:
        """The arguments with which the next layer is called. So many bytes are its own."""
        pointers = f"ptr {self.code.at('%weights', self.weights)}, ptr {self.code.at('%biases', self.biases)}"
        self.weights, self.biases = self.weights + weights, self.biases + biases
        return pointers


def driver(
    code: Code,
    branches: int,
    step: int,  # of %count that are computed in one turn
    sizes: tuple[int, int, int],  # bytes of x, place and out for one of %count
    turn: Callable[[str, str, str], None],  # all layers for one turn, whose x, place and out lie there
    begin: str = "",  # lines before the loop, and after it
    end: str = "",
) -> str:
    """void chain<branches>(x, place, weights, biases, out, scratch, table, count): the whole MLP in a loop."""
    if begin:
        code(begin)
    code("br label %loop")
    code.label("loop")
    code("%turn = phi i64 [0, %entry], [%next, %loop]")
    x, place, out = (
        code.at(pointer, code.times("%turn", size))
        for pointer, size in zip(("%x", "%place", "%out"), sizes, strict=True)
    )
    turn(x, place, out)
    code(f"%next = add i64 %turn, {step}")
    code("%more = icmp ult i64 %next, %count")
    code("br i1 %more, label %loop, label %end")
    code.label("end")
    if end:
        code(end)
    arrays = ", ".join(f"ptr %{name}" for name in ("x", "place", "weights", "biases", "out", "scratch", "table"))
    return code.function(f"void @chain{branches}({arrays}, i64 %count)")
