"""A garment laid onto bodies that are not ours."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scale_backend.formats.assets import find_garment
from scale_backend.formats.joints import BODY, SMPL_PARENTS
from scale_backend.formats.wearer import Wearer, WearerError
from scale_backend.geometry.body import load_body
from scale_backend.geometry.rotations import matrix_from_axis_angle
from scale_backend.model.garment import load_garment
from scale_backend.wearer import fit as fitting
from scale_backend.wearer.fit import template_of
from scale_backend.wearer.mesh import Surface, edges_of, refined, triangle_normals, vertex_normals
from scale_backend.wearer.placing import size_ratio
from scale_backend.wearer.registration import FACING, register
from scale_backend.wearer.thinning import thinned
from tests.strangers import borders, depths, fitted_tee, same_vertices, someone


@pytest.fixture(scope="module")
def body():
    return load_body("neutral")


@pytest.fixture(scope="module")
def carrier(body):
    return load_garment(find_garment("tee-trousers")).carrier_on(body)


@pytest.fixture(scope="module")
def child(body):
    return someone(body, "child")


@pytest.fixture(scope="module")
def fitted():
    return fitted_tee("child")


def test_on_its_own_body_a_garment_stays_as_it_is(carrier):
    found = fitted_tee("own")
    away = (found.template - 0.5 - carrier.template).norm(dim=1)
    assert away.mean() < 1e-3
    assert away.max() < 8e-3
    assert (found.blend_weights - carrier.blend_weights).abs().max() < 0.02
    assert found.report.size == pytest.approx(1, abs=1e-5)
    assert found.report.gap < 2e-4
    assert not found.report.parts


def test_the_body_finds_its_skin_on_another(body, child):
    """Our body's vertices are some of MakeHuman's: where each belongs is known."""
    template, vertices = template_of(body), child.vertices.astype(np.float64)
    size = size_ratio(template.joints, child.joints.astype(np.float64))
    surface = Surface(vertices, child.triangles.astype(np.int64), FACING * size)
    laid = register(template, child.joints.astype(np.float64), surface, size)
    known, theirs = same_vertices()
    clothed = ~np.isin(template.weights.argmax(1), [15, 20, 21, 22, 23, 10, 11])[known]
    away = np.linalg.norm(laid.vertices[known] - vertices[theirs], axis=1)[clothed]
    assert away.mean() < 0.01 * size
    assert np.percentile(away, 99) < 0.035 * size
    assert laid.contact.distance[known][clothed].mean() < 0.002
    before, after = (triangle_normals(v, template.triangles) for v in (body.template.numpy(), laid.vertices))
    limbs = (template.weights[:, [1, 2, 4, 5]].sum(1) > 0.99)[template.triangles].all(1)
    assert ((before * after).sum(1)[limbs] > 0).all()  # nothing is folded over


def test_cloth_is_carried_over(body, carrier, child, fitted):
    triangles = carrier.triangles.numpy()
    carried, rest = (x.numpy().astype(np.float64) for x in (fitted.template, carrier.template))
    assert depths(carried, child.vertices, child.triangles).max() < -0.001  # all of it is outside
    area = [np.linalg.norm(triangle_normals(x, triangles), axis=1) for x in (carried, rest)]
    stretch = area[0] / area[1] / fitted.report.size**2
    assert stretch.max() < 1.6
    assert 0.85 < area[0].sum() / area[1].sum() / fitted.report.size**2 < 1.2
    assert fitted.report.gap < 0.002
    assert fitted.report.unmatched < 0.01
    assert 0.7 < fitted.report.size < 0.8
    weights = fitted.blend_weights
    assert weights.min() >= 0 and (weights.sum(1) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("who", ["child", "garmentcode", "official"])
def test_borders_stay_where_they_are_on_the_body(body, carrier, who):
    fitted = fitted_tee(who)
    away = borders(body, carrier, fitted, someone(body, who))
    assert set(away) == {"neck", "left sleeve", "right sleeve", "waist", "left hem", "right hem"}
    assert max(away.values()) < 0.02 * fitted.report.size, away


def test_a_dense_mesh_is_thinned_out_first(body, carrier, child, fitted, monkeypatch):
    monkeypatch.setattr(fitting, "DENSE", 10_000)
    again = fitting.fit(body, carrier, child)
    away = (again.template - fitted.template).norm(dim=1)
    assert 0 < away.mean() < 0.002
    assert away.max() < 0.02


def test_a_skeleton_poses_the_cloth(body, fitted):
    """At the wearer's own rest pose nothing moves; a bent elbow moves no trousers."""
    rest = torch.eye(3).repeat(1, 24, 1, 1)
    for joint, parent in enumerate(SMPL_PARENTS):
        rest[0, joint] = fitted.turns[joint] if parent < 0 else fitted.turns[parent].T @ fitted.turns[joint]
    transforms = fitted.joint_transforms(rest)
    assert (transforms - torch.eye(4)).abs().max() < 1e-5
    bent = rest.clone()
    bent[0, BODY.index("left_elbow")] @= torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    moved = (fitted.joint_transforms(bent) - transforms).abs().amax((0, 2, 3))
    assert set(moved.nonzero()[:, 0].tolist()) == {18, 20, 22}


def test_a_mesh_is_refined_and_thinned(child):
    vertices, triangles = child.vertices.astype(np.float64), child.triangles.astype(np.int64)
    finer, cut, weights = refined(vertices, triangles, child.weights.astype(np.float64), 0.012)
    edges, count = edges_of(cut)
    assert np.linalg.norm(finer[edges[:, 0]] - finer[edges[:, 1]], axis=1).max() <= 0.012
    assert (count == 2).all()
    assert abs(weights.sum(1) - 1).max() < 1e-6
    area = [np.linalg.norm(triangle_normals(*mesh), axis=1).sum() for mesh in ((vertices, triangles), (finer, cut))]
    assert area[0] == pytest.approx(area[1])
    chosen, corners = thinned(finer, cut, 0.02)
    assert len(chosen) < len(finer) / 3
    assert np.linalg.norm(triangle_normals(finer[chosen], corners), axis=1).sum() == pytest.approx(area[0], rel=0.05)
    facing = vertex_normals(finer, cut)[chosen]
    assert ((triangle_normals(finer[chosen], corners) * facing[corners].sum(1)).sum(1) >= 0).all()
    used = np.unique(corners)
    normals = vertex_normals(finer[chosen], corners)[used]
    limbs = np.isin(child.weights.argmax(1), [1, 2, 4, 5, 16, 17, 18, 19])
    smooth = chosen[used] < len(vertices)
    on_limbs = np.flatnonzero(smooth)[limbs[chosen[used][smooth]]]
    assert (normals * facing[used]).sum(1)[on_limbs].min() > 0.5  # of each vertex on a limb: cloth is pushed along it


def test_skin_that_does_not_twist_leaves_it_to_what_hangs_on_it():
    """As if the twist of thigh and upper arm were one of knee and elbow; the joints stay where they are."""
    own = fitted_tee("own")
    whole, apart = torch.eye(3).repeat(2, 3, 24, 1, 1)
    for joint, child in ((1, 4), (16, 18)):
        along = (own.joints[child] - own.joints[joint]) / (own.joints[child] - own.joints[joint]).norm()
        swings = torch.linalg.cross(torch.randn(3, 3, generator=torch.manual_seed(joint)), along.expand(3, 3), dim=1)
        swing, twist = (matrix_from_axis_angle(each) for each in (swings, torch.tensor([[0.0], [0.6], [-1.5]]) * along))
        bend = matrix_from_axis_angle(torch.randn(3, 3))
        whole[:, joint], whole[:, child] = swing @ twist, bend
        apart[:, joint], apart[:, child] = swing, twist @ bend
    found = replace(own, untwisted=(1, 16)).joint_transforms(whole)
    assert (found - own.joint_transforms(apart)).abs().max() < 1e-5
    assert (found - own.joint_transforms(whole))[1:, [1, 16]].abs().max() > 0.3


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("joints", np.zeros((3, 3)), "joints have the shape"),
        ("joints", np.zeros((22, 3)), "scale"),
        ("vertices", np.full((300, 3), np.nan), "not finite"),
        ("vertices", np.zeros((20, 3)), "no body"),
        ("triangles", np.full((10, 3), 900), "triangles"),
        ("weights", np.zeros((300, 22)), "shares of one"),
        ("turns", np.zeros((22, 3, 3)), "no rotations"),
        ("untwisted", np.zeros(3), "untwisted have the shape"),
    ],
)
def test_what_is_no_wearer_is_refused(name, wrong, said):
    weights = np.zeros((300, 22))
    weights[:, 0] = 1
    good = Wearer.of_arrays(
        {
            "joints": np.random.default_rng(0).random((22, 3)),
            "turns": np.tile(np.eye(3), (22, 1, 1)),
            "vertices": np.zeros((300, 3)),
            "triangles": np.tile([0, 1, 2], (10, 1)),
            "weights": weights,
        }
    )
    arrays = good.arrays() | {name: wrong}
    if name == "vertices":
        arrays["weights"] = weights[: len(wrong)]
    with pytest.raises(WearerError, match=said):
        Wearer.of_arrays(arrays)
    assert Wearer.of_arrays(good.arrays()).digest == good.digest
    plain = {key: array for key, array in good.arrays().items() if key != "untwisted"}
    assert Wearer.of_arrays(plain).digest == good.digest
    assert replace(good, vertices=good.vertices + 1).digest != good.digest
