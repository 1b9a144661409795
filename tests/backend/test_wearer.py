"""Decoding on wearers, in the process and over the wire."""

import numpy as np
import pytest
import torch

from scale_backend.client.backend import BackendCancelled, BackendError
from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.assets import find_garment, find_motion
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.body import load_body, skin
from scale_backend.model.garment import load_garment
from scale_backend.wearer.fit import fit
from scale_backend.wearer.mesh import triangle_normals
from tests.strangers import depths, fitted_tee, makehuman, someone


@pytest.fixture(scope="module")
def body():
    return load_body("neutral")


@pytest.fixture(scope="module")
def decoder(body):
    return Decoder(load_garment(find_garment("tee-trousers")), body)


def dance(*frames: int) -> torch.Tensor:  # [F, 24, 3, 3]
    with np.load(find_motion("dance")) as motion:
        return torch.from_numpy(matrices_from_axis_angle(motion["poses"][list(frames)].reshape(-1, 24, 3))).float()


def test_on_the_garments_own_body_nothing_changes(decoder):
    worn = decoder.worn(fitted_tee("own"))
    rotations, translation = dance(40, 160), torch.tensor([[0.1, 0.2, 0.3], [1.0, 0.0, 0.0]])
    plain, _ = decoder.decode(Poses(rotations, translation))
    points, normals = worn.decode(Poses(rotations, translation))
    away = (points - 0.5 - plain).norm(dim=-1)
    assert away.mean() < 0.002
    assert away.flatten().sort().values[-10] < 0.01  # the skin itself is a little coarser
    assert (normals.norm(dim=-1) - 1).abs().max() < 1e-4


@pytest.mark.parametrize("who", ["heavy", "garmentcode", "official"])
def test_a_stranger_is_dressed(body, decoder, who):
    """At most one vertex in a hundred deeper than 2 mm in the wearer's own mesh, which moves by its own weights, and no
    triangle stretched beyond 1.6 times its area."""
    wearer = someone(body, who)
    worn = decoder.worn(fitted_tee(who))
    rotations = dance(30, 120, 250)
    translation = torch.zeros(3, 3)
    points, _ = worn.decode(Poses(rotations, translation))
    transforms = worn.model.fit.joint_transforms(rotations, translation)[:, :22]
    bodies = skin(torch.from_numpy(wearer.vertices)[None], torch.from_numpy(wearer.weights), transforms)
    for points_now, skin_now in zip(points.numpy(), bodies.numpy(), strict=True):
        assert (depths(points_now, skin_now, wearer.triangles) > 0.002).mean() < 0.01
    triangles = worn.topology().triangles
    rest = np.linalg.norm(triangle_normals(decoder.model.host_carrier.template.numpy(), triangles), axis=1)
    for points_now in points.numpy():
        stretch = np.linalg.norm(triangle_normals(points_now, triangles), axis=1) / rest / worn.model.fit.report.size**2
        assert stretch.max() < 1.6
    unpushed, _ = worn.decode(Poses(rotations, translation), DecodeOptions(push_out=False))
    assert (unpushed - points).abs().max() > 1e-4  # the wearer's skin did something


def test_each_wearer_has_its_own_body_in_every_fabric(decoder):
    """What is kept of a fabric is of one wearer."""
    named, rotations = DecodeOptions(fabrics=(1.0,)), Poses(dance(100))
    one, other = decoder.worn(fitted_tee("heavy")), decoder.worn(fitted_tee("base"))
    decoder.decode(rotations, named)
    for worn in (one, other, decoder):
        assert torch.equal(worn.decode(rotations, named)[0], worn.decode(rotations)[0])


def test_frames_do_not_depend_on_each_other(decoder):
    worn = decoder.worn(fitted_tee("base"))
    rotations = dance(0, 50, 100)
    together, _ = worn.decode(Poses(rotations))
    alone, _ = worn.decode(Poses(rotations[1:2]))
    assert torch.equal(together[1:2], alone)
    assert worn.topology() is decoder.topology()


def test_a_giant_wears_the_same_folds(body, decoder):
    """Twice as large in everything: the same clothes, twice as large."""
    plain = someone(body, "base")
    giant = plain.of_arrays(plain.arrays() | {"joints": 2 * plain.joints, "vertices": 2 * plain.vertices})
    small, large = (decoder.worn(f) for f in (fitted_tee("base"), fit(body, decoder.model.host_carrier, giant)))
    rotations = dance(70)
    points = [worn.decode(Poses(rotations), DecodeOptions(push_out=False))[0] for worn in (small, large)]
    assert (points[1] - 2 * points[0]).abs().max() < 0.01


def test_a_garment_on_the_body_itself_is_worn_too(body):
    """The paper's kind: patches on the skin."""
    wearer = someone(body, "child")
    decoder = Decoder(load_garment(find_garment("dress-body")), body)
    worn = decoder.worn(fit(body, decoder.model.host_carrier, wearer))
    rotations = dance(30)
    points, _ = worn.decode(Poses(rotations), DecodeOptions(surface="points"))
    plain, _ = decoder.decode(Poses(rotations), DecodeOptions(surface="points"))
    transforms = worn.model.fit.joint_transforms(rotations, torch.zeros(1, 3))[:, :22]
    skin_now = skin(torch.from_numpy(wearer.vertices)[None], torch.from_numpy(wearer.weights), transforms)[0]
    assert (depths(points[0].numpy(), skin_now.numpy(), wearer.triangles) > 0.002).mean() < 0.01
    tall = [float(np.ptp(x[0, :, 1].numpy())) for x in (points, plain)]
    assert 0.7 < tall[0] / tall[1] < 0.85


def test_over_the_wire(backend, body, decoder):
    garment = backend.open_garment(find_garment("tee-trousers"))["id"]
    wearer = someone(body, "heavy")
    heard = []
    worn, report = backend.fit(garment, wearer, lambda done, total: heard.append(done / total) or True)
    assert heard == sorted(heard) and 0 < heard[0] < heard[-1] < 1
    assert report.gap < 0.003 and report.unmatched < 0.02 and report.parts == ()
    heard.clear()
    assert backend.fit(garment, wearer, lambda *_: heard.append(1) or True) == (worn, report)
    assert not heard  # it was known
    rotations = dance(60).numpy()
    points, _ = backend.decode(worn, Poses(rotations))
    expected = decoder.worn(fitted_tee("heavy")).decode(Poses(rotations))[0]
    assert np.abs(points - expected.numpy()).max() < 2e-3
    plain, _ = backend.decode(garment, Poses(rotations))
    assert np.abs(plain - points).max() > 0.05
    assert backend.topology(worn).triangles.shape == backend.topology(garment).triangles.shape


def test_a_fit_can_be_cancelled_and_refused(backend, body):
    garment = backend.open_garment(find_garment("tee-trousers"))["id"]
    with pytest.raises(BackendCancelled):
        backend.fit(garment, makehuman(body, person="thin"), lambda *_: False)
    with pytest.raises(BackendError, match="needs the arrays joints"):
        backend._ask("fit", {"rotations": np.zeros(3)}, garment=garment)
    with pytest.raises(BackendError, match="is not open in this backend"):
        backend.fit("none", makehuman(body))
    assert backend.alive
