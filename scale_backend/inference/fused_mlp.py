"""The MLP as code of our own: all layers in one call for many queries, in what a core has for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from scale_backend.cpu import llvm_jit
from scale_backend.cpu.tile_code import TileChain
from scale_backend.cpu.vector_code import VectorChain
from scale_backend.inference.folding import FoldedNetwork, Linear
from scale_backend.inference.mlp import Place
from scale_backend.inference.precision import Precision
from scale_backend.model.network import encode_uv


@dataclass(frozen=True)
class Program:
    """Code with its numbers: the trunk and some branches."""

    chain: TileChain | VectorChain
    branches: int
    weights: Tensor
    biases: Tensor

    @property
    def function(self) -> Callable[..., None]:
        return llvm_jit.compiled(self.chain)[self.branches]


class FusedMLP:
    """As `FoldedMLP`. Kinds differ in how they lay out weights, inputs and outputs."""

    group: int  # rows that are computed together
    tile = 4096  # rows at a time; the code itself takes as many at once as a cache holds

    def __init__(self, network: FoldedNetwork, precision: Precision):
        self.settings, self.precision, self.network = network.settings, precision, network
        self.residual = self._program(network.residual)
        self.with_normal = self._program(network.residual, network.normal)
        self.color = self._program(network.color) if network.color else None

    def place(self, uv: Tensor, pq: Tensor) -> Place:  # [M, 2], [M, 2] -> [M, E]
        """Their encoding, as the code reads it."""
        return Place((self._encoded(torch.cat([encode_uv(uv, self.settings), pq], -1)),))

    def __call__(
        self,
        features: Tensor,  # [F, R, C], or [F, K, C] with `of`
        place: Place,  # of the R queries
        with_normals: bool = True,
        of: Tensor | None = None,  # [R] into K: which features a query has, where many share them
    ) -> tuple[Tensor, Tensor | None]:  # [F, R, 3], [F, R, 3] or None
        """Residuals and, where asked for, normals, in the local frame."""
        program = self.with_normal if with_normals else self.residual
        if of is None:
            decoded = self._decode(features, place, program)
        else:
            decoded = self._decode_shared(features, of, place, program)
        return decoded[:, :, 0], decoded[:, :, 1] if with_normals else None

    def colors(self, features: Tensor, place: Place) -> Tensor:  # as in a call -> [F, R, 3] in 0..1
        assert self.color is not None
        return self._decode(features, place, self.color)[:, :, 0].sigmoid()

    def _decode(self, features: Tensor, place: Place, program: Program) -> Tensor:  # -> [F, R, B, 3]
        return torch.stack([self._outputs(self._run(program, self._inputs(x), place)) for x in features])

    def _decode_shared(self, features: Tensor, of: Tensor, place: Place, program: Program) -> Tensor:
        return self._decode(features.index_select(1, of), place, program)

    def _run(self, program: Program, x: Tensor, place: Place, table: Tensor | None = None) -> Tensor:
        """Outputs [R, branches, 16] of rows x [R, ...], which may point into a table."""
        rows, over = len(x), -len(x) % self.group
        out = torch.empty(rows + over, program.branches, 16)
        scratch = torch.empty(program.chain.scratch, dtype=torch.uint8)
        (encoded,) = place.parts

        def run(first: int, x: Tensor, place: Tensor) -> None:
            arrays = (x, place, program.weights, program.biases, out[first:], scratch)
            shared = None if table is None else table.data_ptr()
            program.function(*(array.data_ptr() for array in arrays), shared, len(x) // self.group)

        whole = rows - rows % self.group
        if whole:
            run(0, x, encoded)
        if over:
            run(whole, *(functional.pad(rest[whole:], (0, 0, 0, over)) for rest in (x, encoded)))
        return out[:rows]

    def _program(self, *branches: tuple[Linear, ...]) -> Program:
        """The trunk and what ends it, weights in the order in which the code reads them."""
        chain = self._chain()
        layers = iter(
            [*self.network.trunk, self.network.skip, *(layer for branch in branches for layer in branch[:-1])]
        )
        weights: list[Tensor] = []
        biases: list[Tensor] = []

        def pack(name: str, *_: int | str) -> None:
            layer = next(layers)
            weights.append(self._pack(layer.weight) if name == "hidden" else self._pack_first(layer))
            biases.append(layer.bias)

        def pack_output(_: str, branch: int) -> None:
            layer = branches[branch][-1]
            weights.append(self._pack_output(layer.weight))
            biases.append(functional.pad(layer.bias, (0, 16 - len(layer.bias))))

        chain.run(len(branches), ("",) * chain.buffers, pack, pack_output)
        return Program(chain, len(branches), torch.cat(weights), torch.cat(biases))

    def _chain(self) -> TileChain | VectorChain:
        raise NotImplementedError

    def _encoded(self, place: Tensor) -> Tensor:  # [M, E'] -> [M, E] as the code reads it
        raise NotImplementedError

    def _inputs(self, x: Tensor) -> Tensor:  # [R, C] -> [R, C'] as the code reads it
        raise NotImplementedError

    def _outputs(self, out: Tensor) -> Tensor:  # [R, B, 16] -> [R, B, 3]
        raise NotImplementedError

    def _pack(self, weight: Tensor) -> Tensor:  # [out, in]
        raise NotImplementedError

    def _pack_first(self, layer: Linear) -> Tensor:
        """Weights of the first or the fifth layer, which see features and place before what is hidden."""
        raise NotImplementedError

    def _pack_output(self, weight: Tensor) -> Tensor:
        raise NotImplementedError
