"""Files of cloth in motion, and the command that records them."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from training.frames.sequences import (
    ClothGarment,
    Sequence,
    SequenceError,
    read_garment,
    read_sequence,
    write_garment,
    write_sequence,
)
from training.simulate import record
from training.simulate.cutting import cut_garment, dress_pins, with_carrier
from training.simulate.mesh_tools import ClosedSurface, Mesh, border_loops
from training.simulate.motion import Motion
from training.simulate.record import RecordSettings, find_body, find_fault, run
from training.simulate.skinning import skin_body
from training.simulate.skirt_blouse import WAIST
from training.simulate.worn import graded, posed, shaped


@pytest.fixture(scope="module")
def dress(garments, skinned_body) -> ClothGarment:
    garment = garments["dress"]
    return with_carrier(garment, dress_pins(garment.mesh), skinned_body, 0.02)


def test_files_read_back_as_they_were(tmp_path, dress):
    write_garment(tmp_path / "garment.npz", dress)
    again = read_garment(tmp_path / "garment.npz")
    for field in fields(ClothGarment):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(dress, field.name))
    zeros = np.zeros((3, 4, 3), np.float32)
    sequence = Sequence(zeros, zeros[:, 0], np.ones(10, np.float32), "cotton", 30.0, zeros + 1, 1, "walk", (1, 5))
    write_sequence(tmp_path / "walk.npz", sequence)
    read = read_sequence(tmp_path / "walk.npz")
    assert (read.fabric, read.fps, read.first, read.kind, read.seed) == ("cotton", 30.0, 1, "walk", (1, 5))
    np.testing.assert_array_equal(read.vertices, sequence.vertices)
    assert len(read) == 3


def test_files_that_are_none_are_told(tmp_path):
    with pytest.raises(SequenceError, match="missing"):
        read_sequence(tmp_path / "missing.npz")
    np.savez(tmp_path / "other.npz", pose=np.zeros(3))
    with pytest.raises(SequenceError, match="simulate it again"):
        read_sequence(tmp_path / "other.npz")
    exploded = np.full((1, 2, 3), np.nan, np.float32)
    with pytest.raises(SequenceError, match="exploded"):
        write_sequence(
            tmp_path / "bad.npz",
            Sequence(exploded, exploded[0], exploded[0, 0], "silk", 30.0, exploded, 0, "sit", (1,)),
        )
    assert not (tmp_path / "bad.npz").exists()


def test_a_dress_hangs_from_neckline_and_armholes_alone(dress):
    assert 0.02 < dress.pins.mean() < 0.1
    assert dress.vertices[dress.pins, 1].min() > dress.vertices[:, 1].max() - 0.3
    np.testing.assert_allclose(dress.blend_weights.sum(1), 1, atol=1e-5)
    assert dress.uv.min() >= 0
    assert dress.uv.max() <= 1


def test_a_wide_skirt_hangs_from_a_waistband(skinned_body):
    garment = cut_garment("skirt-blouse", skinned_body, 0.03)
    waist = np.abs(garment.vertices[:, 1] - WAIST) < 0.02
    assert garment.pins[waist].all()
    assert 0.02 < garment.pins.mean() < 0.15  # coarse: at 16 mm it is 0.04
    body = ClosedSurface(Mesh(skinned_body.vertices, skinned_body.triangles))
    assert body.distance(garment.vertices.astype(float))[0].min() > 0.002
    loops = border_loops(garment.triangles.astype(np.int64))
    hem = garment.vertices[min(loops, key=lambda loop: garment.vertices[loop, 1].mean())]
    assert np.linalg.norm(np.diff(hem, axis=0), axis=1).sum() > 2.8  # metres: it swings
    with pytest.raises(SequenceError, match="no garment"):
        cut_garment("cape", skinned_body, 0.03)


@pytest.mark.parametrize("component", [0, 1])
@pytest.mark.parametrize("amount", [-2.0, 2.0])
def test_the_garment_is_graded_with_the_body(dress, skinned_body, component, amount):
    betas = np.zeros(10)
    betas[component] = amount
    wearer = shaped(skinned_body, betas)
    mesh = graded(dress, betas)
    distance, _ = ClosedSurface(Mesh(wearer.body.vertices, wearer.body.triangles)).distance(mesh.vertices)
    assert np.percentile(distance, 1) > 0.004
    plain = shaped(skinned_body, np.zeros(10))
    assert np.ptp(wearer.body.vertices[:, 1]) != pytest.approx(np.ptp(plain.body.vertices[:, 1]), abs=0.005)
    still = Motion(np.zeros((1, 24, 3)), np.zeros((1, 3)))
    np.testing.assert_allclose(posed(wearer, still, mesh.vertices, dress.blend_weights)[0], mesh.vertices, atol=1e-6)
    placed = posed(plain, still, skinned_body.vertices, skinned_body.blend_weights)[0]
    np.testing.assert_allclose(placed, skin_body(skinned_body, still.pose[0]) + skinned_body.joints[0], atol=1e-9)


def test_torn_cloth_is_found(dress):
    rest = dress.vertices.astype(float)
    assert find_fault(rest[None], rest, dress.triangles) == ""
    assert "torn" in find_fault(3 * rest[None], rest, dress.triangles)
    assert find_fault(np.full_like(rest, np.nan)[None], rest, dress.triangles) == "not finite"


def test_a_body_that_has_gone_through_is_found(dress, skinned_body):
    wearer = shaped(skinned_body, np.zeros(10))
    still = Motion(np.zeros((1, 24, 3)), np.zeros((1, 3)))
    worn = dress.vertices[None, ~dress.pins].astype(float)
    assert find_body(wearer, still, worn) == ""
    assert "gone through" in find_body(wearer, still, worn - [0, 0, 0.05])


def test_recording_goes_on_where_it_stopped(tmp_path, dress, skinned_body, monkeypatch):
    monkeypatch.setattr(record, "SECONDS", 0.2)
    monkeypatch.setattr(record, "LEAD", 4)
    write_garment(tmp_path / "garment.npz", dress)
    settings = RecordSettings(tmp_path, fabrics=("cotton",), count=1)
    run(settings)
    (path,) = (tmp_path / "train").glob("*.npz")
    written = path.stat().st_mtime_ns
    run(replace(settings, count=2))
    assert path.stat().st_mtime_ns == written
    report = json.loads((tmp_path / "train-report.json").read_text())
    assert [entry["outcome"] for entry in report.values()] == ["kept", "kept"]
    sequence = read_sequence(path)
    assert sequence.vertices.shape == (10, len(dress.vertices), 3)
    assert sequence.kind == "wander"
    np.testing.assert_allclose(sequence.pose[0, 1:], 0, atol=1e-6)  # it begins in the T-pose, as it was cut
    wearer = shaped(skinned_body, sequence.betas.astype(float))
    first = Motion(sequence.pose[:1].astype(float), sequence.translation[:1].astype(float))
    cut = posed(wearer, first, graded(dress, wearer.betas).vertices, dress.blend_weights)[0]
    np.testing.assert_allclose(sequence.vertices[0], cut, atol=1e-5)


@pytest.mark.parametrize(("change", "says"), [({"part": "tests"}, "no part"), ({"fabrics": ("tweed",)}, "no fabric")])
def test_settings_that_cannot_be_used_are_told(tmp_path, change, says):
    with pytest.raises(SequenceError, match=says):
        run(replace(RecordSettings(tmp_path), **change))
