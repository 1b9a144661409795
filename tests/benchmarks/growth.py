"""How decoding time grows: with frames, points a patch, the map's size, and the network's. Random weights."""

from __future__ import annotations

import resource
import sys
from dataclasses import replace

import numpy as np
import torch

from scale_backend.decoding.batches import decode_batches
from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.assets import asset_folder, find_motion
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.formats.motions import load_motion
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.body import load_body
from scale_backend.model.garment import load_garment
from tests.benchmarks.decoding import STANDARD, engine, random_poses
from tests.benchmarks.report import Row, seconds
from tests.making import make_garment, random_network


def rows(repeats: int) -> list[Row]:
    return [*of_frames(), *of_points(repeats), *of_maps(repeats), *of_networks(repeats), *of_garments(repeats)]


def of_frames() -> list[Row]:
    """A short bake and one of ten times the length."""
    decoder = Decoder(make_garment("garment", **STANDARD), load_body("neutral"), precision="auto")
    found, memory = [], []
    for frames in (32, 320):
        poses = random_poses(32).repeat(frames // 32, 1, 1, 1).numpy()

        def bake(poses=poses) -> None:
            for _ in decode_batches(decoder, Poses(poses), DecodeOptions("mesh", "clothes")):
                pass

        time = seconds(bake, 2, 1) / frames
        memory.append(peak_memory())
        found.append(Row(f"bake of {frames} frames, a frame", 1e3 * time, "ms"))
    return [*found, Row("memory that ten times the frames take more", memory[1] - memory[0], "MiB", "0")]


def peak_memory() -> float:  # MiB, of this process so far
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def of_points(repeats: int) -> list[Row]:
    return [of_size(f"{n} points a patch", {"points_per_patch": n}, repeats) for n in (4, 16, 64)]


def of_maps(repeats: int) -> list[Row]:
    return [
        of_size(f"map of {n} x {n}, 4 points a patch", {"map_size": n, "points_per_patch": 4}, repeats)
        for n in (32, 64, 128)
    ]


def of_size(name: str, settings: dict[str, int], repeats: int) -> Row:
    """A frame of the standard network with some settings changed."""
    fast, pose = engine(make_garment("body", **settings, **STANDARD), "auto"), random_poses(1)
    points = fast(pose)[0].shape[1]
    time = seconds(lambda: fast(pose), repeats)
    note = f"{1e6 * time / points:.2f} ms for 1,000 points"
    return Row(f"{name} ({points} points)", 1e3 * time, "ms", "", note)


def of_networks(repeats: int) -> list[Row]:
    """What a cheaper network saves: the mesh of the dress that ships, with random weights. No errors are known here."""
    found = []
    dress, pose = load_garment(asset_folder() / "garments" / "dress.safetensors"), random_poses(1)
    for activation in ("softplus", "silu"):
        for hidden in (64, 128, 256):
            for width in (16, 32):
                settings = replace(dress.network.settings, unet_width=width, hidden=hidden, activation=activation)
                decoder = Decoder(replace(dress, network=random_network(settings)), load_body("neutral"), "cpu", "auto")
                time = seconds(
                    lambda decoder=decoder: decoder.decode(Poses(pose), DecodeOptions(push_out=False)), repeats
                )
                name = f"dress, {activation}, hidden {hidden}, nf {width}"
                found.append(Row(name, 1e3 * time, "ms", "", decoder.precision))
    return found


def of_garments(repeats: int) -> list[Row]:
    """The garments that ship, on each surface they offer: poses of a dance, cloth pushed out of the body."""
    motion = load_motion(find_motion("dance"))
    poses = torch.from_numpy(matrices_from_axis_angle(motion.rotations[:64]).astype(np.float32))
    found = []
    for file in sorted((asset_folder() / "garments").glob("*.safetensors")):
        garment = load_garment(file)
        decoder = Decoder(garment, load_body(garment.body_name), "cpu", "auto")
        part = garment.metadata()["parts"][0]
        for surface in [s for s in garment.metadata()["surfaces"] if s != "poisson"]:  # another topology in every frame
            count = len(decoder.topology(surface, part).patch)
            options = DecodeOptions(surface, part)
            one = seconds(lambda o=options, d=decoder: d.decode(Poses(poses[:1]), o), repeats)
            many = seconds(lambda o=options, d=decoder: d.decode(Poses(poses[:16]), o), max(2, repeats // 4), 1) / 16
            name = f"{file.stem}, {surface} ({count} points, {decoder.precision})"
            found.append(Row(f"{name}, one frame", 1e3 * one, "ms", "10" if surface == "mesh" else ""))
            found.append(Row(f"{name}, a frame of a batch of 16", 1e3 * many, "ms"))
    return found
