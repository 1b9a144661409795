"""What the command `decode` decodes: the frames of a motion, or a folder of packed frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from scale_backend.commands.options import UsageError
from scale_backend.formats.topology import Topology

WINDOWS = 512  # frames whose earlier moments are in memory at once

if TYPE_CHECKING:
    import numpy as np

    from scale_backend.decoding.decoder import Decoder
    from scale_backend.formats.motion import Motion
    from scale_backend.formats.poses import DecodeOptions, Poses
    from scale_backend.formats.window import Window

    # number among the frames asked for, points, normals [M, 3], colours [M, 3] in 0..1 where the garment has them
    Decoded = tuple[int, np.ndarray, np.ndarray, np.ndarray | None]


class Request(Protocol):
    """What the command line asks for; scale_backend/commands/decode.py says what each is."""

    @property
    def motion(self) -> str: ...

    @property
    def axes(self) -> str: ...

    @property
    def up_axis(self) -> str: ...

    @property
    def person(self) -> str: ...

    @property
    def betas(self) -> bool: ...

    @property
    def frames(self) -> str: ...

    @property
    def packed(self) -> Path | None: ...

    @property
    def every(self) -> int: ...

    @property
    def format(self) -> str: ...

    @property
    def push_out(self) -> bool: ...

    @property
    def at_rest(self) -> bool: ...

    @property
    def batch(self) -> int: ...

    @property
    def normals(self) -> str: ...


@dataclass(frozen=True)
class MotionFrames:
    """The frames of a motion."""

    path: Path
    motion: Motion  # from its first frame on: cloth feels what was before
    asked: range  # of its frames
    shape: np.ndarray | None  # [S]; None: the body's own
    down: np.ndarray  # [3] in the motion's world
    turn: np.ndarray  # [3, 3] from there to the one that is written
    notes: tuple[str, ...]  # what was assumed, which axis is up in what is written, and what is left out
    request: Request

    @classmethod
    def read(cls, request: Request) -> MotionFrames:
        from scale_backend.formats.assets import find_motion
        from scale_backend.formats.motion import OWN_MODEL
        from scale_backend.formats.motions import load_motion
        from scale_backend.formats.motions.axes import to_y_up

        path = Path(request.motion)
        path = path if path.exists() else find_motion(request.motion)
        motion = load_motion(path, request.up_axis or None, person=request.person)
        written = motion.up_axis if request.axes == "motion" else request.axes
        notes = [*motion.notes, f"frames are written with {written} up"]
        shape = motion.shape if request.betas or motion.model == OWN_MODEL else None
        if shape is None and motion.shape.any():
            whose = f"are of a body of the model {motion.model}" if motion.model else "are of another body"
            notes.append(f"its body shape is left out, as betas {whose}; take them with --betas where it is this one")
        first, last = frame_range(request.frames, motion.frame_count)
        upright, told = to_y_up(motion.up_axis), (f"{path.name}: {'; '.join(notes)}.",)
        turn = to_y_up(written).T @ upright
        return cls(path, motion, range(first, last + 1), shape, -upright[1], turn, told, request)

    def __len__(self) -> int:
        return len(self.asked)

    def stamp(self) -> str:
        files = sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]
        chosen = (self.request.axes, self.request.up_axis, self.request.person, self.request.betas)
        return "-".join(map(str, (*(digest(file) for file in files if file.is_file()), *chosen)))

    def files(self, folder: Path, name: str, number: int, surface: str) -> list[Path]:
        from scale_backend.formats.frame_files import frame_path

        return [frame_path(folder, name, self.asked[number], self.request.format)]

    def decoded(self, decoder: Decoder, chosen: list[int], options: DecodeOptions) -> Iterator[Decoded]:
        import numpy as np
        import torch

        from scale_backend.decoding.batches import decode_batches
        from scale_backend.decoding.colors import decode_colors
        from scale_backend.formats.motion import matrices_from_axis_angle

        rotations, turn = matrices_from_axis_angle(self.motion.rotations).astype(np.float32), np.float32(self.turn)
        colors, window = None, decoder.model.garment.window
        for begin in range(0, len(chosen), WINDOWS):
            numbers = chosen[begin : begin + WINDOWS]
            poses = self._poses(rotations, np.array([self.asked[number] for number in numbers]), window)
            for start, points, normals in decode_batches(decoder, poses, options, self.request.batch):
                for index in range(len(points)):
                    frame = start + index
                    if decoder.model.network.settings.colors:
                        alone = torch.from_numpy(poses.rotations[frame : frame + 1])
                        colors = decode_colors(decoder, alone, options)[0].numpy()
                    turned = (values[index] @ turn.T for values in (points, normals))
                    yield numbers[frame], *turned, colors

    def _poses(self, rotations: np.ndarray, frames: np.ndarray, window: Window) -> Poses:
        """Some frames, with what a garment sees beside the pose. Before the motion's first frame its pose was held."""
        import numpy as np

        from scale_backend.formats.poses import Poses
        from scale_backend.formats.window import moments

        places = self.motion.translation
        past: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
        if window.lags and not self.request.at_rest:
            times = np.arange(len(rotations)) / self.motion.frame_rate
            past = moments(rotations, places, times, window.lags, frames)
        down = np.tile(self.down, (len(frames), 1)) if window.gravity else None
        return Poses(rotations[frames], places[frames], self.shape, *past, down)

    def write(
        self,
        files: list[Path],
        points: np.ndarray,
        normals: np.ndarray,
        colors: np.ndarray | None,
        topology: Topology,
    ) -> None:
        from scale_backend.formats.frame_files import write_frame

        write_frame(files[0], points, normals, topology, colors)


@dataclass(frozen=True)
class PackedFrames:
    """A folder of packed frames."""

    folder: Path
    paths: list[Path]
    names: list[str]
    map_size: int
    colored: bool
    request: Request
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, request: Request, network: dict) -> PackedFrames:
        from scale_backend.decoding.packed_poses import frame_name, packed_files, read_packed_pose

        assert request.packed is not None  # what these frames are chosen by
        paths = packed_files(request.packed, request.every)
        names = [frame_name(path) for path in paths]
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if twice:
            raise UsageError(f"Several frames in {request.packed} are called '{twice[0]}'; pack them again.")
        read_packed_pose(paths[0], network["map_size"])  # what is wrong with one is often wrong with all
        return cls(request.packed, paths, names, network["map_size"], network.get("colors", False), request)

    def __len__(self) -> int:
        return len(self.paths)

    def stamp(self) -> str:
        return str(self.folder.resolve())

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

    def write(
        self,
        files: list[Path],
        points: np.ndarray,
        normals: np.ndarray,
        colors: np.ndarray | None,
        topology: Topology,
    ) -> None:
        from scale_backend.formats.frame_files import write_frame
        from scale_backend.formats.point_files import NORMAL_SUFFIX, write_results

        if len(files) == 1:
            write_frame(files[0], points, normals, topology, colors)
        else:
            stem = files[0].name.removesuffix(NORMAL_SUFFIX)
            write_results(files[0].parent, stem, points, normals, topology.patch, colors)


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


def digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()
