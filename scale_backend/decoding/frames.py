"""From poses to points and normals: what is done for each frame.

On a CPU the cores share a frame's pieces: the U-Net beside the articulation and the body's skin, then the queries a
cache-sized tile at a time. On a GPU a batch goes as a whole.
Nothing in here reads a value back from the device, so that a CUDA graph can hold it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from scale_backend.coarse.coarse_cloth import CoarseCloth
from scale_backend.decoding.model import Model
from scale_backend.decoding.prepared import Prepared
from scale_backend.decoding.settled import settle
from scale_backend.decoding.tensor_poses import TensorPoses
from scale_backend.geometry import collision
from scale_backend.geometry.articulation import articulate, pixel_frames, turned_normals, vertex_frames, vertex_normals
from scale_backend.geometry.body import joint_transforms
from scale_backend.geometry.body import skin as skinned
from scale_backend.geometry.carrier import pose_carrier
from scale_backend.geometry.collision import Contact, Skin, posed_skin
from scale_backend.geometry.gathering import gather_sum
from scale_backend.geometry.positional_map import surface_points
from scale_backend.geometry.stretching import drawn_together
from scale_backend.geometry.window_maps import Past, earlier_transforms, falls, window_maps

GPU_ROWS = 1 << 18  # rows of the MLP at once on a GPU: 128 MiB a layer in float16 at 256 channels


@dataclass(frozen=True)
class Posed:
    """A carrier in F poses, in the space of the training data: no root orientation, pelvis at the origin."""

    transforms: Tensor  # [F, J, 4, 4] of the joints of whoever wears the garment
    vertices: Tensor  # [F, V, 3]
    known: Tensor  # [F, V, 3] the same of the body shape that the network knows: the mean one, or all
    shape: Tensor | None  # [F, S]; None: the mean shape
    poses: TensorPoses  # where in the world they are, and what was before
    motion: float = 1.0  # how much of that the cloth feels
    fallen: Tensor | None = None  # [F, V, 3] how far the coarse cloth is from where the body alone would have it


def pose_frames(
    model: Model,
    poses: TensorPoses,
    motion: float = 1.0,
) -> Posed:
    """Places and frames come from the asked shape, or from the wearer's; features too where the network knows of
    shapes. Coarse cloth falls on the body that the network knows."""
    posed = _skinned(model, poses, motion)
    if model.coarse is None:
        return posed
    fallen = _fallen(model, model.coarse, posed)
    size = 1.0 if model.fit is None else model.fit.report.size
    return replace(posed, vertices=posed.vertices + size * fallen, fallen=fallen)


def _skinned(model: Model, poses: TensorPoses, motion: float) -> Posed:
    body, shape = model.body, poses.shape
    rotations = poses.rotations.clone()
    rotations[:, 0] = torch.eye(3, device=model.device)

    def transforms(shape: Tensor | None) -> Tensor:
        pelvis = body.rest_joints(shape)[:, 0]  # [F or 1, 3]
        return joint_transforms(body, rotations, -pelvis.expand(len(rotations), 3), shape)

    if model.fit is not None:
        fit, known = model.fit, pose_carrier(model.carrier, body, rotations, transforms=transforms(None))
        worn = fit.joint_transforms(rotations, -fit.joints[:1].expand(len(rotations), 3))
        return Posed(worn, skinned(fit.template[None], fit.blend_weights, worn), known, None, poses, motion)
    asked = transforms(shape)
    vertices = pose_carrier(model.carrier, body, rotations, shape=shape, transforms=asked)
    known = vertices
    if shape is not None and not model.garment.window.shape:
        known = pose_carrier(model.carrier, body, rotations, transforms=transforms(None))
    return Posed(asked, vertices, known, shape, poses, motion)


def _fallen(model: Model, coarse: CoarseCloth, pose: Posed) -> Tensor:  # [F, V, 3]
    """Of the coarse cloth through the window; where nothing moves it hangs at rest in the pose of now."""
    body, poses = model.body, pose.poses
    shape = pose.shape if model.garment.window.shape else None
    local = poses.rotations.clone()
    local[:, 0] = torch.eye(3, device=model.device)
    pelvis = body.rest_joints(shape)[:, 0].expand(len(local), 3)
    now = joint_transforms(body, local, -pelvis, shape)[:, None, :, :3]  # [F, 1, J, 3, 4]
    past, count = _past(model, poses), len(model.garment.window.lags)
    if past is None or pose.motion == 0:
        moments = now.expand(-1, count + 1, -1, -1, -1)
    else:
        earlier = earlier_transforms(poses.rotations, poses.translation, past, body, shape)
        moments = torch.cat([now + pose.motion * (earlier - now), now], 1)
    return coarse.on_carrier(coarse.displacements(moments, falls(poses.rotations, poses.down), shape))


def _past(model: Model, poses: TensorPoses) -> Past | None:
    if not model.garment.window.lags or poses.past_rotations is None or poses.past_translation is None:
        return None
    places = poses.past_translation
    if model.fit is not None:  # a giant's steps are a giant's: in its body's own size they are anybody's
        places = (places - poses.translation[:, None]) / model.fit.report.size + poses.translation[:, None]
    return Past(poses.past_rotations, places)


def network_input(model: Model, pose: Posed) -> Tensor:  # [F, H W, inputs]
    """What the network sees of a pose: the positional map, and what it knows of moments and gravity."""
    window, poses = model.garment.window, pose.poses
    now = surface_points(pose.known, model.pixel_corners, model.pixel_weights)
    if window.channels == now.shape[-1]:
        return now
    shape = pose.shape if window.shape else None
    where, past, skin, fallen = (poses.rotations, poses.translation), None, None, None
    if pose.fallen is not None:
        fallen = surface_points(pose.fallen, model.pixel_corners, model.pixel_weights)
    else:
        past = _past(model, poses)
        skin = None if past is None else model.skin_of(shape)
    return window_maps(now, *where, past, skin, model.body, window, shape, pose.motion, poses.down, fallen)


def decode_frames(
    model: Model,
    prepared: Prepared,
    pose: Posed,
    push_out: bool,
    pixels: Tensor | None = None,  # [F, H W, C] features, where they are known already
    settles: bool = True,
) -> tuple[Tensor, Tensor]:  # points, unit normals [F, V, 3] in the space of the training data
    """Decode poses. On a CPU the decoder asks for one at a time."""
    queries, posed = prepared.queries, pose.vertices

    def features() -> Tensor:  # [F, H W, C]
        return model.pixel_features(network_input(model, pose)) if pixels is None else pixels

    def ground() -> tuple[Tensor, Tensor]:
        base = surface_points(posed, queries.corners, queries.weights)
        if model.mode == "patch":
            return base, pixel_frames(posed, model.pixel_corners, model.pixels)
        return base, vertex_frames(posed, model.rest).flatten(2)

    def obstacle() -> Skin | None:
        if not push_out:
            return None
        rest = _collider_rest(model, pose.shape)
        return posed_skin(skinned(rest, model.collider_weights, pose.transforms), model.collider.rings, model.tiled)

    seen, (base, frames), skin = model.cores.map(_call, [features, ground, obstacle])
    points, normals = _bound(prepared, *_decode_queries(model, prepared, seen, base, frames))
    contact = None
    if settles and prepared.sheet is not None and model.settling is not None:
        rest = None if pose.shape is None else model.rest_of(pose.shape)
        if model.fit is not None:  # the lengths that the cloth was carried over with
            rest = model.fit.template[None].expand(len(points), -1, -1)
        points, contact = settle(points, prepared.sheet, model.settling, skin, model.cores, rest)
    if skin is not None:
        points = _pushed_out(model, points, skin, contact)
        if model.fit is not None and prepared.sizes is not None:
            points = drawn_together(points, prepared.sizes, model.fit.report.size, reads_back=model.tiled)
    return points, _normals(prepared, points, normals)


def decode_pixels(
    model: Model,
    prepared: Prepared,
    pixels: Tensor,  # [F, H W, C] features
    places: Tensor,  # [F, H W, 3] the positional map
    posed: Tensor,  # [F, V, 3] the carrier's vertices
) -> tuple[Tensor, Tensor]:  # points, unit normals [F, V, 3]
    """Decode a carrier that is posed already, as packed frames have it."""
    queries = prepared.queries
    if model.mode == "patch":
        base, frames = places[:, model.pixels[queries.patch]], pixel_frames(posed, model.pixel_corners, model.pixels)
    else:
        base, frames = (
            surface_points(posed, queries.corners, queries.weights),
            vertex_frames(posed, model.rest).flatten(2),
        )
    points, normals = _bound(prepared, *_decode_queries(model, prepared, pixels, base, frames))
    return points, _normals(prepared, points, normals)


def _decode_queries(
    model: Model,
    prepared: Prepared,
    pixels: Tensor,  # [F, H W, C] features
    base: Tensor,  # [F, M, 3]
    frames: Tensor,  # [F, P, 3, 3] of the patches, or [F, V, 9] of the carrier's vertices
) -> tuple[Tensor, Tensor | None]:  # points [F, M, 3], normals; None where those of the faces are wanted
    queries = prepared.queries
    with_normals = prepared.rings is None
    points = torch.empty_like(base)
    normals = torch.empty_like(base if with_normals else base[:0])

    def tile(piece: tuple[slice, slice]) -> None:
        chosen, rows = piece
        if model.mode == "patch":
            features, of = pixels[chosen], queries.taps[rows, 0]
        else:
            features, of = gather_sum(pixels[chosen], queries.taps[rows], queries.tap_weights[rows]), None
        residual, normal = model.mlp(features, prepared.place[rows], with_normals, of)
        if model.mode == "patch":
            local = frames[chosen].index_select(1, queries.patch[rows])
        else:
            local = surface_points(frames[chosen], queries.corners[rows], queries.weights[rows]).unflatten(-1, (3, 3))
        points[chosen, rows] = articulate(base[chosen, rows], local, residual)
        if normal is None:
            return
        if model.mode == "continuous":
            rest = surface_points(model.rest.normals[None], queries.corners[rows], queries.weights[rows])
            normal = normal + rest
        normals[chosen, rows] = turned_normals(local, normal)

    model.cores.map(tile, _pieces(model, len(base), base.shape[1]))
    return points, normals if with_normals else None


def _bound(prepared: Prepared, points: Tensor, normals: Tensor | None) -> tuple[Tensor, Tensor | None]:  # [F, V, 3]
    """Vertices and their normals, where a vertex is a mean of decoded points."""
    if prepared.binding is None:
        return points, normals
    if normals is not None:
        normals = normalize(prepared.binding.means(normals), dim=-1, eps=1e-12)
    return prepared.binding.vertices(points), normals


def _normals(prepared: Prepared, points: Tensor, decoded: Tensor | None) -> Tensor:  # [F, V, 3] unit
    """Those that were decoded, or else those of the faces."""
    if decoded is not None:
        return decoded
    assert prepared.rings is not None  # else they would have been decoded
    return vertex_normals(points, prepared.rings)


def _pushed_out(
    model: Model,
    points: Tensor,  # [F, V, 3]
    skin: Skin,
    contact: Contact | None = None,  # of the points before they settled: they have not gone far
) -> Tensor:  # [F, V, 3]
    pushed = torch.empty_like(points)

    def piece(which: tuple[slice, slice]) -> None:
        chosen, rows = which
        touched = None if contact is None else contact.at(which)
        pushed[chosen, rows] = collision.push_out(points[chosen, rows], skin[chosen], contact=touched)

    model.cores.map(piece, _pieces(model, len(points), points.shape[1]))
    return pushed


def _pieces(model: Model, frames: int, rows: int) -> list[tuple[slice, slice]]:
    """Frames and rows that are worked on together."""
    if model.tiled:
        return [(slice(f, f + 1), tile) for f in range(frames) for tile in model.cores.tiles(rows, model.mlp.tile)]
    step = max(1, GPU_ROWS // rows)
    return [(slice(f, f + step), slice(None)) for f in range(0, frames, step)]


def _call(function: Callable[[], Any]) -> Any:
    return function()


def _collider_rest(model: Model, shape: Tensor | None) -> Tensor:  # [F or 1, C, 3]
    if model.fit is not None:
        return model.fit.skin[None]
    chosen = model.collider.vertices
    rest = model.body.template.index_select(0, chosen)[None]
    if shape is not None:
        rest = rest + torch.einsum("vcs,fs->fvc", model.body.shape_components[chosen], shape)
    return rest
