"""The command `decode`: a motion, or packed frames, into one file for each frame."""

from __future__ import annotations

import glob
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from scale_backend.commands.options import DeviceName, NormalsName, PrecisionName, UsageError

if TYPE_CHECKING:
    import numpy as np

    from scale_backend.decoding.decoder import Decoder
    from scale_backend.formats.poses import DecodeOptions

    # number among the frames asked for, points, normals [M, 3], colours [M, 3] in 0..1 where the garment has them
    Decoded = tuple[int, np.ndarray, np.ndarray, np.ndarray | None]

FRAME_SUFFIXES = (".ply", ".npz")


@dataclass(frozen=True)
class Decode:
    """Decode a motion, or packed frames, into one file for each frame. If it is stopped, run it again to resume.

    A motion is decoded in its own world axes. Packed frames are decoded where their scans stood, if they say where.
    """

    garment: Annotated[Positional[str], arg(metavar="GARMENT")]
    """A garment file, or the name of one that ships."""
    out: Path
    """Folder for the frames; made if it is missing."""
    motion: str = ""
    """A motion (.npz in AMASS's format), or the name of one that ships."""
    packed: Path | None = None
    """Instead of a motion: a folder of packed frames (SCALE's .npz). Nothing is pushed out of the body then, as in the
    release."""
    every: int = 1
    """Every Nth packed frame."""
    surface: str = "auto"
    """What to write, points or mesh for instance; auto: the best that the garment offers, for packed frames points."""
    part: Literal["clothes", "whole-body"] = "clothes"
    """What to decode."""
    normals: NormalsName = "faces"
    """Of a surface with faces: theirs, or those that the network gives. Points have the network's."""
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
        from scale_backend.formats.garment_header import garment_summary

        # all that can be wrong with the request is found out before torch is imported
        garment_file = find_garment(self.garment)
        summary = garment_summary(garment_file)
        body_file = find_body(self.body or summary["body"]["name"], garment_file)
        surface, part = self._surface(summary), self.part.replace("-", " ")
        check_offer(summary, "surface", surface, summary["surfaces"])
        check_offer(summary, "part", part, summary["parts"])
        if self.batch < 1:
            raise UsageError(f"A batch of {self.batch} frames; give 1 or more.")
        frames = self._source(summary)
        files = [frames.files(self.out, summary["name"], number, surface) for number in range(len(frames))]
        request = {"garment": digest(garment_file), "body": digest(body_file), "source": frames.stamp(),
                   "surface": surface, "part": part, "normals": self.normals, "push_out": self.push_out,
                   "precision": self.precision, "device": self.device}  # fmt: skip
        missing = prepare_folder(self.out, summary["name"], request, files, self.overwrite)
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

        set_threads(self.threads)
        device = choose_device(self.device)
        print(f"{summary['name']} on {device.name}. {device.reason}", file=sys.stderr)
        decoder = Decoder(load_garment(garment_file), load_body(body_file), device.kind, self.precision)
        topology = decoder.topology(surface, part)
        begin_folder(self.out, summary["name"], request, [files[number] for number in missing])
        options = DecodeOptions(surface, part, self.push_out, self.normals)
        with tqdm(total=len(missing), unit="frame", file=sys.stderr) as bar:
            for number, points, normals, colors in frames.decoded(decoder, missing, options):
                frames.write(files[number], points, normals, colors, topology)
                bar.update()
        kind = "vertices" if len(topology["triangles"]) else "points"
        print(f"{len(files)} frames of {topology['patch'].size:,} {kind}: {self.out}")
        return 0

    def _surface(self, summary: dict) -> str:
        if self.surface != "auto":
            return self.surface
        return "points" if self.packed is not None else summary["surfaces"][0]

    def _source(self, summary: dict) -> MotionFrames | PackedFrames:
        if bool(self.motion) == (self.packed is not None):
            raise UsageError("Say what to decode: a motion with --motion, or packed frames with --packed.")
        if self.packed is None:
            if self.every != 1:
                raise UsageError("--every is for packed frames; choose a motion's frames with --frames A-B.")
            return MotionFrames.read(self)
        if self.frames or self.every < 1:
            raise UsageError("Packed frames are chosen with --every, 1 or more; --frames is for motions.")
        return PackedFrames.read(self, summary["network"])


@dataclass(frozen=True)
class MotionFrames:
    """The frames of a motion."""

    path: Path
    first: int
    rotations: np.ndarray  # [F, J, 3] axis-angle
    translation: np.ndarray  # [F, 3]
    shape: np.ndarray  # [S]
    request: Decode

    @classmethod
    def read(cls, request: Decode) -> MotionFrames:
        from scale_backend.formats.assets import find_motion
        from scale_backend.formats.motions import load_motion

        path = find_motion(request.motion)
        motion = load_motion(path)
        first, last = frame_range(request.frames, motion.frame_count)
        chosen = slice(first, last + 1)
        return cls(path, first, motion.rotations[chosen], motion.translation[chosen], motion.shape, request)

    def __len__(self) -> int:
        return len(self.rotations)

    def stamp(self) -> str:
        return digest(self.path)

    def files(self, folder: Path, name: str, number: int, surface: str) -> list[Path]:
        from scale_backend.formats.frame_files import frame_path

        return [frame_path(folder, name, self.first + number, self.request.format)]

    def decoded(self, decoder: Decoder, chosen: list[int], options: DecodeOptions) -> Iterator[Decoded]:
        import numpy as np
        import torch

        from scale_backend.decoding.batches import decode_batches
        from scale_backend.decoding.colors import decode_colors
        from scale_backend.formats.motion import matrices_from_axis_angle
        from scale_backend.formats.poses import Poses

        rotations = matrices_from_axis_angle(self.rotations[chosen]).astype(np.float32)
        poses, colors = Poses(rotations, self.translation[chosen], self.shape), None
        for start, points, normals in decode_batches(decoder, poses, options, self.request.batch):
            for index in range(len(points)):
                frame = start + index
                if decoder.model.network.settings.colors:
                    alone = torch.from_numpy(rotations[frame : frame + 1])
                    colors = decode_colors(decoder, alone, options)[0].numpy()
                yield chosen[frame], points[index], normals[index], colors

    def write(self, files: list[Path], points, normals, colors, topology: dict[str, np.ndarray]) -> None:
        from scale_backend.formats.frame_files import write_frame

        write_frame(files[0], points, normals, topology, colors)


@dataclass(frozen=True)
class PackedFrames:
    """A folder of packed frames."""

    paths: list[Path]
    names: list[str]
    map_size: int
    colored: bool
    request: Decode

    @classmethod
    def read(cls, request: Decode, network: dict) -> PackedFrames:
        from scale_backend.decoding.packed_poses import frame_name, packed_files, read_packed_pose

        paths = packed_files(request.packed, request.every)
        names = [frame_name(path) for path in paths]
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if twice:
            raise UsageError(f"Several frames in {request.packed} are called '{twice[0]}'; pack them again.")
        read_packed_pose(paths[0], network["map_size"])  # what is wrong with one is often wrong with all
        return cls(paths, names, network["map_size"], network.get("colors", False), request)

    def __len__(self) -> int:
        return len(self.paths)

    def stamp(self) -> str:
        return str(self.request.packed.resolve())

    def files(self, folder: Path, name: str, number: int, surface: str) -> list[Path]:
        stem = f"{name}_{self.names[number]}"
        if self.request.format == "npz" or surface != "points":
            return [folder / f"{stem}.{self.request.format}"]
        from scale_backend.formats.point_files import NORMAL_SUFFIX, PATCH_SUFFIX, TEXTURE_SUFFIX

        suffixes = (NORMAL_SUFFIX, PATCH_SUFFIX, *([TEXTURE_SUFFIX] if self.colored else []))
        return [folder / f"{stem}{suffix}" for suffix in suffixes]

    def decoded(self, decoder: Decoder, chosen: list[int], options: DecodeOptions) -> Iterator[Decoded]:
        from scale_backend.decoding.packed_poses import decode_packed, read_packed_pose

        for number in chosen:
            pose = read_packed_pose(self.paths[number], self.map_size)
            points, normals, colors = decode_packed(decoder, pose, options)
            yield number, *pose.in_place(points, normals), colors

    def write(self, files: list[Path], points, normals, colors, topology: dict[str, np.ndarray]) -> None:
        from scale_backend.formats.frame_files import write_frame
        from scale_backend.formats.point_files import NORMAL_SUFFIX, write_results

        if len(files) == 1:
            write_frame(files[0], points, normals, topology, colors)
        else:
            stem = files[0].name.removesuffix(NORMAL_SUFFIX)
            write_results(files[0].parent, stem, points, normals, topology["patch"], colors)


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


def check_offer(summary: dict, kind: str, asked: str, offered: Sequence[str]) -> None:
    if asked not in offered:
        raise UsageError(f"'{summary['name']}' has no {kind} '{asked}'; it offers {', '.join(offered)}.")


def digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


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
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def set_threads(threads: int) -> None:
    if threads < 0:
        raise UsageError(f"{threads} threads; give 1 or more, or 0 for torch's own choice.")
    if threads:
        import torch

        torch.set_num_threads(threads)
