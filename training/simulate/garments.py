"""The garments that can be simulated, by name."""
from __future__ import annotations

from ..raw_frames import RawFramesError
from .dress import make_dress
from .garment_parts import GarmentMesh
from .skinning import SkinnedBody
from .tee_trousers import make_tee_trousers, waist_padding

GARMENTS = {"dress": make_dress, "tee-trousers": make_tee_trousers}
EDGE_LENGTH = 0.018  # metres
PADDING = {"tee-trousers": waist_padding}  # where a garment needs the colliding body thicker


def make_garment(name: str, body: SkinnedBody, edge_length: float = EDGE_LENGTH) -> GarmentMesh:
    """Raises RawFramesError for a name that is not known."""
    if name not in GARMENTS:
        raise RawFramesError(f"There is no garment '{name}' to simulate: choose one of {', '.join(GARMENTS)}.")
    return GARMENTS[name](body, edge_length)
