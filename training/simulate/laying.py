"""A garment cut on the body that ships, laid onto another body of SMPL's family as clothes are laid onto wearers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scale_backend.formats.joints import BODY
from scale_backend.formats.wearer import Wearer

from .garment_parts import Field, GarmentMesh
from .mesh_tools import Array, Mesh
from .skinning import SkinnedBody

LEVELS = ("left_ankle", "left_knee", "left_hip", "left_shoulder", "neck")  # joints whose heights tell where others are


def laid_onto(garment: GarmentMesh, ours: SkinnedBody, body: SkinnedBody) -> GarmentMesh:
    """The garment, cut on our body, at rest on another. Raises WearerError where the other has no extent."""
    import torch  # here, for it is slow to load: processes that simulate do without it

    from scale_backend.formats.assets import find_body
    from scale_backend.geometry.body import load_body
    from scale_backend.geometry.carrier import Carrier
    from scale_backend.wearer.fit import fit

    weights = shared_weights(body.blend_weights, body.parents)
    shared = len(BODY)
    wearer = Wearer.of_arrays({"joints": body.joints[:shared], "turns": np.tile(np.eye(3), (shared, 1, 1)),
                               "vertices": body.vertices, "triangles": body.triangles, "weights": weights})  # fmt: skip
    vertices = torch.from_numpy(garment.mesh.vertices).float()
    triangles = torch.from_numpy(garment.mesh.triangles)
    carrier = Carrier("garment", vertices, triangles, torch.from_numpy(garment.blend_weights).float(),
                      vertices.new_zeros(len(vertices), 3, 0), vertices[:, :2], triangles)  # fmt: skip
    laid = fit(load_body(find_body(ours.name)), carrier, wearer)
    blend = shared_weights(laid.blend_weights.numpy().astype(np.float64), ours.parents)
    blend = np.pad(blend, ((0, 0), (0, len(body.parents) - shared)))
    mesh = Mesh(laid.template.numpy().astype(np.float64), garment.mesh.triangles)
    return replace(garment, mesh=mesh, blend_weights=blend / blend.sum(1, keepdims=True))


def shared_weights(weights: Array, parents: tuple[int, ...]) -> Array:  # [V, J] -> [V, 22]
    """Blend weights of the joints that all of SMPL's family have: fingers' are their wrist's, the face's the head's."""
    merged = weights.copy()
    for joint in reversed(range(len(BODY), len(parents))):  # children first
        merged[:, parents[joint]] += merged[:, joint]
    return merged[:, : len(BODY)]


def placed_as_on(ours: SkinnedBody, body: SkinnedBody, field: Field) -> Field:
    """A field over heights of our body, at the same heights between the joints of another."""
    theirs, own = ([each.joints[each.joint(name), 1] for name in LEVELS] for each in (body, ours))

    def placed(points: Array) -> Array:
        return field(np.stack([points[:, 0], np.interp(points[:, 1], theirs, own), points[:, 2]], 1))

    return placed
