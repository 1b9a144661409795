"""Simulated motion for training: every frame with the moments before it, gravity, body shape and fabric.

What the network sees is made anew for each batch: kept for all frames, maps and local frames would take five times the
memory of the cloth itself.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scale_backend.coarse.coarse_cloth import CoarseCloth, coarse_cloth
from scale_backend.coarse.sheet import CoarseSettings, CoarseSheet
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.formats.window import Window
from scale_backend.geometry.articulation import VertexRings, vertex_frames, vertex_normals, vertex_rings
from scale_backend.geometry.body import Body, shaped_vertices
from scale_backend.geometry.carrier import Carrier, pose_carrier
from scale_backend.geometry.positional_map import surface_points
from scale_backend.geometry.window_maps import Past, earlier_transforms, falls, pixel_skin, window_maps
from scale_backend.machine.cores import shared_cores
from training.config import ConfigError, Recipe
from training.frames.mirror import MirrorMap, mirror_map, mirrored_sequence
from training.frames.raw_frames import RawFramesError
from training.frames.sequences import Sequence, read_garment, read_sequence
from training.learning.dataset import ClothFrames, Groundwork, PosedFrames

COARSE_CHUNK = 16  # frames whose coarse cloth falls at once
PARTS = {"val": "held-out"}  # folders of splits that bear another name


@dataclass(frozen=True)
class Motion:
    """N frames of cloth out of motions of R frames, on the groundwork's device."""

    rotations: Tensor  # [R, J, 3, 3] local, the root's in the world
    translation: Tensor  # [R, 3] metres
    frame: Tensor  # [N] int64, into the R
    past: Tensor  # [N, L] int64, into the R: the frame of each earlier moment
    shape: Tensor  # [N, S]
    fabric: Tensor  # [N] int64
    vertices: Tensor  # [N, V, 3] metres, in the world

    def __len__(self) -> int:
        return len(self.frame)


def moving_carrier(folder: Path, body: Body) -> Carrier:
    """The garment of a folder of sequences as a carrier. Raises ConfigError where it belongs to another body."""
    garment = read_garment(folder / "garment.npz")
    if garment.body_digest != body.digest:
        raise ConfigError(f"The cloth in {folder} was simulated on the body '{garment.body_name}', not on "
                          f"'{body.name}'; name that body in the recipe or simulate again.")  # fmt: skip
    floats = (garment.vertices, garment.blend_weights, garment.shape_components, garment.uv)
    vertices, weights, shapes, uv = (torch.from_numpy(np.asarray(array, np.float32)) for array in floats)
    triangles, uv_triangles = (
        torch.from_numpy(np.asarray(array, np.int64)) for array in (garment.triangles, garment.uv_triangles)
    )
    region = torch.from_numpy(np.asarray(garment.region, np.uint8))
    return Carrier("garment", vertices, triangles, weights, shapes, uv, uv_triangles, region, garment.region_names)


def moving_coarse(folder: Path, recipe: Recipe) -> CoarseSheet | None:
    """The coarse mesh of a folder's garment, where the recipe has one."""
    if not recipe.coarse:
        return None
    from training.learning.coarse_sheet import coarse_sheet

    return coarse_sheet(read_garment(folder / "garment.npz"), recipe.coarse)


def coarse_settings(window: Window) -> CoarseSettings:
    """It falls from the earliest moment of the window."""
    return CoarseSettings(seconds=max(window.lags)) if window.coarse else CoarseSettings()


def read_moving_frames(groundwork: Groundwork, recipe: Recipe, split: str) -> MovingFrames:
    """The sequences of a split (`train`, or `val`: the held-out ones) on the groundwork's device.

    Raises RawFramesError where there is none.
    """
    folder = Path(recipe.data) / PARTS.get(split, split)
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise RawFramesError(f"{folder} has no sequences of cloth in motion: make some with scale-train record.")
    device = groundwork.body.template.device
    sequences = read_sequences(
        paths, mirror_map(read_garment(folder.parent / "garment.npz")) if recipe.mirror else None
    )
    motion = motion_of(sequences, recipe.lags, recipe.fabrics, device)
    return MovingFrames(groundwork, motion, recipe.window, len(recipe.fabrics))


def read_sequences(paths: Iterable[Path], mirror: MirrorMap | None = None) -> Iterator[Sequence]:
    """One after the other, each followed by its mirror image where there is a map."""
    for path in paths:
        sequence = read_sequence(path)
        yield sequence
        if mirror is not None:
            yield mirrored_sequence(sequence, mirror)


def motion_of(
    sequences: Iterable[Sequence], lags: tuple[float, ...], fabrics: tuple[str, ...], device: str | torch.device = "cpu"
) -> Motion:
    """Those of the named fabrics. Raises ConfigError where there is none."""
    parts: dict[str, list[Tensor]] = {field.name: [] for field in fields(Motion)}
    start = 0
    for sequence in sequences:
        if sequence.fabric not in fabrics:
            continue
        count, first = len(sequence), sequence.first
        frames = torch.arange(first, count)
        parts["rotations"].append(torch.from_numpy(matrices_from_axis_angle(sequence.pose).astype(np.float32)))
        parts["translation"].append(torch.from_numpy(np.asarray(sequence.translation, np.float32)))
        parts["frame"].append(frames + start)
        parts["past"].append(earlier_frames(frames, sequence.fps, lags) + start)
        shape = torch.from_numpy(np.asarray(sequence.betas, np.float32))
        parts["shape"].append(shape.expand(len(frames), -1))
        parts["fabric"].append(torch.full((len(frames),), fabrics.index(sequence.fabric)))
        parts["vertices"].append(torch.from_numpy(np.asarray(sequence.vertices[first:], np.float32)))
        start += count
    if not start:
        raise ConfigError(f"There is no cloth in motion of {' or '.join(fabrics)}; simulate it, or name other fabrics.")
    return Motion(**{name: torch.cat(part).to(device) for name, part in parts.items()})


def earlier_frames(frames: Tensor, fps: float, lags: tuple[float, ...]) -> Tensor:  # [N] -> [N, L] int64
    """The frames nearest to the moments of some frames of a sequence. Before its start all stood as it then did."""
    back = torch.tensor([round(lag * fps) for lag in lags], dtype=torch.long)
    return (frames[:, None] - back).clamp_min(0)


class MovingFrames:
    """As `dataset.ClothFrames` to who asks for some of them."""

    def __init__(self, groundwork: Groundwork, motion: Motion, window: Window, fabrics: int = 1):
        carrier, layout = groundwork.carrier, groundwork.layout
        self.groundwork, self.motion, self.window, self.fabrics = groundwork, motion, window, fabrics
        self.names = tuple(f"frame-{number:06d}" for number in range(len(motion)))
        self.triangles = carrier.triangles
        self.corners = carrier.triangles[layout.triangle_index.clamp_min(0).flatten()]
        self.weights = layout.barycentrics.flatten(0, 1)
        self.skin = self._skin(carrier.template[None])
        self.rings: VertexRings = vertex_rings(carrier.triangles, len(carrier.template))
        self.coarse = self._coarse()
        self.fallen = None if self.coarse is None else self._fallen(self.coarse)
        self.displaced = None
        if self.coarse is not None and self.fallen is not None:
            self.displaced = self._displaced(self.coarse, self.fallen)

    def __len__(self) -> int:
        return len(self.motion)

    @property
    def vertices(self) -> Tensor:
        return self.motion.vertices

    @torch.no_grad()
    def at(self, chosen: Tensor) -> ClothFrames:  # [B] frames
        """In the space of training: without the root's turn, the pelvis at the origin."""
        motion, body = self.motion, self.groundwork.body
        now, shape = motion.frame[chosen], motion.shape[chosen]
        rotations, translation = motion.rotations[now], motion.translation[now]
        pelvis = body.rest_joints(shape)[:, 0]
        truth = (motion.vertices[chosen] - (pelvis + translation)[:, None]) @ rotations[:, 0]
        earlier = motion.past[chosen]
        past = Past(motion.rotations[earlier], motion.translation[earlier])
        fallen = None
        if self.coarse is not None and self.displaced is not None:
            fallen = self.coarse.on_carrier(self.displaced[chosen])
        posed = self.posed(rotations, translation, shape, past, fallen)
        return ClothFrames(posed, truth, vertex_normals(truth, self.rings), self.triangles, (), motion.fabric[chosen])

    def posed(
        self, rotations: Tensor, translation: Tensor, shape: Tensor, past: Past, fallen: Tensor | None = None
    ) -> PosedFrames:
        """What the network sees of these poses; of coarse cloth, how far it has fallen [F, V, 3]."""
        body, carrier, rest = self.groundwork.body, self.groundwork.carrier, self.groundwork.rest
        local = rotations.clone()
        local[:, 0] = torch.eye(3, device=local.device)
        pelvis = body.rest_joints(shape)[:, 0].expand(len(local), 3)
        base = pose_carrier(carrier, body, local, -pelvis, shape)
        skin = None
        if self.window.shape:
            seen = base
            if fallen is None:
                skin = self._skin(shaped_vertices(carrier.template, carrier.shape_components, shape))
        else:
            seen, skin = pose_carrier(carrier, body, local, -body.mean_joints[:1].expand(len(local), 3)), self.skin
        now = surface_points(seen, self.corners, self.weights)
        known = shape if self.window.shape else None
        pixels = None if fallen is None else surface_points(fallen, self.corners, self.weights)
        maps = window_maps(now, rotations, translation, past, skin, body, self.window, known, fallen=pixels)
        base = base if fallen is None else base + fallen
        size = self.groundwork.layout.size
        return PosedFrames(rotations, maps.mT.unflatten(2, (size, size)), base, vertex_frames(base, rest))

    def _coarse(self) -> CoarseCloth | None:
        sheet = self.groundwork.coarse
        if sheet is None:
            return None
        device = self.groundwork.body.template.device
        body, settings = self.groundwork.body.to("cpu"), coarse_settings(self.window)
        return coarse_cloth(sheet.to("cpu"), settings, body, self.window.lags, self.fabrics).to(device)

    def corrected(self, groundwork: Groundwork) -> MovingFrames:
        """The same frames on a groundwork whose coarse cloth has learned what it lacks."""
        other = copy.copy(self)
        other.groundwork, other.coarse = groundwork, None
        other.coarse = other._coarse()
        if other.coarse is not None and self.fallen is not None:
            other.displaced = other._displaced(other.coarse, self.fallen)
        return other

    @torch.no_grad()
    def _displaced(self, coarse: CoarseCloth, fallen: Tensor) -> Tensor:  # [N, C, 3]
        """Corrected, each frame in its fabric."""
        if coarse.sheet.correction is None:
            return fallen
        parts = []
        for chosen in torch.arange(len(fallen)).to(fallen.device).split(COARSE_CHUNK):
            fabrics = torch.nn.functional.one_hot(self.motion.fabric[chosen], self.fabrics).float()
            parts.append(coarse.corrected(fallen[chosen], *self.seen_by_coarse(chosen), fabrics))
        return torch.cat(parts)

    def seen_by_coarse(self, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:  # [B] frames
        """The joints' transforms at all moments [B, L + 1, J, 3, 4], what is down [B, 3], the body's shape [B, S]."""
        motion, body = self.motion, self.groundwork.body
        now, earlier = motion.frame[chosen], motion.past[chosen]
        shape = motion.shape[chosen] if self.window.shape else None
        rotations, translation = motion.rotations[now], motion.translation[now]
        pasts = (
            Past(motion.rotations[earlier], motion.translation[earlier]),
            Past(rotations[:, None], translation[:, None]),
        )
        seen = [earlier_transforms(rotations, translation, past, body, shape) for past in pasts]
        return torch.cat(seen, 1), falls(rotations, None), shape

    @torch.no_grad()
    def _fallen(self, coarse: CoarseCloth) -> Tensor:  # [N, C, 3]
        """Of all frames, once: a window costs some milliseconds."""
        motion = self.motion
        chunks = torch.arange(len(motion)).to(motion.frame.device).split(COARSE_CHUNK)

        def fall(chosen: Tensor) -> Tensor:
            return coarse.fallen(*self.seen_by_coarse(chosen))

        cores = shared_cores(torch.get_num_threads() if motion.frame.device.type == "cpu" else 1)
        with cores.alone():
            return torch.cat(cores.map(fall, chunks))

    def _skin(self, vertices: Tensor) -> Tensor:  # [F, V, 3] the carrier at rest
        return pixel_skin(vertices, self.groundwork.carrier.blend_weights, self.corners, self.weights)
