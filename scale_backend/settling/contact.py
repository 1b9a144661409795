"""The body in the sweeps: each vertex of the cloth stays above the skin at the body's vertex nearest to it."""

from __future__ import annotations

from scale_backend.geometry.collision import MARGIN, SLACK, Contact, Skin
from scale_backend.settling.sweeps import Planes

HEIGHT = MARGIN - SLACK  # a tangent plane lies above the skin round its vertex; what is still too low is lifted last


def contact_planes(contact: Contact, skin: Skin) -> Planes:
    """Half-spaces for cloth within reach of the skin; none for the rest."""
    index = contact.nearest[..., None].expand(-1, -1, 3)
    normal = skin.normals.gather(1, index) * contact.near[..., None]
    offset = (normal * skin.vertices.gather(1, index)).sum(-1) + HEIGHT * contact.near
    return Planes(normal, offset)
