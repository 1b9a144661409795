"""Decode poses into clothes: pose -> posed carrier -> positional map -> features -> points and normals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scale_backend import surfaces
from scale_backend.articulation import (
    VertexRings,
    articulate,
    patch_frames,
    rest_frames,
    turned_normals,
    vertex_frames,
    vertex_normals,
    vertex_rings,
)
from scale_backend.body import Body, fit_joint_count, joint_transforms, skin
from scale_backend.carrier import pose_carrier
from scale_backend.collision import garment_collider, push_out
from scale_backend.folded_mlp import FoldedMLP, Place
from scale_backend.folding import fold
from scale_backend.garment import Garment
from scale_backend.gathering import gather_sum
from scale_backend.kernels import choose_precision
from scale_backend.positional_map import positional_map, surface_points
from scale_backend.queries import Queries
from scale_backend.surfaces import Binding, Surface


@dataclass(frozen=True)
class Prepared:
    """A surface kind made ready: its queries, what they add to the network's layers, its topology."""

    queries: Queries
    place: Place
    topology: dict[str, np.ndarray]
    rings: VertexRings | None  # of a mesh, whose normals are its own; None: the network's normals
    binding: Binding | None  # of vertices to decoded points; None: the points are the vertices


class Decoder:
    """One garment on one body on one device. Keeps what does not depend on the pose."""

    def __init__(self, garment: Garment, body: Body, device: str = "cpu", precision: str = "float32"):
        carrier = garment.carrier_on(body)
        self.garment, self.device = garment, torch.device(device)
        self.mode = garment.mode
        self.body = body.to(self.device)
        self.carrier = carrier.to(self.device)
        self.layout = garment.layout.to(self.device)
        self.network = fold(garment.network).to(self.device)
        self.mlp = FoldedMLP(self.network, choose_precision(precision, self.device))
        self.rest = rest_frames(carrier.template, carrier.triangles).to(self.device)
        self.collider = garment_collider(body, carrier.blend_weights).to(self.device)
        self.prepared: dict[tuple[str, str], Prepared] = {}

    @property
    def patch_count(self) -> int:
        return int(self.layout.mask.sum())

    def prepare(self, surface: str, part: str) -> Prepared:
        """Queries and topology of a surface kind, made on first use. Raises ValueError for one that is not offered."""
        key = (surface, part)
        if key not in self.prepared:
            built = surfaces.build(self.garment, self.carrier.to("cpu"), surface, part, self._decode_rest)
            self.prepared[key] = self._ready(built)
        return self.prepared[key]

    def _ready(self, surface: Surface) -> Prepared:
        queries = surface.queries.to(self.device)
        rings = None
        if surface.own_normals:
            triangles = torch.from_numpy(surface.topology["triangles"]).long()
            rings = vertex_rings(triangles, len(surface.topology["patch"])).to(self.device)
        binding = None if surface.binding is None else surface.binding.to(self.device)
        return Prepared(queries, self.mlp.place(queries.uv, queries.pq), surface.topology, rings, binding)

    @torch.inference_mode()
    def _decode_rest(self, queries: Queries) -> tuple[Tensor, Tensor]:  # points and normals [M, 3]
        """The rest pose, for surfaces that are made from what the garment looks like in it."""
        prepared = self._ready(Surface(queries, {}))
        pose = torch.eye(3, device=self.device).expand(1, self.body.joint_count, 3, 3)
        points, normals = self._decode_normalised(pose, -self.body.mean_joints[:1], None, prepared, False)
        return points[0].cpu(), normals[0].cpu()

    def topology(self, surface: str = "mesh", part: str = "clothes") -> dict[str, np.ndarray]:
        """What stays the same from frame to frame.

        triangles [T, 3] int32 (none for points), uv [3 T, 2] float32 a loop, patch [M] int32, region [M] uint8.
        """
        return self.prepare(surface, part).topology

    @torch.inference_mode()
    def decode(
        self,
        rotations: Tensor,  # [F, J, 3, 3] local; J of any SMPL-family body
        translation: Tensor | None = None,  # [F, 3] metres
        shape: Tensor | None = None,  # [S] or [F, S]
        surface: str = "mesh",
        part: str = "clothes",
        push: bool = True,
    ) -> tuple[Tensor, Tensor]:  # points [F, M, 3] metres, unit normals [F, M, 3], on the host
        """Clothes in world space (SMPL's axes): the root is taken off first and put back last."""
        prepared = self.prepare(surface, part)
        rotations = fit_joint_count(rotations.to(self.device, torch.float32), self.body.joint_count)
        frames = len(rotations)
        shape = self._shape(shape, frames)
        root = rotations[:, 0]
        local = rotations.clone()
        local[:, 0] = torch.eye(3, device=self.device)
        pelvis = self.body.rest_joints(shape)[:, 0]  # [F or 1, 3]
        points, normals = self._decode_normalised(local, -pelvis.expand(frames, 3), shape, prepared, push)
        offset = pelvis if translation is None else pelvis + translation.to(self.device, torch.float32)
        points = points @ root.mT + offset[:, None]
        return points.cpu(), (normals @ root.mT).cpu()

    def _shape(self, shape: Tensor | None, frames: int) -> Tensor | None:  # -> [F, S] or None for the mean shape
        if shape is None:
            return None
        shape = shape.to(self.device, torch.float32)
        shape = shape.expand(frames, -1) if shape.dim() == 2 else shape[None].expand(frames, -1)
        count = self.body.shape_components.shape[-1]
        shape = torch.nn.functional.pad(shape[:, :count], (0, max(0, count - shape.shape[1])))
        return shape if bool(shape.any()) else None

    def _decode_normalised(
        self, rotations: Tensor, translation: Tensor, shape: Tensor | None, prepared: Prepared, push: bool
    ) -> tuple[Tensor, Tensor]:
        """Decoding in the space of the training data: no root orientation, pelvis at the origin."""
        queries = prepared.queries
        # the network knows one body shape: features come from the mean shape, places and frames from the asked one
        mean = pose_carrier(self.carrier, self.body, rotations, -self.body.mean_joints[:1].expand_as(translation))
        features = self.network.pose_features(positional_map(mean, self.carrier.triangles, self.layout))
        features = sample_features(features, queries)
        posed = mean if shape is None else pose_carrier(self.carrier, self.body, rotations, translation, shape)
        base, frames = query_frames(posed, queries, self)
        residual, normal = self.mlp(features, prepared.place, with_normals=prepared.rings is None)
        points = articulate(base, frames, residual)
        if prepared.binding is not None:
            points = prepared.binding.vertices(points)
        if push:
            collider = self.collider
            weights = self.body.blend_weights[collider.vertices]
            rest = self._collider_rest(shape)
            body = skin(rest, weights, joint_transforms(self.body, rotations, translation, shape))
            points = push_out(points, body, collider.rings)
        if normal is None:
            return points, vertex_normals(points, prepared.rings)
        if self.mode == "continuous":
            normal = normal + surface_points(self.rest.normals[None], queries.corners, queries.weights)
        return points, turned_normals(frames, normal)

    def _collider_rest(self, shape: Tensor | None) -> Tensor:  # [F or 1, C, 3]
        chosen = self.collider.vertices
        rest = self.body.template[chosen][None]
        if shape is not None:
            rest = rest + torch.einsum("vcs,fs->fvc", self.body.shape_components[chosen], shape)
        return rest


def sample_features(features: Tensor, queries: Queries) -> Tensor:  # [F, C, H, W] -> [F, M, C]
    """A query's features: of its pixel, or mixed from the pixels round it."""
    return gather_sum(features.flatten(2).transpose(1, 2), queries.taps, queries.tap_weights)


def query_frames(posed: Tensor, queries: Queries, model) -> tuple[Tensor, Tensor]:  # [F, M, 3], [F, M, 3, 3]
    """Base points and local frames of the queries; `model` offers mode, rest, carrier and layout."""
    base = surface_points(posed, queries.corners, queries.weights)
    if model.mode == "patch":
        return base, patch_frames(posed, model.carrier.triangles, model.layout)[:, queries.patch]
    frames = vertex_frames(posed, model.rest).flatten(2)
    return base, surface_points(frames, queries.corners, queries.weights).unflatten(-1, (3, 3))
