"""What a GPU would run, on the CPU: whole batches, no k-d trees, recorded decodes. No GPU has run it yet."""

from dataclasses import replace

import pytest
import torch

from scale_backend.decoding.decoder import Decoder, decode_world
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.body import load_body
from scale_backend.machine.cuda_graph import Replay, to_host
from tests.backend.test_precision import poses
from tests.making import make_garment


def gpu_form(kind: str) -> Decoder:
    decoder = Decoder(make_garment(kind), load_body("neutral"))
    decoder.model = replace(decoder.model, tiled=False, unet=None)
    return decoder


@pytest.mark.parametrize(("kind", "surface"), [("garment", "mesh"), ("garment", "points"), ("body", "points")])
def test_whole_batches_equal_tiles(kind, surface):
    rotations, shape = poses(3), torch.linspace(-1, 1, 10)
    expected = Decoder(make_garment(kind), load_body("neutral")).decode(
        Poses(rotations, shape=shape), DecodeOptions(surface)
    )
    decoded = gpu_form(kind).decode(Poses(rotations, shape=shape), DecodeOptions(surface))
    assert (decoded[0] - expected[0]).abs().max() < 1e-5
    assert (decoded[1] - expected[1]).abs().max() < 1e-3


@pytest.mark.parametrize(("kind", "surface"), [("garment", "mesh"), ("body", "points")])
def test_nothing_is_read_back_from_the_device(kind, surface):
    """On the meta device there is nothing to read: a decode that asks for a value fails."""
    decoder = Decoder(make_garment(kind), load_body("neutral"), "meta")
    prepared = decoder.prepare(surface, "clothes")
    inputs = [torch.empty(shape, device="meta") for shape in ((2, 24, 3, 3), (2, 3), (2, 10))]
    for given in (inputs[:2], inputs):
        points, normals = decode_world(decoder.model, prepared, DecodeOptions(surface), Poses(*given))
        assert points.shape == normals.shape == (2, len(decoder.topology(surface).patch), 3)


@torch.inference_mode()
def test_a_recorded_decode_follows_its_inputs():
    decoder = gpu_form("garment")
    prepared = decoder.prepare("mesh", "clothes")
    rotations, translation = poses(4), torch.zeros(1, 3)

    def world(*inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return decode_world(decoder.model, prepared, DecodeOptions(), Poses(*inputs))

    replay = Replay(world, (rotations[:1], translation))
    for frame in range(4):
        decoded = to_host(replay(rotations[frame : frame + 1], translation))
        expected = world(rotations[frame : frame + 1], translation)
        assert torch.equal(decoded[0], expected[0]) and torch.equal(decoded[1], expected[1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU of NVIDIA")
@pytest.mark.parametrize(("kind", "surface"), [("garment", "mesh"), ("body", "points")])
def test_cuda_equals_the_cpu(kind, surface):
    garment, body, rotations = make_garment(kind), load_body("neutral"), poses(3)
    expected = Decoder(garment, body).decode(Poses(rotations), DecodeOptions(surface))
    decoder = Decoder(garment, body, "cuda", "auto")
    for _ in range(3):  # plainly, recorded, replayed
        points, normals = decoder.decode(Poses(rotations), DecodeOptions(surface))
        distance = (points - expected[0]).norm(dim=-1).flatten()
        assert distance.kthvalue(int(0.999 * len(distance))).values < 0.0002 and distance.max() < 0.001
        assert (normals * expected[1]).sum(-1).clamp(-1, 1).acos().rad2deg().mean() < 2
