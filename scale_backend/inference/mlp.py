"""The MLP for inference, in the form that suits the machine."""

from __future__ import annotations

from scale_backend.inference.folded_mlp import FoldedMLP
from scale_backend.inference.folding import FoldedNetwork
from scale_backend.inference.fused_mlp import FusedMLP
from scale_backend.inference.precision import Precision
from scale_backend.inference.tile_mlp import TileMLP
from scale_backend.inference.vector_mlp import VectorMLP

InferenceMLP = FoldedMLP | FusedMLP


def mlp_of(network: FoldedNetwork, precision: Precision) -> InferenceMLP:
    """A network's MLP, ready to run: as code of our own where the machine and the precision allow, or by torch."""
    kind = next((kind for kind in (TileMLP, VectorMLP) if kind.offers(network, precision)), FoldedMLP)
    return kind(network, precision)
