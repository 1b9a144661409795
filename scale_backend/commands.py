"""The commands of `scale-backend`: their options, and what each does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
PrecisionName = Literal["auto", "float32", "mixed", "bfloat16", "float16"]


class UsageError(ValueError):
    """The command cannot be carried out as it was given. The sentence says what to do."""


@dataclass(frozen=True)
class Serve:
    """Serve Blender's add-on over a local socket. The add-on starts this; it reads its key from standard input."""

    device: DeviceName = "auto"
    """Where to decode."""
    threads: int = 0
    """CPU threads; 0 takes torch's own choice."""
    precision: PrecisionName = "auto"
    """Number format of the network; auto: the fastest that does not change the clothes, or the environment variable
    SCALE_BACKEND_PRECISION."""

    def run(self) -> int:
        from scale_backend.server import serve

        return serve(self.device, self.threads, self.precision)


@dataclass(frozen=True)
class Doctor:
    """Tell what is installed, which device would be used and why, and what to do about what is missing."""

    json: bool = False
    """Print the report as JSON."""
    device: DeviceName = "auto"
    """The device that would be asked for."""

    def run(self) -> int:
        from scale_backend.doctor import print_report

        return print_report(self.json, self.device)


@dataclass(frozen=True)
class Info:
    """Tell what a garment file holds."""

    garment: Annotated[Positional[str], arg(metavar="GARMENT")]
    """A garment file, or the name of one that ships."""

    def run(self) -> int:
        import json

        from scale_backend.assets import find_garment
        from scale_backend.garment_header import garment_summary

        print(json.dumps(garment_summary(find_garment(self.garment)), indent=1))
        return 0


@dataclass(frozen=True)
class Decode:
    """Decode a motion into one file for each frame, in the motion's own world axes."""

    garment: Annotated[Positional[str], arg(metavar="GARMENT")]
    """A garment file, or the name of one that ships."""
    motion: str
    """A motion (.npz in AMASS's format), or the name of one that ships."""
    out: Path
    """Folder for the frames; made if it is missing."""
    surface: Literal["auto", "points", "mesh"] = "auto"
    """What to write; auto: the best that the garment offers."""
    part: Literal["clothes", "whole-body"] = "clothes"
    """What to decode."""
    frames: Annotated[str, arg(metavar="A-B")] = ""
    """From frame A to frame B of the motion, both included, counted from 0; all without it."""
    format: Literal["ply", "npz"] = "ply"
    """ply: positions, normals, patch and triangles; npz: the same and UVs."""
    body: str = ""
    """A body file, for a garment whose body does not ship."""
    batch: int = 16
    """Frames at a time; halved where memory does not suffice."""
    push_out: bool = True
    """Push cloth out of the body."""
    device: DeviceName = "auto"
    """Where to decode."""
    threads: int = 0
    """CPU threads; 0 takes torch's own choice."""
    precision: PrecisionName = "auto"
    """Number format of the network; auto: the fastest that does not change the clothes."""
    overwrite: bool = False
    """Replace files that are there."""

    def run(self) -> int:
        import numpy as np
        from tqdm import tqdm

        from scale_backend.assets import find_body, find_garment, find_motion
        from scale_backend.frame_files import frame_path, write_frame
        from scale_backend.garment_header import garment_summary
        from scale_backend.motion import load_motion, matrices_from_axis_angle

        # all that can be wrong with the request is found out before torch is imported
        garment_file = find_garment(self.garment)
        summary = garment_summary(garment_file)
        body_file = find_body(self.body or summary["body"]["name"])
        motion = load_motion(find_motion(self.motion))
        surface = summary["surfaces"][0] if self.surface == "auto" else self.surface
        part = self.part.replace("-", " ")
        for kind, asked, offered in (("surface", surface, summary["surfaces"]), ("part", part, summary["parts"])):
            if asked not in offered:
                raise UsageError(f"'{summary['name']}' has no {kind} '{asked}'; it offers {', '.join(offered)}.")
        if self.batch < 1:
            raise UsageError(f"A batch of {self.batch} frames; give 1 or more.")
        first, last = frame_range(self.frames, motion.frame_count)
        paths = [frame_path(self.out, summary["name"], f, self.format) for f in range(first, last + 1)]
        prepare_folder(self.out, paths, self.overwrite)

        from scale_backend.body import load_body
        from scale_backend.decoding import decode_batches
        from scale_backend.devices import choose_device
        from scale_backend.engine import Decoder
        from scale_backend.garment import load_garment

        set_threads(self.threads)
        device = choose_device(self.device)
        print(f"{summary['name']} on {device.name}. {device.reason}", file=sys.stderr)
        decoder = Decoder(load_garment(garment_file), load_body(body_file), device.kind, self.precision)
        topology = decoder.topology(surface, part)
        chosen = slice(first, last + 1)
        rotations = matrices_from_axis_angle(motion.rotations[chosen]).astype(np.float32)
        batches = decode_batches(
            decoder, rotations, motion.translation[chosen], motion.shape, surface, part, self.push_out, self.batch
        )
        with tqdm(total=len(paths), unit="frame", file=sys.stderr) as bar:
            for start, points, normals in batches:
                for index in range(len(points)):
                    write_frame(paths[start + index], points[index], normals[index], topology)
                    bar.update()
        print(f"{len(paths)} frames, {topology['patch'].size} points each: {self.out}")
        return 0


def frame_range(text: str, count: int) -> tuple[int, int]:
    """First and last frame of "A-B" in a motion of `count` frames. Raises UsageError."""
    if not text:
        return 0, count - 1
    ends = text.split("-")
    if len(ends) > 2 or not all(end.isdecimal() for end in ends):
        raise UsageError(f"--frames {text} is no range; write A-B, as in 0-{count - 1}.")
    first, last = int(ends[0]), int(ends[-1])
    if not first <= last < count:
        raise UsageError(f"--frames {text} is not inside the motion; it has the frames 0-{count - 1}.")
    return first, last


def prepare_folder(folder: Path, paths: Sequence[Path], overwrite: bool) -> None:
    """Make the folder, see that it can be written and that nothing is lost. Raises UsageError."""
    import tempfile

    there = [path for path in paths if path.exists()]
    if there and not overwrite:
        raise UsageError(
            f"{folder} already holds {len(there)} of these frames (first: {there[0].name}); "
            "choose another folder, or replace them with --overwrite."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"{folder} cannot be written ({error.strerror}); choose another folder.") from error


def set_threads(threads: int) -> None:
    if threads < 0:
        raise UsageError(f"{threads} threads; give 1 or more, or 0 for torch's own choice.")
    if threads:
        import torch

        torch.set_num_threads(threads)
