"""Which kind of MLP computes: the one that suits the machine and the precision."""

from __future__ import annotations

from scale_backend.inference.folded_mlp import FoldedMLP
from scale_backend.inference.folding import FoldedNetwork
from scale_backend.inference.mlp import InferenceMLP
from scale_backend.inference.precision import Precision
from scale_backend.inference.tile_mlp import TileMLP
from scale_backend.inference.vector_mlp import VectorMLP


def mlp_of(network: FoldedNetwork, precision: Precision) -> InferenceMLP:
    """A network's MLP, ready to run: as code of our own where the machine and the precision allow, or by torch."""
    if TileMLP.offers(network, precision):
        return TileMLP(network, precision)
    if VectorMLP.offers(network, precision):
        return VectorMLP(network, precision)
    return FoldedMLP(network, precision)
