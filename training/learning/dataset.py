"""Frames on the training device: what the network sees of a pose and what it should answer.

Everything that depends on the pose alone (posed carrier, local frames, positional map) is computed once a frame and
kept: 80 bytes a vertex, 350 MB for a thousand frames of a dress. Computing it in every step costs more than a tenth of
the step on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scale_backend.coarse.sheet import CoarseSheet
from scale_backend.formats.errors import UserError
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.geometry.articulation import (
    RestFrames,
    patch_frames,
    rest_frames,
    vertex_frames,
    vertex_normals,
    vertex_rings,
)
from scale_backend.geometry.body import Body, load_body
from scale_backend.geometry.carrier import Carrier, body_carrier, pose_carrier
from scale_backend.geometry.positional_map import UVLayout, positional_map, rasterise, surface_points
from scale_backend.machine.moving import to_device
from scale_backend.model.garment import Garment
from training.config import ConfigError, Recipe
from training.frames.raw_frames import RawFrames, read_garment, read_split

CHUNK = 32  # frames posed at once


@dataclass(frozen=True)
class Groundwork:
    """What a training stands on and a garment file repeats: body, carrier, UV layout."""

    body: Body
    carrier: Carrier
    layout: UVLayout
    rest: RestFrames
    mode: str  # "patch" or "continuous"
    coarse: CoarseSheet | None = None  # of cloth in motion

    def to(self, device: str | torch.device) -> Groundwork:
        return to_device(self, device)


def lay_groundwork(carrier: Carrier, body: Body, map_size: int, mode: str) -> Groundwork:
    layout = rasterise(carrier.uv, carrier.uv_triangles, map_size)
    return Groundwork(body, carrier, layout, rest_frames(carrier.template, carrier.triangles), mode)


def garment_groundwork(garment: Garment, body: Body) -> Groundwork:
    """What a finished garment stands on. Raises GarmentError for another body than its own."""
    carrier = garment.carrier_on(body)
    rest = rest_frames(carrier.template, carrier.triangles)
    return Groundwork(body, carrier, garment.layout, rest, garment.mode, garment.coarse)


def read_groundwork(recipe: Recipe) -> Groundwork:
    """Body and carrier of a recipe. Raises UserError where the data belong to another body."""
    body = load_body(recipe.body)
    if recipe.carrier == "body":
        return lay_groundwork(body_carrier(body), body, recipe.network.map_size, recipe.mode)
    if recipe.fabrics:
        from training.learning.moving import moving_carrier, moving_coarse

        groundwork = lay_groundwork(moving_carrier(Path(recipe.data), body), body, recipe.network.map_size, recipe.mode)
        return replace(groundwork, coarse=moving_coarse(Path(recipe.data), recipe))
    from training.carriers import build_garment_carrier

    raw = read_garment(Path(recipe.data))
    if raw.body_digest != body.digest:
        raise ConfigError(f"The frames in {recipe.data} were simulated on the body '{raw.body_name}', not on "
                          f"'{body.name}'; name that body in the recipe or simulate again.")  # fmt: skip
    carrier = build_garment_carrier(raw, body, recipe.network.map_size)
    return lay_groundwork(carrier, body, recipe.network.map_size, recipe.mode)


@dataclass(frozen=True)
class PosedFrames:
    """What the network sees of F poses, and where its answers are put."""

    rotations: Tensor  # [F, J, 3, 3]
    maps: Tensor  # [F, C, H, W] the positional map, and what else the network sees
    base: Tensor  # [F, V, 3] posed carrier; patch mode: [F, P, 3] posed pixels
    frames: Tensor  # [F, V, 3, 3]; patch mode: [F, P, 3, 3]

    def __len__(self) -> int:
        return len(self.rotations)

    def at(self, chosen: Tensor) -> PosedFrames:  # [B] frames
        return PosedFrames(*(value[chosen] for value in self.__dict__.values()))


def pose_frames(groundwork: Groundwork, axis_angle: np.ndarray) -> PosedFrames:  # [F, J, 3]
    """Normalised space: root rotation identity, pelvis at the origin."""
    rotations = torch.from_numpy(matrices_from_axis_angle(axis_angle).astype(np.float32))
    return pose_rotations(groundwork, rotations.to(groundwork.body.template.device))


@torch.no_grad()
def pose_rotations(groundwork: Groundwork, rotations: Tensor) -> PosedFrames:  # [F, J, 3, 3]
    """The same for rotation matrices on the groundwork's device; the root's is left out."""
    body, carrier, layout = groundwork.body, groundwork.carrier, groundwork.layout
    rotations = rotations.clone()
    rotations[:, 0] = torch.eye(3, device=rotations.device)
    valid = layout.mask.flatten()
    corners = carrier.triangles[layout.triangle_index.flatten()[valid]]
    parts = []
    for chunk in rotations.split(CHUNK):
        posed = pose_carrier(carrier, body, chunk, -body.mean_joints[:1].expand(len(chunk), 3))
        maps = positional_map(posed, carrier.triangles, layout)
        if groundwork.mode == "patch":
            base = surface_points(posed, corners, layout.barycentrics.flatten(0, 1)[valid])
            parts.append((maps, base, patch_frames(posed, carrier.triangles, layout)))
        else:
            parts.append((maps, posed, vertex_frames(posed, groundwork.rest)))
    return PosedFrames(rotations, *(torch.cat(part) for part in zip(*parts, strict=True)))


@dataclass(frozen=True)
class ClothFrames:
    """Posed frames with the simulated garment on them."""

    posed: PosedFrames
    vertices: Tensor  # [F, V, 3] the truth
    normals: Tensor  # [F, V, 3] its vertex normals
    triangles: Tensor  # [T, 3]
    names: tuple[str, ...]
    fabric: Tensor | None = None  # [F] the number of its latent code; None: there is one

    def __len__(self) -> int:
        return len(self.vertices)

    def at(self, chosen: Tensor) -> ClothFrames:  # [B] frames
        """Some of them. Their names stay behind."""
        fabric = None if self.fabric is None else self.fabric[chosen]
        vertices, normals = self.vertices[chosen], self.normals[chosen]
        return ClothFrames(self.posed.at(chosen), vertices, normals, self.triangles, (), fabric)


def cloth_frames(
    groundwork: Groundwork, axis_angle: np.ndarray, vertices: np.ndarray, triangles: np.ndarray, names: tuple[str, ...]
) -> ClothFrames:
    """Raises UserError where a garment carrier and the frames differ in topology."""
    device = groundwork.body.template.device
    expected = len(groundwork.carrier.template)
    if groundwork.carrier.kind == "garment" and vertices.shape[1] != expected:
        raise UserError(f"The frames have {vertices.shape[1]} vertices, the carrier {expected}: they belong to "
                         "different garments.")  # fmt: skip
    truth = torch.from_numpy(np.ascontiguousarray(vertices, np.float32)).to(device)
    faces = torch.from_numpy(np.asarray(triangles, np.int64)).to(device)
    rings = vertex_rings(faces.cpu(), vertices.shape[1]).to(device)
    normals = torch.cat([vertex_normals(chunk, rings) for chunk in truth.split(CHUNK)])
    return ClothFrames(pose_frames(groundwork, axis_angle), truth, normals, faces, names)


def read_cloth_frames(
    groundwork: Groundwork, folder: str | Path, split: str, limit: int | None = None, mirror: bool = False
) -> ClothFrames:
    """A split of a raw folder on the groundwork's device, with mirror images if asked for.

    Raises RawFramesError where there is none.
    """
    from training.frames.mirror import with_mirror_images

    garment, frames = read_garment(Path(folder)), spread(read_split(Path(folder), split), limit)
    if mirror:
        frames = with_mirror_images(garment, frames)
    return cloth_frames(groundwork, frames.pose, frames.vertices, garment.triangles, frames.names)


def spread(frames: RawFrames, limit: int | None) -> RawFrames:
    """At most so many frames, evenly spaced."""
    if limit is None or len(frames) <= limit:
        return frames
    chosen = np.linspace(0, len(frames) - 1, limit).round().astype(int)
    return RawFrames(frames.pose[chosen], frames.vertices[chosen], tuple(frames.names[i] for i in chosen),
                     frames.inside[chosen], frames.speed[chosen])  # fmt: skip


def batch_indices(count: int, batch: int, step: int, seed: int) -> Tensor:  # [batch] int64
    """Which frames a step sees: shuffled anew each pass over the data, a function of seed and step alone, so that
    a resumed training sees what an uninterrupted one would have."""
    first = step * batch
    chosen = []
    for epoch in range(first // count, (first + batch - 1) // count + 1):
        order = torch.randperm(count, generator=generator(seed, epoch, 0))
        start, end = max(first - epoch * count, 0), min(first + batch - epoch * count, count)
        chosen.append(order[start:end])
    return torch.cat(chosen)


def generator(seed: int, number: int, purpose: int) -> torch.Generator:
    """A random generator for one step or epoch of one purpose."""
    mixed = np.random.SeedSequence([seed, number, purpose]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> np.uint64(1)))
