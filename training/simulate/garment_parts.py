"""What the garments share: cloth cut from the body's surface, cut on into panels, remeshed and kept off the body."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from scale_backend.formats.errors import UserError

from ..frames.raw_frames import RawGarment
from .mesh_tools import (
    Array,
    ClosedSurface,
    Index,
    Mesh,
    border_vertices,
    carry_weights,
    compact,
    cut,
    euler_characteristic,
    piece_containing,
    smooth,
    vertex_normals,
)
from .remesh import remesh
from .skinning import SkinnedBody

DIFFUSION_ROUNDS = 150
Field = Callable[[Array], Array]  # points [V, 3] -> [V]


@dataclass(frozen=True, eq=False)
class GarmentMesh:
    """A garment in the body's rest pose, before it is simulated."""

    name: str
    mesh: Mesh
    panel: Index  # [T]
    panel_names: Sequence[str]
    region: Index  # [V]
    region_names: Sequence[str]
    pin: Array  # [V]
    blend_weights: Array  # [V, J]

    @staticmethod
    def from_raw(raw: RawGarment) -> GarmentMesh:
        mesh = Mesh(raw.vertices.astype(np.float64), raw.triangles.astype(np.int64))
        return GarmentMesh(
            raw.name,
            mesh,
            raw.panel.astype(np.int64),
            raw.panel_names,
            raw.region.astype(np.int64),
            raw.region_names,
            raw.pin.astype(np.float64),
            raw.blend_weights.astype(np.float64),
        )

    def raw(self, body: SkinnedBody, settings: str = "{}") -> RawGarment:
        return RawGarment(
            self.name,
            self.mesh.vertices.astype(np.float32),
            self.mesh.triangles.astype(np.int32),
            self.panel.astype(np.uint8),
            tuple(self.panel_names),
            self.region.astype(np.uint8),
            tuple(self.region_names),
            self.pin.astype(np.float32),
            self.blend_weights.astype(np.float32),
            body.name,
            body.digest(),
            settings,
        )


@dataclass(frozen=True, eq=False)
class Pieces:
    """A mesh whose triangles carry the number of their panel."""

    mesh: Mesh
    panel: Index

    def divided(self, field: Array, step: int) -> Pieces:
        """Cut all panels along the field's zero line; the negative side's numbers grow by `step`."""
        mesh, positive, origin, _ = cut(self.mesh, field)
        return Pieces(mesh, self.panel[origin] + np.where(positive, 0, step))

    def joined(self, other: Pieces) -> Pieces:
        vertices = np.concatenate([self.mesh.vertices, other.mesh.vertices])
        triangles = np.concatenate([self.mesh.triangles, other.mesh.triangles + len(self.mesh.vertices)])
        return Pieces(Mesh(vertices, triangles), np.concatenate([self.panel, other.panel]))


def nearest_side(body: SkinnedBody, joints: Sequence[str]) -> np.ndarray:
    """Which vertices [V] follow one of these joints most, of those that the body has."""
    return np.isin(body.blend_weights.argmax(1), [body.joint(name) for name in joints if name in body.joint_names])


def body_part(body: SkinnedBody, field: Field, inside: tuple[float, float, float], offset: Field) -> Mesh:
    """The body's surface where the field is positive, around the point `inside`, moved out along its normals."""
    skin = Mesh(body.vertices, body.triangles)
    mesh, positive, _, (normals,) = cut(skin, field(skin.vertices), vertex_normals(skin))
    nearest = np.linalg.norm(mesh.vertices[mesh.triangles].mean(1) - inside, axis=1)
    start = mesh.triangles[np.where(positive, nearest, np.inf).argmin(), 0]
    triangles = mesh.triangles[positive]
    mesh = Mesh(mesh.vertices, triangles[piece_containing(triangles, start, len(mesh.vertices))])
    mesh, (normals,) = compact(mesh, normals)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return Mesh(mesh.vertices + offset(mesh.vertices)[:, None] * normals, mesh.triangles)


def finish(
    body: SkinnedBody,
    pieces: Pieces,
    edge_length: float,
    clearance: Field,
    rounds: int = 8,
    diffusion: Field | None = None,
) -> tuple[Mesh, Index, Array]:
    """Remesh, smooth, keep clear of the body: mesh, panel [T] and blend weights [V, J].

    `diffusion` says where (0 to 1) the weights are spread over the cloth instead of following the nearest skin.

    Raises UserError if a panel is not a disk: panels become UV charts.
    """
    mesh, panel = remesh(pieces.mesh, pieces.panel, edge_length)
    for number in np.unique(panel):
        if euler_characteristic(mesh.triangles[panel == number]) != 1:
            raise UserError(f"Panel {number} is not a topological disk: change the garment's cuts.")
    surface = ClosedSurface(Mesh(body.vertices, body.triangles))
    vertices = mesh.vertices
    inner = ~border_vertices(mesh.triangles, len(vertices))
    for _ in range(rounds):
        vertices = smooth(vertices, mesh.triangles, 1, np.where(inner, 0.4, 0.2))
        vertices = surface.keep_clear(vertices, clearance(vertices), 2)
    weights = carry_weights(Mesh(body.vertices, body.triangles), body.blend_weights, vertices)
    weights = smooth(weights, mesh.triangles, 3)
    if diffusion is not None:
        weights = smooth(weights, mesh.triangles, DIFFUSION_ROUNDS, 0.9 * diffusion(vertices))
    weights = np.maximum(weights, 0)
    return Mesh(vertices, mesh.triangles), panel, weights / weights.sum(1, keepdims=True)
