"""A training step against a plain implementation of it, in one run on one machine (`make bench`).

Plain: every pixel of the map, background too; float32; nearest neighbours by all distances in chunks; frames read from
.npz in every step. Ours: what `scale-train train` does. Batch 16, 40,000 scan points.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scale_backend.geometry.articulation import articulate, frame_scale, triangle_edges, triangle_frames, turned_normals
from scale_backend.model.network import ScaleNetwork, patch_grid
from tests.benchmarks.report import Row
from training.config import Recipe, recipe_from_dict
from training.frames.packed_frames import PackedFrame, packed_paths, write_packed
from training.learning.dataset import batch_indices, read_groundwork
from training.learning.losses import weighted_sum
from training.learning.scans import read_scans
from training.learning.train import choose_device
from training.learning.trainer import Trainer

CHUNK = 2000  # points whose distances to all others are held at once
NEAREST_POINTS = (12_768, 40_000)


FASTER_CPU, FASTER_GPU = "6", "4"  # times: what is asked of a step


@dataclass(frozen=True)
class Load:
    """What a step carries."""

    batch: int = 16
    scan_points: int = 40_000
    frames: int = 32


def rows(repeats: int, load: Load | None = None, device: str = "auto") -> list[Row]:
    """A step, what of it is spent on loading scans, memory, and nearest neighbours."""
    load, device, count = load or Load(), choose_device(device), max(1, repeats // 4)
    with tempfile.TemporaryDirectory(prefix="scale-bench-") as folder:
        recipe = recipe_from_dict({"name": "bench", "data_root": folder, "batch_size": load.batch,
                                   "scan_npoints": load.scan_points, "precision": "bfloat16"})  # fmt: skip
        write_frames(Path(folder), recipe, load.frames)
        return steps(recipe, device, Path(folder), count) + neighbours(device, count)


def write_frames(folder: Path, recipe: Recipe, count: int) -> None:
    """The posed body with noise on it as scans: what a step costs does not depend on what it learns."""
    from training.learning.dataset import pose_frames

    random = np.random.default_rng(0)
    groundwork = read_groundwork(recipe)
    poses = random.normal(0, 0.2, (count, groundwork.body.joint_count, 3)).astype(np.float32)
    posed = pose_frames(groundwork, poses)
    from scale_backend.geometry.body import pose_vertices

    body = groundwork.body
    skins = pose_vertices(body, posed.rotations, -body.mean_joints[:1].expand(count, 3)).numpy()
    for number in range(count):
        corners = skins[number][body.triangles.numpy()[random.integers(0, len(body.triangles), recipe.scan_points)]]
        weights = random.dirichlet((1, 1, 1), recipe.scan_points)
        points = np.einsum("nkc,nk->nc", corners, weights) + random.normal(0, 0.01, (recipe.scan_points, 3))
        normals = random.normal(size=points.shape)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        maps = posed.maps[number].permute(1, 2, 0).numpy()
        write_packed(folder / "train" / f"{number:04d}.npz",
                     PackedFrame(maps, skins[number], points, normals, f"bench_a.{number:05d}"))  # fmt: skip


def steps(recipe: Recipe, device: torch.device, folder: Path, count: int) -> list[Row]:
    groundwork = read_groundwork(recipe).to(device)
    data = read_scans(groundwork, recipe, folder)
    trainer = Trainer(recipe, data, device)
    ours, ours_peak = timed(lambda _: trainer.train_step(), count, device)  # first: a process's peak only grows
    plain = PlainTraining(recipe, groundwork, device)
    plain_time, plain_peak = timed(plain.step, count, device)
    chosen = torch.arange(recipe.batch, device=device)
    loading, _ = timed(lambda n: data.sample(chosen, n), count, device)
    note = f"batch {recipe.batch}, {recipe.scan_points} scan points, {device}"
    return [
        Row("training: a plain step", plain_time, "s", note=note),
        Row("training: our step", ours, "s", note=note),
        Row("training: times faster", plain_time / ours, "x", FASTER_GPU if device.type == "cuda" else FASTER_CPU),
        Row("training: share of our step that loads scans", 100 * loading / ours, "%"),
        Row("training: memory at the peak, ours", ours_peak, "MiB"),
        Row("training: memory at the peak, plain after it", plain_peak, "MiB"),
    ]


def timed(step: Callable[[int], object], count: int, device: torch.device) -> tuple[float, float]:
    """Median seconds, and the peak so far in MiB (of the device's memory on CUDA, else of the process)."""
    times = []
    for number in range(count + 1):
        begin = time.perf_counter()
        step(number)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    if device.type == "cuda":
        return statistics.median(times[1:]), torch.cuda.max_memory_allocated() / 2**20
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return statistics.median(times[1:]), kilobytes / 1024


class PlainTraining:
    """The method as one would write it down."""

    def __init__(self, recipe: Recipe, groundwork, device: torch.device):
        self.recipe, self.groundwork, self.device = recipe, groundwork, device
        self.network = ScaleNetwork(recipe.network).to(device).train()
        self.optimiser = torch.optim.Adam(self.network.parameters(), recipe.learning_rate)
        self.paths = packed_paths(recipe.data, "train")

    def step(self, number: int) -> float:
        recipe, layout = self.recipe, self.groundwork.layout
        chosen = batch_indices(len(self.paths), recipe.batch, number, recipe.seed).tolist()
        files = [np.load(self.paths[i]) for i in chosen]
        maps, bodies, scan, scan_normals = (
            torch.from_numpy(np.stack([file[key] for file in files])).to(self.device)
            for key in ("posmap32", "body_verts", "scan_pc", "scan_n")
        )
        size, count = layout.size, recipe.network.points_per_patch
        features = self.network.pose_features(maps.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
        pixels = torch.arange(size * size, device=self.device).repeat_interleave(count)
        uv = torch.stack([pixels // size, pixels % size], 1) / (size - 1)
        pq = patch_grid(recipe.network).to(self.device).repeat(size * size, 1)
        residual, normal = self.network.decode(features[:, pixels], uv, pq)
        every = self.groundwork.carrier.triangles[layout.triangle_index.clamp_min(0).flatten()]
        e1, e2 = triangle_edges(bodies, every)
        frames = triangle_frames(e1, e2, frame_scale(e1, e2))[:, pixels]
        base = maps.flatten(1, 2)[:, pixels]
        valid = layout.mask.flatten()[pixels]
        points = articulate(base, frames, residual)
        normals = turned_normals(frames, normal)[:, valid]
        terms = self.losses(points[:, valid], normals, scan, scan_normals)
        terms |= {"residual": (points - base).square().mean(), "latent": self.network.latent.norm()}
        loss = weighted_sum(terms, recipe.loss)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())

    def losses(self, points: Tensor, normals: Tensor, scan: Tensor, scan_normals: Tensor) -> dict[str, Tensor]:
        sums = {"model_to_scan": 0.0, "scan_to_model": 0.0, "normal": 0.0}
        for x, n, y, m in zip(points, normals, scan, scan_normals, strict=True):
            index, back = brute_force(x.detach(), y), brute_force(y, x.detach())
            sums["model_to_scan"] += ((y[index] - x) * m[index]).sum(-1).square().mean()
            sums["scan_to_model"] += (y - x[back]).square().sum(-1).mean()
            sums["normal"] += (n - m[index]).abs().mean()
        return {key: value / len(points) for key, value in sums.items()}


def brute_force(query: Tensor, target: Tensor) -> Tensor:  # [M, 3], [n, 3] -> [M]
    return torch.cat([torch.cdist(part, target).argmin(1) for part in query.split(CHUNK)])


def neighbours(device: torch.device, count: int) -> list[Row]:
    """Exact nearest neighbours in both directions; pytorch3d's beside, where it is installed."""
    from importlib.util import find_spec

    from training.geometry.nearest import nearest_index

    random = torch.Generator().manual_seed(0)
    x, y = (torch.rand(size, 3, generator=random).to(device) for size in NEAREST_POINTS)
    kinds = {"all distances": brute_force, "ours": nearest_index}
    if device.type == "cuda" and find_spec("pytorch3d"):
        from pytorch3d.ops import knn_points

        kinds["pytorch3d"] = lambda a, b: knn_points(a[None], b[None], K=1).idx
    what = f"nearest neighbours, both ways, {NEAREST_POINTS[0]} and {NEAREST_POINTS[1]} points"

    def both(find: Callable[[Tensor, Tensor], Tensor]) -> float:
        return 1e3 * timed(lambda _: (find(x, y), find(y, x)), count, device)[0]

    return [Row(f"{what}: {kind}", both(find), "ms", note=str(device)) for kind, find in kinds.items()]
