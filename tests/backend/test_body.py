"""The body: skinning against the smplx package, and what a bad file gets."""

import numpy as np
import pytest
import torch

from scale_backend.formats.errors import UserError
from scale_backend.formats.foreign_file import ForeignFileError
from scale_backend.formats.joints import SMPL_PARENTS
from scale_backend.geometry.body import body_from_arrays, fit_joint_count, load_body, pose_vertices
from scale_backend.geometry.rotations import matrix_from_axis_angle

FINGER_PARENTS = tuple(p for side in (20, 21) for _ in range(5) for p in (side, None, None))


def family_parents(count: int) -> list[int]:
    """Parents of a 24, 52 or 55 joint tree in the family's layout."""
    parents = list(SMPL_PARENTS[:22])
    if count == 24:
        return [*parents, 20, 21]
    if count == 55:
        parents += [15, 15, 15]
    for side in (20, 21):
        for _ in range(5):
            parents += [side, len(parents), len(parents) + 1]
    return parents


def random_arrays(joints: int, vertices: int = 200) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(joints)
    weights = rng.random((vertices, joints)) ** 8
    regressor = rng.random((joints, vertices))
    parents = np.array(family_parents(joints))
    parents[0] = 2**32 - 1  # as official files have it
    return {
        "v_template": rng.normal(size=(vertices, 3)),
        "f": rng.integers(0, vertices, (50, 3)),
        "weights": weights / weights.sum(1, keepdims=True),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "kintree_table": np.stack([parents, np.arange(joints)]),
        "shapedirs": rng.normal(size=(vertices, 3, 10)) * 0.05,
        "posedirs": rng.normal(size=(vertices, 3, 9 * (joints - 1))) * 0.005,
    }


@pytest.mark.parametrize("joints", [24, 52, 55])
def test_skinning_equals_smplx(joints):
    from smplx.lbs import lbs

    arrays = random_arrays(joints)
    body = body_from_arrays(arrays, "random")
    torch.manual_seed(0)
    pose, shape, translation = torch.randn(3, joints, 3) * 0.6, torch.randn(3, 10), torch.randn(3, 3)
    ours = pose_vertices(body, matrix_from_axis_angle(pose), translation, shape)
    double = {
        k: torch.from_numpy(np.asarray(v, np.float64)) for k, v in arrays.items() if k not in ("f", "kintree_table")
    }
    theirs, _ = lbs(
        shape.double(), pose.double().flatten(1), double["v_template"], double["shapedirs"],
        double["posedirs"].reshape(-1, double["posedirs"].shape[-1]).T, double["J_regressor"],
        torch.tensor(body.parents), double["weights"],
    )  # fmt: skip
    double_body = ours.double() - translation[:, None]
    assert (double_body - theirs).abs().max() < 3e-6  # coordinates here reach several metres in float32


def test_embedded_body_equals_smplx():
    import smplx
    from smplx.utils import Struct

    from scale_backend.formats.assets import find_body

    with np.load(find_body("neutral")) as data:
        arrays = {k: data[k] for k in data.files}
    arrays["posedirs"] = np.zeros((6890, 3, 207))
    model = smplx.SMPL("", data_struct=Struct(**arrays), dtype=torch.float64)
    torch.manual_seed(1)
    pose, shape, translation = torch.randn(4, 24, 3) * 0.4, torch.randn(4, 10), torch.randn(4, 3)
    theirs = model(
        betas=shape.double(), global_orient=pose[:, 0].double(), body_pose=pose[:, 1:].double().flatten(1),
        transl=translation.double(),
    ).vertices  # fmt: skip
    ours = pose_vertices(load_body("neutral"), matrix_from_axis_angle(pose), translation, shape)
    assert (ours - theirs).abs().max() < 1e-6


def test_joints_of_other_members_of_the_family():
    rotations = matrix_from_axis_angle(torch.randn(2, 55, 3))
    smpl = fit_joint_count(rotations, 24)
    assert torch.equal(smpl[:, :22], rotations[:, :22])
    assert torch.equal(smpl[:, 22:], torch.eye(3).expand(2, 2, 3, 3))
    assert torch.equal(fit_joint_count(rotations, 52)[:, 22:], rotations[:, 25:])
    with pytest.raises(UserError, match="24, 52 or 55"):
        fit_joint_count(rotations[:, :10], 24)


def test_joints_must_hang_together():
    arrays = random_arrays(24) | {"kintree_table": np.stack([np.arange(24), np.arange(24)])}
    with pytest.raises(UserError, match="each joint's parent before the joint"):
        body_from_arrays(arrays, "loop")


def test_a_file_that_is_no_body_says_what_it_lacks(tmp_path):
    path = tmp_path / "half.npz"
    np.savez(path, v_template=np.zeros((3, 3)), f=np.zeros((1, 3)))
    with pytest.raises(UserError, match="lacks weights, J_regressor"):
        load_body(path)
    path.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(UserError, match=r"half\.npz could not be read"):
        load_body(path)
    with pytest.raises(FileNotFoundError, match="or a name: neutral"):
        load_body("nobody")


def damaged_arrays():
    arrays = random_arrays(24)
    hole, uv = np.full((200, 3), 1e300), {"vt": np.zeros((9, 2)), "ft": np.zeros((50, 3), int)}
    yield "'v_template' in b.npz holds numbers that are not finite", {"v_template": hole}
    yield "triangles with vertices that it does not have", {"f": arrays["f"] + 200}
    yield "triangles with vertices that it does not have", {"f": arrays["f"] - 0.5}
    yield "UV triangles with UVs that it does not have", uv | {"ft": np.full((50, 3), 9)}
    yield "50 triangles, and 49 of UVs", uv | {"ft": np.zeros((49, 3), int)}
    yield "has vt or ft, and not both", {"vt": np.zeros((9, 2))}
    yield "'weights' in b.npz holds no numbers", {"weights": np.full((200, 24), "x")}
    yield "its weights are no matrix", {"weights": np.zeros((0, 24))}
    yield "'shapedirs' in b.npz is 200 x 3, not 200 x 3 x any", {"shapedirs": np.zeros((200, 3))}
    yield "no tree of joints", {"kintree_table": np.zeros((0, 24))}


@pytest.mark.parametrize(("sentence", "change"), list(damaged_arrays()))
def test_a_damaged_body_says_what_is_wrong(tmp_path, sentence, change):
    np.savez(tmp_path / "b.npz", **(random_arrays(24) | change))
    with pytest.raises(ForeignFileError, match=rf"b\.npz.*{sentence}|{sentence}"):
        load_body(tmp_path / "b.npz")


def test_pose_components_may_be_transposed():
    """smplx keeps them as [207, 3 V]."""
    arrays = random_arrays(24)
    turned = arrays | {"posedirs": arrays["posedirs"].reshape(600, 207).T}
    expected = body_from_arrays(arrays, "b").pose_components
    assert torch.equal(body_from_arrays(turned, "b").pose_components, expected)
