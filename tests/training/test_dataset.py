"""Frames on the training device, and which of them a step sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scale_backend.formats.errors import UserError
from scale_backend.surfaces.queries import patch_queries, vertex_queries
from tests.backend.reference import query_frames
from tests.training.synthetic import clothed, random_poses, skirt_frames, skirt_groundwork, write_raw_folder
from training.config import recipe_from_dict
from training.frames.raw_frames import RawFramesError
from training.learning.dataset import batch_indices, cloth_frames, pose_frames, read_cloth_frames, read_groundwork


@pytest.fixture(scope="module")
def groundwork():
    return skirt_groundwork()


def test_cached_frames_are_what_the_engine_computes(groundwork):
    frames = skirt_frames(groundwork, 3, seed=0)
    queries = vertex_queries(groundwork.carrier, groundwork.layout)
    base, local = query_frames(frames.posed.base, queries, groundwork)
    assert torch.allclose(base, frames.posed.base, atol=1e-6)
    assert torch.allclose(local, frames.posed.frames, atol=1e-5)


def test_cached_patch_frames_are_what_the_engine_computes():
    groundwork = read_groundwork(recipe_from_dict({"name": "a", "data": "b", "carrier": "body"}))
    posed = pose_frames(groundwork, random_poses(2, 0))
    assert posed.maps.shape == (2, 3, 32, 32)
    from scale_backend.geometry.body import pose_vertices

    body = groundwork.body
    vertices = pose_vertices(body, posed.rotations, -body.mean_joints[:1].expand(2, 3))
    settings = recipe_from_dict({"name": "a", "data": "b"}).network
    queries = patch_queries(groundwork.carrier, groundwork.layout, settings)
    base, local = query_frames(vertices, queries, groundwork)
    assert torch.allclose(base, posed.base[:, queries.patch], atol=1e-6)
    assert torch.allclose(local, posed.frames[:, queries.patch], atol=1e-6)


def test_poses_are_normalised(groundwork):
    poses = random_poses(2, 0)
    turned = poses.copy()
    turned[:, 0] = 1.0  # the root's rotation is no part of what the network sees
    assert torch.equal(pose_frames(groundwork, poses).maps, pose_frames(groundwork, turned).maps)


def test_frames_of_another_garment_are_refused(groundwork):
    poses = random_poses(2, 0)
    with pytest.raises(UserError, match="different garments"):
        cloth_frames(groundwork, poses, clothed(groundwork, poses)[:, 1:], groundwork.carrier.triangles.numpy(), ())


def test_a_split_is_read_evenly_to_its_limit(tmp_path, groundwork):
    write_raw_folder(tmp_path, {"train": 9})
    frames = read_cloth_frames(groundwork, tmp_path, "train", 3)
    assert frames.names == ("skirt_train.00000", "skirt_train.00004", "skirt_train.00008")
    truth = clothed(groundwork, random_poses(9, 0))[[0, 4, 8]]
    assert np.abs(frames.vertices.numpy() - truth).max() < 5e-5
    with pytest.raises(RawFramesError, match="no frames of the split 'val'"):
        read_cloth_frames(groundwork, tmp_path, "val")


@pytest.mark.parametrize(("count", "batch"), [(10, 4), (3, 8), (5, 5)])
def test_every_frame_comes_up_once_a_pass(count, batch):
    steps = count  # batch passes over the data
    seen = torch.cat([batch_indices(count, batch, step, 7) for step in range(steps)])
    assert len(seen) == steps * batch
    assert all(sorted(part.tolist()) == list(range(count)) for part in seen.split(count))
    assert torch.equal(batch_indices(count, batch, 2, 7), batch_indices(count, batch, 2, 7))
    assert not torch.equal(seen, torch.cat([batch_indices(count, batch, step, 8) for step in range(steps)]))
