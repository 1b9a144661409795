"""Training on scans without correspondence: the paper's case. Scan points come from packed frames, or are sampled anew
in every step from raw frames on the training device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scale_backend.formats.arrays_file import read_arrays
from scale_backend.formats.foreign_file import ForeignFileError
from scale_backend.formats.whole_files import write_npz
from scale_backend.geometry.body import Body, pose_vertices
from scale_backend.model.network import ScaleNetwork
from training.config import Recipe
from training.frames.clothed_body import ClothedBody, clothed_body, sample_scan
from training.frames.packed_frames import packed_paths
from training.frames.raw_frames import RawFrames, RawGarment, read_garment, read_split
from training.geometry.nearest import nearest_index
from training.learning.dataset import Groundwork, PosedFrames, generator, pose_frames, spread
from training.learning.losses import chamfer_terms
from training.learning.plain_decoding import Decoded, decode_points, point_queries
from training.learning.scan_shards import ScanPoints, ScanShards, read_shards

LABEL_FRAMES = 48  # frames that vote on which points are cloth
MOST_FRAMES = 1 << 16  # of a batch: each of its frames has random numbers of its own


@dataclass(frozen=True)
class RawScans:
    """Scans sampled from simulated frames on demand."""

    surface: ClothedBody
    cloth: Tensor  # [F, C, 3]
    visible: Tensor  # [F, B] bool
    rotations: Tensor  # [F, J, 3, 3]
    groundwork: Groundwork

    def sample(self, chosen: Tensor, count: int, random: Sequence[torch.Generator]) -> ScanPoints:
        """A generator a frame."""
        body = self.groundwork.body
        translation = -body.mean_joints[:1].expand(len(chosen), 3)
        skin = pose_vertices(body, self.rotations[chosen], translation)
        return ScanPoints(*sample_scan(self.surface, self.cloth[chosen], skin, self.visible[chosen], count, random))


class ScanChamfer:
    """Supervision by nearest neighbours in both directions."""

    def __init__(
        self,
        groundwork: Groundwork,
        posed: PosedFrames,
        scans: RawScans | ScanShards,
        recipe: Recipe,
        names: tuple[str, ...],
    ):
        self.groundwork, self.posed, self.scans, self.recipe, self.names = groundwork, posed, scans, recipe, names
        self.device = posed.maps.device
        self.queries = point_queries(groundwork, recipe.network)
        self.workers = torch.get_num_threads()

    def __len__(self) -> int:
        return len(self.posed)

    @property
    def colored(self) -> bool:
        """Whether the scans have colours to learn."""
        return isinstance(self.scans, ScanShards) and self.scans.colors is not None

    def terms(
        self, network: ScaleNetwork, chosen: Tensor, step: int, with_normals: bool = True, first: int = 0
    ) -> dict[str, Tensor]:
        """Loss terms of the chosen frames [B] at `grid_points` random points of every patch; normals always.

        first: the first frame's number in the whole batch, of which other processes have other parts.
        """
        decoded = self.decode(network, chosen, self.pick(step))
        assert decoded.normals is not None
        scan = self.sample(chosen, step, first)
        terms = chamfer_terms(
            decoded.points, decoded.normals, scan.points, scan.normals, self.workers, decoded.colors, scan.colors
        )
        return terms | {"residual": decoded.offset.square().mean()}

    def sample(self, chosen: Tensor, step: int, first: int = 0) -> ScanPoints:
        """Scan points of the chosen frames in a step."""
        random = [generator(self.recipe.seed, step * MOST_FRAMES + first + k, 2) for k in range(len(chosen))]
        return self.scans.sample(chosen, self.recipe.scan_points, random)

    def pick(self, step: int) -> Tensor:  # [P grid_points] queries
        count = self.recipe.network.points_per_patch
        patches = len(self.queries) // count
        kept = min(count, self.recipe.grid_points)
        order = torch.rand(patches, count, generator=generator(self.recipe.seed, step, 1)).argsort(1)[:, :kept]
        return (torch.arange(patches)[:, None] * count + order).flatten().to(self.device)

    def decode(self, network: ScaleNetwork, chosen: Tensor, picked: Tensor) -> Decoded:
        return decode_points(network, self.groundwork, self.posed, chosen, self.queries[picked], self.recipe.precision)

    @torch.no_grad()
    def cloth_flags(self, network: ScaleNetwork) -> Tensor | None:  # [P N] bool
        """Which points are cloth: the label of the nearest scan point, by majority over training frames."""
        votes = torch.zeros(len(self.queries), device=self.device)
        chosen = torch.linspace(0, len(self) - 1, min(LABEL_FRAMES, len(self))).round().long()
        every = torch.arange(len(self.queries), device=self.device)
        for frame in chosen.to(self.device).split(1):
            scan = self.scans.sample(frame, self.recipe.scan_points, [generator(self.recipe.seed, 0, 3)])
            if scan.cloth is None:
                return None
            points = self.decode(network, frame, every).points[0]
            votes += scan.cloth[0][nearest_index(points, scan.points[0], self.workers)].float()
        return (votes > len(chosen) / 2).cpu()


def read_scans(groundwork: Groundwork, recipe: Recipe, out: Path, split: str = "train") -> ScanChamfer:
    """A split of a raw or a packed folder. Raises UserError where it is neither.

    out: the training's folder, which keeps what takes long to find out: the skin that is visible in raw frames (a fifth
    of a second a frame), the points of packed frames.
    """
    folder, part = Path(recipe.data), "" if split == "train" else f"-{split}"
    if (folder / "garment.npz").is_file():
        return _read_raw(groundwork, recipe, folder, out / f"visible-skin{part}.npz", split)
    paths = packed_paths(folder, split, recipe.data_spacing)
    if recipe.frames is not None and len(paths) > recipe.frames:
        paths = [paths[i] for i in np.linspace(0, len(paths) - 1, recipe.frames).round().astype(int)]
    scans, posed, names = read_shards(paths, groundwork, out / f"scans{part}")
    return ScanChamfer(groundwork, posed, scans, recipe, names)


def _read_raw(groundwork: Groundwork, recipe: Recipe, folder: Path, cache: Path, split: str) -> ScanChamfer:
    raw, frames = read_garment(folder), spread(read_split(folder, split), recipe.frames)
    body, device = groundwork.body, groundwork.body.template.device
    posed = pose_frames(groundwork, frames.pose)
    visible = torch.from_numpy(visible_of_frames(groundwork.to("cpu").body, raw, frames, cache)).to(device)
    cloth = torch.from_numpy(frames.vertices).to(device)
    faces = torch.from_numpy(raw.triangles.astype(np.int64))
    surface = clothed_body(faces, cloth.shape[1], body.triangles.cpu(), len(body.template)).to(device)
    scans = RawScans(surface, cloth, visible, posed.rotations, groundwork)
    return ScanChamfer(groundwork, posed, scans, recipe, frames.names)


def visible_of_frames(
    body: Body, raw: RawGarment, frames: RawFrames, cache: Path | None = None
) -> np.ndarray:  # [F, B] bool
    """Visible skin of each frame; what the cache file knows by name is taken from there."""
    from tqdm import tqdm

    from scale_backend.formats.motion import matrices_from_axis_angle
    from training.geometry.visibility import visible_skin

    known: dict[str, np.ndarray] = {}
    if cache is not None and cache.is_file():
        known = _known_visible(cache, len(body.template))
    rotations = torch.from_numpy(matrices_from_axis_angle(frames.pose).astype(np.float32))
    result = np.zeros((len(frames), len(body.template)), bool)
    for i in tqdm(range(len(frames)), desc="visible skin", disable=all(name in known for name in frames.names)):
        if frames.names[i] in known:
            result[i] = known[frames.names[i]]
            continue
        skin = pose_vertices(body, rotations[i : i + 1], -body.mean_joints[:1])[0].numpy()
        result[i] = visible_skin(skin, body.triangles.numpy(), frames.vertices[i], raw.triangles)
    if cache is not None:
        write_npz(cache, {"names": np.array(frames.names), "visible": np.packbits(result, axis=1)}, compress=True)
    return result


def _known_visible(cache: Path, vertices: int) -> dict[str, np.ndarray]:
    """What a cache file knows; nothing of one that cannot be read: it is made anew."""
    try:
        file = read_arrays(cache)
        unpacked = np.unpackbits(file["visible"], axis=1, count=vertices).astype(bool)
        return dict(zip(file["names"].tolist(), unpacked, strict=True))
    except (ForeignFileError, OSError, KeyError, ValueError, TypeError):
        return {}
