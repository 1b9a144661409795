"""Random poses and the motions that ship."""

from __future__ import annotations

from functools import partial
from itertools import islice

import numpy as np
import pytest

from scale_backend.formats.assets import asset_folder
from training.simulate.motions import MOTIONS, MotionSettings, make_motion, run
from training.simulate.poses import ALL_LIMITS, INDEX, JOINTS, KINDS, penetrates, random_poses, set_arm, set_leg
from training.simulate.skinning import joint_positions, load_skinned_body, skin_body


@pytest.fixture(scope="module")
def body():
    return load_skinned_body()


def sample(body, seed: int, count: int) -> list:
    return list(islice(random_poses(seed, partial(joint_positions, body)), count))


def test_joint_names_are_the_bodys(body):
    assert body.joint_names == JOINTS


def test_poses_stay_within_limits_and_leave_the_root_alone(body):
    poses = np.stack([pose for _, pose in sample(body, 3, 240)])
    assert (poses >= ALL_LIMITS[..., 0] - 1e-9).all()
    assert (poses <= ALL_LIMITS[..., 1] + 1e-9).all()
    assert not poses[:, 0].any()
    assert poses[:, INDEX["left_hip"], 0].min() < -1.1  # somebody sits
    assert poses[:, INDEX["left_shoulder"], 2].max() > 0.7  # somebody reaches up


def test_any_prefix_is_balanced_and_the_same_for_a_seed(body):
    first, again, other = sample(body, 1, 36), sample(body, 1, 24), sample(body, 2, 24)
    assert [kind for kind, _ in first] == list(KINDS) * 3
    np.testing.assert_array_equal([pose for _, pose in first[:24]], [pose for _, pose in again])
    assert np.abs(again[0][1] - other[0][1]).max() > 0.05


def test_limbs_that_run_into_each_other_are_found(body):
    standing = np.zeros((24, 3))
    assert not penetrates(joint_positions(body, standing))
    arm_in_torso = standing.copy()
    set_arm(arm_in_torso, "left", lift=-0.2, forward=1.4, twist=0.0, bend=2.2)
    arm_in_torso[INDEX["left_shoulder"]] = 0, -2.6, 0
    assert penetrates(joint_positions(body, arm_in_torso))
    crossed = standing.copy()
    for side in ("left", "right"):
        set_leg(crossed, side, flex=0.0, spread=-0.35, turn=0.0, knee=0.0)
    assert penetrates(joint_positions(body, crossed))


def test_motions_that_ship_come_out_the_same_again(tmp_path):
    run(MotionSettings(tmp_path))
    for name in MOTIONS:
        with np.load(tmp_path / f"{name}.npz") as made, np.load(asset_folder() / "motions" / f"{name}.npz") as shipped:
            assert set(made.files) == set(shipped.files) >= {"poses", "trans", "betas", "gender", "mocap_framerate"}
            for key in made.files:
                if made[key].dtype.kind == "f":  # other processors may round the last bit otherwise
                    np.testing.assert_allclose(made[key], shipped[key], atol=1e-6)
                else:
                    assert made[key] == shipped[key]


@pytest.mark.parametrize("name", MOTIONS)
def test_motions_stand_on_the_floor_and_run_smoothly(body, name):
    motion = make_motion(name, body.joints, lambda pose: float(skin_body(body, pose)[:, 1].min()))
    poses = motion["poses"].reshape(-1, 24, 3).astype(float)
    for frame in range(0, len(poses), 20):  # Z up: the root turns the body upright
        vertices = skin_body(body, poses[frame]) + body.joints[0] + motion["trans"][frame]
        assert abs(vertices[:, 2].min()) < 1e-3
        assert vertices[:, 2].max() > 1.2
    local = poses[:, 1:]
    assert np.abs(np.diff(local, axis=0)).max() < 0.2
    if MOTIONS[name][2]:
        assert np.abs(local[0] - local[-1]).max() < 0.2  # loops
    assert not any(penetrates(joint_positions(body, np.vstack([np.zeros((1, 3)), pose]))) for pose in local[::10])
