"""Mirror images against the skinned body itself, which is symmetric."""

import numpy as np
import pytest
import torch

from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.geometry.body import load_body, pose_vertices
from training.frames.mirror import mirror_map, mirrored_pose, with_mirror_images
from training.frames.raw_frames import RawFrames, RawFramesError, RawGarment


def body_as_garment(**changes) -> tuple[RawGarment, RawFrames]:
    """A garment that is the body's own surface: its mirror image is known exactly."""
    body = load_body("neutral")
    count, faces = len(body.template), len(body.triangles)
    content = {
        "name": "skin", "vertices": body.template.numpy(), "triangles": body.triangles.numpy().astype(np.int32),
        "panel": np.zeros(faces, np.uint8), "panel_names": ("all",), "region": np.zeros(count, np.uint8),
        "region_names": ("all",), "pin": np.ones(count, np.float32), "blend_weights": body.blend_weights.numpy(),
        "body_name": body.name, "body_digest": body.digest, "settings": "{}",
    }  # fmt: skip
    pose = np.random.default_rng(0).normal(size=(2, 24, 3)).astype(np.float32) * 0.4
    pose[:, 0] = 0
    vertices = posed(pose)
    return RawGarment(**content | changes), RawFrames(pose, vertices, ("a", "b"), np.zeros(2), np.zeros(2))


def posed(pose: np.ndarray) -> np.ndarray:
    body = load_body("neutral")
    rotations = torch.from_numpy(matrices_from_axis_angle(pose)).float()
    return pose_vertices(body, rotations, -body.mean_joints[:1].expand(len(pose), 3)).numpy()


def test_mirrored_frames_are_what_the_mirrored_pose_gives():
    garment, frames = body_as_garment()
    both = with_mirror_images(garment, frames)
    assert len(both) == 4
    assert both.names[2] == "a-mirrored"
    difference = np.linalg.norm(both.vertices[2:] - posed(mirrored_pose(frames.pose)), axis=-1)
    assert difference.mean() < 2e-4
    assert np.percentile(difference, 99) < 3e-3
    assert np.abs(both.vertices[:2] - frames.vertices).max() == 0


def test_mirroring_twice_changes_nothing():
    pose = np.random.default_rng(1).normal(size=(3, 24, 3)).astype(np.float32)
    assert np.allclose(mirrored_pose(mirrored_pose(pose)), pose)
    assert not np.allclose(mirrored_pose(pose), pose)


def test_an_asymmetric_garment_is_refused():
    vertices = load_body("neutral").template.numpy().copy()
    vertices[:, 0] += 0.03 * (vertices[:, 0] > 0)
    garment, _ = body_as_garment(vertices=vertices)
    with pytest.raises(RawFramesError, match="not symmetric"):
        mirror_map(garment)
