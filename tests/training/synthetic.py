"""Synthetic clothes to learn: a skirt that is its skinned rest surface moved by a smooth function of the pose."""

from __future__ import annotations

import numpy as np
import torch

from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.geometry.articulation import vertex_normals
from scale_backend.geometry.body import Body, load_body
from scale_backend.geometry.carrier import pose_carrier
from tests.making import skirt_carrier
from training.frames.raw_frames import RawFrames, RawGarment, chunk_path, write_chunk, write_garment
from training.learning.dataset import ClothFrames, Groundwork, cloth_frames, lay_groundwork

HIPS_AND_KNEES = (1, 2, 4, 5)


def random_poses(count: int, seed: int) -> np.ndarray:  # [F, 24, 3]
    poses = np.zeros((count, 24, 3), np.float32)
    poses[:, HIPS_AND_KNEES] = np.random.default_rng(seed).normal(0, 0.35, (count, len(HIPS_AND_KNEES), 3))
    return poses


def skirt_groundwork(map_size: int = 32) -> Groundwork:
    body = load_body("neutral")
    return lay_groundwork(skirt_carrier(body), body, map_size, "continuous")


def clothed(groundwork: Groundwork, poses: np.ndarray) -> np.ndarray:  # [F, V, 3]
    """The truth: up to some centimetres off the skinned surface, along its normal, in waves that follow the legs."""
    body, carrier = groundwork.body, groundwork.carrier
    rotations = torch.from_numpy(matrices_from_axis_angle(poses)).float()
    skinned = pose_carrier(carrier, body, rotations, -body.mean_joints[:1].expand(len(poses), 3))
    angle = torch.atan2(carrier.template[:, 0], carrier.template[:, 2])
    down = (-carrier.template[:, 1] - 0.28) / 0.42
    lift = torch.from_numpy(poses[:, [1, 2], 0]).float()
    waves = 0.02 + 0.05 * lift[:, :1] * (2 * angle).sin() + 0.05 * lift[:, 1:] * (3 * angle).cos()
    return (skinned + (down * waves)[..., None] * vertex_normals(skinned, groundwork.rest.rings)).numpy()


def skirt_frames(groundwork: Groundwork, count: int, seed: int) -> ClothFrames:
    poses = random_poses(count, seed)
    names = tuple(f"skirt_random.{i:05d}" for i in range(count))
    return cloth_frames(groundwork, poses, clothed(groundwork, poses), groundwork.carrier.triangles.numpy(), names)


def write_raw_folder(folder, splits: dict[str, int], body: Body | None = None) -> None:
    """A raw folder of the skirt: frames a split."""
    groundwork = skirt_groundwork()
    body, carrier = groundwork.body, groundwork.carrier
    front = torch.arange(len(carrier.triangles)) % 64 < 32  # the maker's first 16 columns of 32: one half
    write_garment(folder, RawGarment(
        name="skirt", vertices=carrier.template.numpy(), triangles=carrier.triangles.numpy().astype(np.int32),
        panel=(~front).numpy().astype(np.uint8), panel_names=("front", "back"), region=carrier.region.numpy(),
        region_names=carrier.region_names, pin=np.zeros(len(carrier.template), np.float32),
        blend_weights=carrier.blend_weights.numpy(), body_name=body.name, body_digest=body.digest, settings="{}",
    ))  # fmt: skip
    for seed, (split, count) in enumerate(splits.items()):
        poses = random_poses(count, seed)
        names = tuple(f"skirt_{split}.{i:05d}" for i in range(count))
        zeros = np.zeros(count, np.float32)
        write_chunk(chunk_path(folder, split, 0), RawFrames(poses, clothed(groundwork, poses), names, zeros, zeros))
