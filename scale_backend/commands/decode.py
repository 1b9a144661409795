"""The command `decode`: a motion, or packed frames, into one file for each frame."""

from __future__ import annotations

import glob
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from scale_backend.commands.frame_sources import MotionFrames, PackedFrames, digest
from scale_backend.commands.options import DeviceName, NormalsName, PrecisionName, UsageError
from scale_backend.formats.fabric_mix import fabric_weights
from scale_backend.formats.garment_summary import GarmentSummary, garment_summary
from scale_backend.formats.strict_json import strict_json

POISSON = "poisson"
FRAME_SUFFIXES = (".ply", ".npz")


@dataclass(frozen=True)
class Decode:
    """Decode a motion, or packed frames, into one file for each frame. If it is stopped, run it again to resume.

    A motion is written in its own world axes, or with the axis up that --axes names; which it is, is printed. Packed
    frames are decoded where their scans stood, if they say where.
    """

    garment: Annotated[Positional[str], arg(metavar="GARMENT")]
    """A garment file, or the name of one that ships."""
    out: Path
    """Folder for the frames; made if it is missing."""
    motion: str = ""
    """A motion, or the name of one that ships: a file of AMASS or of the programs that docs/motions.md names, or a
    folder of a pose a file."""
    axes: Literal["motion", "Y", "Z"] = "motion"
    """Which way is up in what is written: as in the motion, Y as in SMPL, or Z as in Blender."""
    up_axis: Literal["", "Y", "Z", "-Y", "-Z"] = ""
    """Which way is up in the motion, where its file does not say and what is assumed is wrong."""
    person: str = ""
    """Who, in a motion with several people; the one with most poses without it."""
    betas: bool = False
    """Take the body shape of the motion too. It is right for the very body model that it was made with."""
    packed: Path | None = None
    """Instead of a motion: a folder of packed frames (SCALE's .npz). Nothing is pushed out of the body then, as in the
    release."""
    every: int = 1
    """Every Nth packed frame."""
    surface: str = "auto"
    """What to write, points or mesh for instance; auto: the best that the garment offers, for packed frames points.
    poisson: a mesh through the points of each frame, with another topology in each."""
    part: Literal["clothes", "whole-body"] = "clothes"
    """What to decode."""
    normals: NormalsName = "faces"
    """Of a surface with faces: theirs, or those that the network gives. Points have the network's."""
    fabric: str = ""
    """Of a garment that was trained on several: which of them it is made of; the first without it."""
    mixed_with: str = ""
    """Another fabric that it is made of in part."""
    mix: float = 0.5
    """How much of that other fabric there is, from 0 to 1."""
    at_rest: bool = False
    """Let the cloth hang at rest in each pose, as if nothing had moved."""
    frames: Annotated[str, arg(metavar="A-B")] = ""
    """From frame A to frame B of the motion, both included, counted from 0; all without it."""
    format: Literal["ply", "npz"] = "ply"
    """ply: positions, normals, colours, patch and triangles, and for points of packed frames a file coloured by normals
    and one by patch; npz: the same and UVs."""
    body: str = ""
    """A body file, for a garment whose body does not ship."""
    batch: int = 16
    """Frames at a time; halved when memory runs out."""
    push_out: bool = True
    """Push cloth out of the body."""
    device: DeviceName = "auto"
    """Where to decode."""
    threads: int = 0
    """CPU threads; 0 takes torch's own choice."""
    precision: PrecisionName = "auto"
    """Number format of the network; auto: the fastest that does not change the clothes."""
    overwrite: bool = False
    """Decode and replace the frames that are there already."""

    def run(self) -> int:
        from tqdm import tqdm

        from scale_backend.formats.assets import find_body, find_garment

        # all that can be wrong with the request is found out before torch is imported
        garment_file = find_garment(self.garment)
        summary = garment_summary(garment_file)
        body_file = find_body(self.body or summary.body_name, garment_file)
        surface, part = self._surface(summary), self.part.replace("-", " ")
        check_offer(summary, "surface", surface, [*summary.surfaces, POISSON])
        check_offer(summary, "part", part, summary.parts)
        for fabric in filter(None, (self.fabric, self.mixed_with)):
            check_offer(summary, "fabric", fabric, list(summary.fabrics))
        if not 0 <= self.mix <= 1:
            raise UsageError(f"A mix is from 0 to 1, not {self.mix}.")
        if self.batch < 1:
            raise UsageError(f"A batch of {self.batch} frames; give 1 or more.")
        if surface == POISSON:
            from scale_backend.reconstruction.meshlab import pymeshlab

            pymeshlab()
        frames = self._source(summary)
        files = [frames.files(self.out, summary.name, number, surface) for number in range(len(frames))]
        fabrics = fabric_weights(summary.fabrics, self.fabric, self.mixed_with, self.mix)
        request = {"garment": digest(garment_file), "body": digest(body_file), "source": frames.stamp(),
                   "surface": surface, "part": part, "normals": self.normals, "push_out": self.push_out,
                   "fabrics": list(fabrics), "at_rest": self.at_rest, "precision": self.precision,
                   "device": self.device}  # fmt: skip
        missing = prepare_folder(self.out, summary.name, request, files, self.overwrite)
        if len(missing) < len(files):
            print(f"{len(files) - len(missing)} of {len(files)} frames are there already.", file=sys.stderr)
        if not missing:
            print(f"{len(files)} frames: {self.out}")
            return 0

        from scale_backend.decoding.decoder import Decoder
        from scale_backend.formats.poses import DecodeOptions
        from scale_backend.geometry.body import load_body
        from scale_backend.machine.devices import choose_device
        from scale_backend.model.garment import load_garment
        from scale_backend.reconstruction.poisson import reconstructed

        set_threads(self.threads)
        device = choose_device(self.device)
        for note in (*frames.notes, f"{summary.name} on {device.name}. {device.reason}"):
            print(note, file=sys.stderr)
        decoder = Decoder(load_garment(garment_file), load_body(body_file), device.kind, self.precision)
        decoded_surface = "points" if surface == POISSON else surface
        topology = decoder.topology(decoded_surface, part)
        begin_folder(self.out, summary.name, request, [files[number] for number in missing])
        options = DecodeOptions(decoded_surface, part, self.push_out, self.normals, fabrics=fabrics)
        with tqdm(total=len(missing), unit="frame", file=sys.stderr) as bar:
            for number, points, normals, colors in frames.decoded(decoder, missing, options):
                if surface == POISSON:
                    frames.write(files[number], *reconstructed(points, normals, colors, topology.patch))
                else:
                    frames.write(files[number], points, normals, colors, topology)
                bar.update()
        kind = "vertices" if len(topology.triangles) else "points"
        through = "meshes through " if surface == POISSON else ""
        print(f"{len(files)} frames of {through}{topology.patch.size:,} {kind}: {self.out}")
        return 0

    def _surface(self, summary: GarmentSummary) -> str:
        if self.surface != "auto":
            return self.surface
        return "points" if self.packed is not None else summary.surfaces[0]

    def _source(self, summary: GarmentSummary) -> MotionFrames | PackedFrames:
        if bool(self.motion) == (self.packed is not None):
            raise UsageError("Say what to decode: a motion with --motion, or packed frames with --packed.")
        if self.packed is None:
            if self.every != 1:
                raise UsageError("--every is for packed frames; choose a motion's frames with --frames A-B.")
            return MotionFrames.read(self)
        if self.axes != "motion" or self.up_axis or self.person or self.betas:
            raise UsageError(
                "--axes, --up-axis, --person and --betas are for motions; packed frames have none of them."
            )
        if self.frames or self.every < 1:
            raise UsageError("Packed frames are chosen with --every, 1 or more; --frames is for motions.")
        return PackedFrames.read(self, summary.network)


def check_offer(summary: GarmentSummary, kind: str, asked: str, offered: Sequence[str]) -> None:
    if asked not in offered:
        raise UsageError(f"'{summary.name}' has no {kind} '{asked}'; it offers {', '.join(offered)}.")


def prepare_folder(
    folder: Path, name: str, request: dict, files: Sequence[Sequence[Path]], overwrite: bool
) -> list[int]:
    """Make the folder, see that it can be written and that nothing is lost; the numbers of the frames to decode.

    What was asked for stands beside the frames: those of the same request are kept. Raises UsageError.
    """
    otherwise = _read_record(record_path(folder, name)) != request
    there = [path for paths in files for path in paths if path.exists()]
    if there and not overwrite and otherwise:
        raise UsageError(
            f"{folder} already holds {len(there)} files of these names that were made with other settings (first: "
            f"{there[0].name}); choose another folder, or replace them with --overwrite."
        )
    asked = {path for paths in files for path in paths}
    others = [p for p in folder.glob(f"{glob.escape(name)}_*") if p.suffix in FRAME_SUFFIXES and p not in asked]
    if others and otherwise:
        raise UsageError(
            f"{folder} also holds {len(others)} frames that were not asked for and were made with other settings "
            f"(first: {min(others).name}); they would be taken for frames of this request. Choose another folder, "
            "or delete them."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"{folder} cannot be written ({error.strerror}); choose another folder.") from error
    return [n for n, paths in enumerate(files) if overwrite or not all(path.exists() for path in paths)]


def begin_folder(folder: Path, name: str, request: dict, files: Sequence[Sequence[Path]]) -> None:
    """Write down what was asked for; what is to be decoded again goes, else, stopped half-way, it would pass for new.

    Raises UsageError.
    """
    from scale_backend.formats.frame_files import write_whole

    try:
        for paths in files:
            for path in paths:
                path.unlink(missing_ok=True)
        write_whole(record_path(folder, name), json.dumps(request, indent=1).encode())
    except OSError as error:
        raise UsageError(f"{folder} cannot be written ({error.strerror}); choose another folder.") from error


def record_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.decode.json"


def _read_record(path: Path) -> object:
    try:
        return strict_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def set_threads(threads: int) -> None:
    if threads < 0:
        raise UsageError(f"{threads} threads; give 1 or more, or 0 for torch's own choice.")
    if threads:
        import torch

        torch.set_num_threads(threads)
