"""Motions as people have them: each file is written here as its program writes it."""

from __future__ import annotations

import io
import pickle
import sys
import types
import zlib

import numpy as np
import pytest
import torch

from scale_backend.formats.foreign_file import ForeignFileError
from scale_backend.formats.motion import axis_angle_from_matrices, matrices_from_axis_angle
from scale_backend.formats.motions import load_motion
from scale_backend.formats.motions.axes import to_y_up

FRAMES = 7
STANDING = {"Y": 0.0, "Z": np.pi / 2, "-Y": np.pi, "-Z": -np.pi / 2}  # the root's rotation about X


def dance(up: str = "Y", frames: int = FRAMES) -> tuple[np.ndarray, np.ndarray]:  # [F, 24, 3], [F, 3]
    """Somebody who stands with bent knees and elbows, in a world with that axis up."""
    rng = np.random.default_rng(1)
    poses = rng.normal(0, 0.1, (frames, 24, 3)).astype(np.float32)
    poses[:, [4, 5], 0] += 0.6
    poses[:, 18, 1] -= 0.6
    poses[:, 19, 1] += 0.6
    upright = matrices_from_axis_angle(np.array([STANDING[up], 0.0, 0.0]))
    poses[:, 0] = axis_angle_from_matrices(upright @ matrices_from_axis_angle(poses[:, 0]))
    return poses, rng.normal(0, 0.3, (frames, 3)).astype(np.float32)


def columns(poses: np.ndarray) -> np.ndarray:  # [F, J, 3] -> [F, 3 J]
    return poses.reshape(len(poses), -1)


def joblib_pickle(value: object) -> bytes:
    """As joblib writes it: an array's numbers stand in the stream, behind an object that describes them."""
    module = types.ModuleType("joblib.numpy_pickle")
    wrapper = type("NumpyArrayWrapper", (), {"__module__": module.__name__})
    module.NumpyArrayWrapper = wrapper
    sys.modules["joblib"], sys.modules[module.__name__] = types.ModuleType("joblib"), module
    stream = io.BytesIO()

    class Pickler(pickle._Pickler):
        def save(self, item: object, *given: object) -> None:
            if type(item) is not np.ndarray:
                return super().save(item, *given)
            described = wrapper()
            described.__dict__ = {"subclass": np.ndarray, "shape": item.shape, "order": "C", "dtype": item.dtype,
                                  "allow_mmap": True, "numpy_array_alignment_bytes": 16}  # fmt: skip
            super().save(described)
            self.framer.commit_frame(force=True)
            padding = 16 - (stream.tell() + 1) % 16
            stream.write(bytes([padding]) + b"\xff" * padding + np.ascontiguousarray(item).tobytes())
            return None

    try:
        Pickler(stream, 4).dump(value)
    finally:
        del sys.modules["joblib"], sys.modules[module.__name__]
    return stream.getvalue()


def write_wham(path, poses, places):
    one = {"pose": columns(poses) + 1, "trans": places + 1, "pose_world": columns(poses), "trans_world": places,
           "betas": np.zeros((len(poses), 10), np.float32), "verts": np.zeros((len(poses), 9, 3), np.float32),
           "frame_ids": np.arange(len(poses))}  # fmt: skip
    path.write_bytes(joblib_pickle({0: one, 3: one | {name: one[name][:4] for name in one}}))


def write_gvhmr(path, poses, places):
    def parameters(offset):
        parts = {"global_orient": columns(poses)[:, :3], "body_pose": columns(poses)[:, 3:66], "transl": places}
        return {name: torch.from_numpy(part + offset) for name, part in parts.items()} | {"betas": torch.ones(7, 10)}

    world, camera = parameters(0), parameters(1)
    extra = {"K_fullimg": torch.eye(3), "net_outputs": {"x": torch.zeros(2, dtype=torch.bfloat16), "y": None}}
    torch.save({"smpl_params_incam": camera, "smpl_params_global": world} | extra, path)


def write_tram(path, poses, places):
    np.save(path, {
        "pred_cam": torch.zeros(len(poses), 3), "pred_shape": torch.zeros(len(poses), 10),
        "pred_rotmat": torch.from_numpy(matrices_from_axis_angle(poses).astype(np.float32)),
        "pred_trans": torch.from_numpy(places)[:, None], "frame": torch.arange(len(poses)),
    }, allow_pickle=True)  # fmt: skip


def write_romp_tracks(path, poses, places):
    track = {"smpl_thetas": list(columns(poses)), "smpl_betas": list(np.zeros((7, 10))), "cam_trans": list(places)}
    other = {key: values[:2] for key, values in track.items()}
    np.savez(path, results={"a/0.png": {}}, sequence_results={4: other, 9: track})


def write_romp_frames(path, poses, places):
    results = {f"a/{number:08d}.png": {"smpl_thetas": np.stack([pose, pose + 1]), "cam_trans": np.stack([place, place]),
                                       "verts": np.zeros((2, 9, 3))}
               for number, (pose, place) in enumerate(zip(columns(poses), places, strict=True))}  # fmt: skip
    np.savez(path, results=results, sequence_results={})


def write_phalp(path, poses, places):
    matrices = matrices_from_axis_angle(poses).astype(np.float32)
    frames = {}
    for number in reversed(range(len(poses))):  # order is by name
        one = {"global_orient": matrices[number, :1], "body_pose": matrices[number, 1:], "betas": np.zeros(10)}
        tracks = [5] if number == 2 else [8, 5]
        frames[f"out/img/{number:06d}.jpg"] = {
            "time": number, "tid": tracks, "smpl": [one] * len(tracks), "camera": [places[number]] * len(tracks),
            "pose": [np.zeros(229)],
        }  # fmt: skip
    path.write_bytes(zlib.compress(joblib_pickle(frames)))


def write_slahmr(path, poses, places):
    np.savez(path, trans=np.stack([places] * 2), root_orient=np.stack([poses[:, 0]] * 2), betas=np.zeros((2, 16)),
             pose_body=np.stack([columns(poses)[:, 3:66]] * 2), floor_plane=np.zeros((1, 4)),
             track_mask=np.array([[True] * 7, [False, True, True, True, False, False, False]]))  # fmt: skip


def write_aist(path, poses, places):
    content = {"smpl_loss": 0.1, "smpl_poses": columns(poses), "smpl_scaling": np.array([92.5]),
               "smpl_trans": places.astype(np.float64) * 92.5}  # fmt: skip
    path.write_bytes(pickle.dumps(content, 2))


def write_3dpw(path, poses, places):
    content = {"poses": [columns(poses), columns(poses)[:3]], "trans": [places, places[:3]], "genders": ["f", "m"],
               "betas": [np.zeros(10), np.zeros(10)], "sequence": "x", "cam_poses": np.zeros((7, 4, 4))}  # fmt: skip
    path.write_bytes(pickle.dumps(content, 2))


def write_people(path, poses, places):
    one = {"trans": places, "root_orient": poses[:, 0], "pose_body": columns(poses)[:, 3:66], "gender": "female"}
    path.write_bytes(pickle.dumps({"fps": 60, "person1": one, "person2": one}))


def write_cape(path, poses, places):
    path.mkdir()
    for number, (pose, place) in enumerate(zip(columns(poses), places, strict=True)):
        arrays = {"pose": pose, "transl": place, "v_posed": np.zeros((9, 3)), "v_cano": np.zeros((9, 3))}
        np.savez(path / f"walk.{number + 6}.npz", **arrays)  # 6 to 12: not in the order of their letters


def write_smplx(path, poses, places):
    flat = columns(poses)
    face = {"expression": np.zeros((7, 10)), "jaw_pose": np.zeros((7, 3))}
    hands = {"left_hand_pose": np.zeros((7, 12)), "right_hand_pose": np.full((7, 45), 0.1)}
    np.savez(path, global_orient=flat[:, :3], body_pose=flat[:, 3:66], transl=places, **face, **hands)


def write_smplx_matrices(path, poses, places):
    matrices = matrices_from_axis_angle(poses)
    content = {"global_orient": matrices[:, :1], "body_pose": matrices[:, 1:], "transl": places}
    path.write_bytes(pickle.dumps(content))


def write_array(path, poses, _):
    np.save(path, columns(poses))


def write_joint_arrays(path, poses, places):
    np.savez(path, pose=poses[None], transl=places[None], fps=25)


# writer, file, the world's up axis, joints read, and what is said
FILES = {
    "WHAM": (write_wham, "wham_output.pkl", "Y", 24, ["2 people, 0 (7 poses), 3 (4 poses); 0 was taken", "30 was"]),
    "GVHMR": (write_gvhmr, "hmr4d_results.pt", "Y", 22, ["Y was taken to be up"]),
    "TRAM": (write_tram, "hps_track_0.npy", "-Y", 24, ["-Y was taken to be up, as in camera", "as the camera saw"]),
    "ROMP, tracks": (write_romp_tracks, "video_results.npz", "-Y", 24, ["4 (2 poses), 9 (7 poses); 9 was taken"]),
    "ROMP, frames": (write_romp_frames, "video_results.npz", "-Y", 24, ["1 (7 poses), 2 (7 poses); 1 was taken"]),
    "4D-Humans": (write_phalp, "demo_x.pkl", "-Y", 24, ["8 (6 poses), 5 (7 poses); 5 was taken"]),
    "SLAHMR": (write_slahmr, "x_world_results.npz", "-Y", 22, ["1 (7 poses), 2 (3 poses); 1 was taken"]),
    "AIST++": (write_aist, "gBR_sBM_cAll.pkl", "Y", 24, ["divided by the file's scaling of 92.5", "60 was assumed"]),
    "3DPW": (write_3dpw, "downtown.pkl", "-Y", 24, ["2 people, 1 (7 poses), 2 (3 poses); 1 was taken"]),
    "InterHuman": (write_people, "1.pkl", "Z", 22, ["person1 (7 poses), person2 (7 poses); person1 was taken"]),
    "CAPE": (write_cape, "shortlong_walk", "Y", 24, ["30 was assumed"]),
    "smplx": (write_smplx, "smplx.npz", "Y", 55, ["'left_hand_pose' was left out: 12 principal components"]),
    "smplx, matrices": (write_smplx_matrices, "smplx.pkl", "-Y", 24, ["-Y was taken to be up"]),
    "one array": (write_array, "poses.npy", "Y", 24, ["30 was assumed"]),
    "poses and transl": (write_joint_arrays, "p.npz", "Z", 24, ["Z was taken to be up, as the body mostly stands"]),
}


@pytest.mark.parametrize("kind", FILES)
def test_programs_and_their_files(tmp_path, kind):
    write, name, up, joints, said = FILES[kind]
    poses, places = dance(up)
    write(tmp_path / name, poses, places)
    motion = load_motion(tmp_path / name)
    count = min(joints, 24)
    body = matrices_from_axis_angle(motion.rotations[:, : min(count, 22)])
    np.testing.assert_allclose(body, matrices_from_axis_angle(poses[:, : min(count, 22)]), atol=2e-6)
    assert motion.rotations.shape == (FRAMES, joints, 3)
    np.testing.assert_allclose(motion.translation, 0 * places if kind == "one array" else places, atol=1e-6)
    assert motion.up_axis == up
    for words in said:
        assert words in "; ".join(motion.notes)
    rates = {"AIST++": (60, False), "InterHuman": (60, True), "poses and transl": (25, True)}
    assert (motion.frame_rate, motion.frame_rate_known) == rates.get(kind, (30, False))


def test_a_person_can_be_chosen(tmp_path):
    poses, places = dance("-Y")
    write_phalp(tmp_path / "demo.pkl", poses, places)
    motion = load_motion(tmp_path / "demo.pkl", person="8")
    assert motion.person == "8" and motion.frame_count == FRAMES  # the frame that lacks them is filled in
    assert "the body is not seen in 1 frame: between" in "; ".join(motion.notes)
    np.testing.assert_allclose(motion.translation[2], places[[1, 3]].mean(0), atol=1e-6)
    with pytest.raises(ForeignFileError, match=r"no person 'me'; there are 8 \(6 poses\), 5 \(7 poses\)"):
        load_motion(tmp_path / "demo.pkl", person="me")
    write_slahmr(tmp_path / "s.npz", poses, places)
    np.testing.assert_array_equal(load_motion(tmp_path / "s.npz", person="2").translation, places[1:4])
    write_3dpw(tmp_path / "p.pkl", poses, places)
    assert [load_motion(tmp_path / "p.pkl", person=name).gender for name in "12"] == ["female", "male"]


def test_files_of_a_frame_each_may_be_chosen_one_by_one(tmp_path):
    poses, places = dance()
    write_cape(tmp_path / "cape", poses, places)
    one = load_motion(tmp_path / "cape" / "walk.8.npz")
    assert one.frame_count == 1 and "choose the folder" in "; ".join(one.notes)
    some = load_motion([tmp_path / "cape" / f"walk.{number}.npz" for number in (8, 9)])
    np.testing.assert_array_equal(some.translation, places[2:4])
    np.savez(tmp_path / "cape" / "b.npz", poses=columns(poses))
    with pytest.raises(ForeignFileError, match=r"cape holds several motions \(first: b.npz\)"):
        load_motion(tmp_path / "cape")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ForeignFileError, match="empty is a folder without motion files"):
        load_motion(tmp_path / "empty")


def test_parts_are_used_where_the_whole_is_odd(tmp_path):
    poses, places = dance("Z")
    np.savez(tmp_path / "odd.npz", poses=np.zeros((7, 60)), root_orient=poses[:, 0], trans=places,
             pose_body=columns(poses)[:, 3:66], mocap_frame_rate=120)  # fmt: skip
    odd = load_motion(tmp_path / "odd.npz")
    np.testing.assert_array_equal(odd.rotations, poses[:, :22])
    assert "the odd 'poses' of 7 x 60 was left aside for 'pose_body'" in odd.notes


@pytest.mark.parametrize("form", ["rows", "columns", "alternating"])
def test_six_numbers_a_joint(tmp_path, form):
    """Zhou's columns, PyTorch3D's rows, and SPIN's columns row by row: the file does not say which."""
    poses, _ = dance()
    matrices = matrices_from_axis_angle(poses)
    six = {"rows": matrices[..., :2, :], "columns": np.swapaxes(matrices[..., :2], -1, -2),
           "alternating": matrices[..., :2]}[form]  # fmt: skip
    np.savez(tmp_path / "six.npz", pose=six.reshape(FRAMES, 144))
    motion = load_motion(tmp_path / "six.npz")
    np.testing.assert_allclose(motion.rotations, poses, atol=1e-6)
    assert "six numbers a joint were read as" in motion.notes[0]


@pytest.mark.parametrize("up", STANDING)
def test_the_way_up(tmp_path, up):
    """A body that stands, in any world; turned into SMPL's it stands along Y, and its left stays left."""
    poses, places = dance(up)
    np.savez(tmp_path / "some.npz", poses=columns(poses), trans=places)
    motion = load_motion(tmp_path / "some.npz")
    assert motion.up_axis == up
    turned = to_y_up(up) @ matrices_from_axis_angle(motion.rotations[:, 0])
    assert turned[:, 1, 1].min() > 0.9 and turned[:, 0, 0].min() > 0.9
    assert np.linalg.det(to_y_up(up)) == 1
    assert load_motion(tmp_path / "some.npz", "-z").up_axis == "-Z"


def test_amass_is_z_up_whoever_lies(tmp_path):
    """Its own keys say so: a body that lies or crawls stays as it is, and what else it could be is said."""
    lying, places = dance("Y")
    keys = {
        "trans": places,
        "mocap_framerate": 120.0,
        "gender": "male",
        "betas": np.zeros(16),
        "dmpls": np.zeros((7, 8)),
    }
    np.savez(tmp_path / "amass.npz", poses=columns(lying), **keys)
    motion = load_motion(tmp_path / "amass.npz")
    assert motion.up_axis == "Z" and "the body lies then. If it should stand, set the up axis to Y" in motion.notes[-1]
    keys["trans"] = np.linspace(0, 3, 7)[:, None] * [0, 0.01, 1]  # nobody who lies goes 3 metres up
    np.savez(tmp_path / "walk.npz", poses=columns(lying), **keys)
    assert load_motion(tmp_path / "walk.npz").up_axis == "Y"
    np.savez(tmp_path / "said.npz", poses=columns(lying), **keys, up_axis="-y")
    said = load_motion(tmp_path / "said.npz")
    assert said.up_axis == "-Y" and said.notes == ()


def test_who_lies_before_a_camera_stays_lying(tmp_path):
    poses, places = dance("Z")  # head away from the camera's feet
    write_tram(tmp_path / "hps_track_0.npy", poses, places)
    assert load_motion(tmp_path / "hps_track_0.npy").up_axis == "-Y"


def test_travel_of_hundreds_of_metres_is_told(tmp_path):
    poses, places = dance("Z")
    np.savez(tmp_path / "cm.npz", poses=columns(poses), trans=places * 1000)
    assert "if that is too far, the file is in other units" in load_motion(tmp_path / "cm.npz").notes[-1]
    scaled = load_motion(tmp_path / "cm.npz", scale=0.001)
    np.testing.assert_allclose(scaled.translation, places, atol=1e-6)
    assert "too far" not in "; ".join(scaled.notes)


def places_of_joints() -> np.ndarray:  # [9, 22, 3]
    skeleton = np.cumsum(np.random.default_rng(0).normal(size=(22, 3)), 0)
    return np.stack([skeleton @ matrices_from_axis_angle(np.array([0, angle, 0])).T for angle in range(9)])


REFUSED = {
    "It holds verts, faces. Needed are 'poses'": {"verts": np.zeros((3, 3)), "faces": np.zeros((3, 3))},
    "holds the places of joints in 'poses', not rotations": {"poses": places_of_joints()},
    r"HumanML3D's features \(263 columns\)": {"poses": np.zeros((9, 263))},
    "a code of VPoser": {"body_pose": np.zeros((4, 32)), "global_orient": np.zeros((4, 3))},
    "no 'global_orient'": {"body_pose": np.zeros((4, 63))},
    "matrices that are no rotations": {"pose": np.ones((4, 24, 3, 3))},
    "six numbers a joint that are no rotation": {"pose": np.zeros((4, 24, 6))},
    "7 poses, but 'transl' of shape": {"pose": np.zeros((7, 72)), "transl": np.zeros((7, 2))},
    "'poses' that holds something else than numbers": {"poses": np.array(["a"] * 72)},
    "'Rh' and 'Th'": {"poses": np.zeros((4, 72)), "Rh": np.zeros((4, 3)), "Th": np.zeros((4, 3))},
    "a frame rate of 0.1": {"poses": np.zeros((4, 72)), "fps": 0.1},
    "a scaling of 0": {"smpl_poses": np.zeros((4, 72)), "smpl_scaling": np.zeros(1)},
    "not finite": {"poses": np.full((4, 72), 1e300)},
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_is_refused_is_told(tmp_path, sentence):
    np.savez(tmp_path / "bad.npz", **REFUSED[sentence])
    with pytest.raises(ForeignFileError, match=rf"^bad\.npz .*{sentence}"):
        load_motion(tmp_path / "bad.npz")
