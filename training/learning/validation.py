"""The held-out split while a training runs: loss curves, errors in millimetres, and samples to look at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.articulation import vertex_normals
from scale_backend.geometry.body import Body, pose_vertices
from scale_backend.model.garment import Garment
from scale_backend.model.network import ScaleNetwork
from training.config import Recipe
from training.frames.packed_frames import PackedFrameError
from training.frames.raw_frames import RawFramesError, read_garment, read_split
from training.learning.dataset import Groundwork, spread
from training.learning.moving import MovingFrames
from training.learning.plain_decoding import Decoded
from training.learning.scan_shards import ScanShards
from training.learning.scans import ScanChamfer
from training.learning.supervision import CorrespondingVertices, Supervision, read_supervision
from training.measuring.figures import ScanFigures
from training.measuring.measures import Judge, Measures

DECODED_AT_ONCE = 4
SAMPLES = 2
MOVING_FRAMES = 96  # of cloth in motion that a validation looks at


class HeldOut:
    """The `val` split of a training's folder, with the training's own supervision."""

    def __init__(self, recipe: Recipe, groundwork: Groundwork, supervision: Supervision):
        self.recipe, self.groundwork, self.supervision = recipe, groundwork, supervision
        folder = Path(recipe.data)
        self.raw = None
        if not recipe.fabrics and (folder / "garment.npz").is_file():
            self.raw = read_garment(folder)
            self.frames = spread(read_split(folder, "val"), recipe.validation_frames)

    @torch.no_grad()
    def losses(self, network: ScaleNetwork) -> dict[str, float]:
        """The terms of the training's loss, means over frames."""
        data, chosen_frames = self.supervision, self._frames(network)
        sums: dict[str, float] = {}
        count = len(chosen_frames)
        for chosen in chosen_frames.split(DECODED_AT_ONCE):
            for name, value in data.terms(network, chosen, 0).items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(chosen) / count
        return sums | {"latent": float(network.latent.norm())}

    def _frames(self, network: ScaleNetwork) -> Tensor:  # [F] int64
        """Those that are looked at: all of what was read, but of cloth in motion some, evenly spread."""
        count, device = len(self.supervision), next(network.parameters()).device
        if not self.recipe.fabrics:
            return torch.arange(count, device=device)
        return torch.linspace(0, count - 1, min(count, MOVING_FRAMES), device=device).round().long().unique()

    def table(self, garment: Garment, network: ScaleNetwork) -> dict[str, dict[str, float]]:
        """Errors by region: of the real decoder where the simulated surface is known, of points against scans."""
        if self.recipe.fabrics:
            return {"all": self._of_motion(network)}
        if self.raw is None:
            return {"all": self._against_scans(network)}
        body = self.groundwork.to("cpu").body
        judge = Judge(self.raw.vertices, self.raw.triangles, self.raw.region, body.triangles.numpy())
        measures = Measures()
        measure_frames(garment, body, self.frames.pose, self.frames.vertices, judge, measures, with_body=False)
        return measures.table(self.raw.region_names)

    @torch.no_grad()
    def _of_motion(self, network: ScaleNetwork) -> dict[str, float]:
        """Of the network's answer at corresponding vertices, before it settles: some frames, evenly spread."""
        data, frames = self.supervision, self._frames(network)
        distances: list[Tensor] = []
        angles: list[Tensor] = []
        assert isinstance(data, CorrespondingVertices) and isinstance(data.frames, MovingFrames)
        every = torch.arange(len(self.groundwork.carrier.template), device=frames.device)  # the first of the queries
        for chosen in frames.split(DECODED_AT_ONCE):
            decoded, truth = data.decode(network, chosen, every), data.frames.at(chosen)
            distances.append((decoded.points - truth.vertices).norm(dim=-1))
            cosine = (vertex_normals(decoded.points, data.frames.rings) * truth.normals).sum(-1)
            angles.append(torch.rad2deg(cosine.clamp(-1, 1).arccos()))
        millimetres, degrees = 1e3 * torch.cat(distances).cpu(), torch.cat(angles).cpu()
        p90 = float(np.percentile(millimetres.numpy(), 90))
        mean = float(millimetres.mean())
        return {
            "to_truth_mean": mean,
            "to_truth_p90": p90,
            "from_truth_mean": mean,
            "normal_angle": float(degrees.mean()),
        }

    def _against_scans(self, network: ScaleNetwork) -> dict[str, float]:
        figures, data = ScanFigures(), self.supervision
        assert isinstance(data, ScanChamfer) and isinstance(data.scans, ScanShards)
        for number in range(len(data)):
            decoded = self.decode(network, number)
            assert decoded.normals is not None
            scan, normals = data.scans.scan(number)
            figures.add(data.names[number], decoded.points[0], decoded.normals[0], scan, normals, data.workers)
        mean = figures.mean()
        return {"to_truth_mean": mean["to_scan_mm"], "from_truth_mean": mean["from_scan_mm"],
                "normal_angle": mean["normal_degrees"]}  # fmt: skip

    @torch.no_grad()
    def decode(self, network: ScaleNetwork, number: int) -> Decoded:
        """All points of one frame."""
        data, device = self.supervision, next(network.parameters()).device
        every = torch.arange(len(data.queries), device=device)
        return data.decode(network, torch.tensor([number], device=device), every)

    def write_samples(self, network: ScaleNetwork, name: str, folder: Path) -> np.ndarray:  # [H, W, 3] uint8
        """A few frames as .ply, and a picture of them: normals above, patches below."""
        from scale_backend.formats.point_files import normal_colors, patch_colors, write_results
        from training.pictures.splatter import Camera, write_picture

        data = self.supervision
        patch, columns = data.queries.patch.cpu().numpy(), []
        for number in np.unique(np.linspace(0, len(data) - 1, SAMPLES).astype(int)):
            decoded = self.decode(network, int(number))
            assert decoded.normals is not None
            points, normals = decoded.points[0].cpu().numpy(), decoded.normals[0].cpu().numpy()
            texture = None if decoded.colors is None else decoded.colors[0].cpu().numpy()
            write_results(folder, f"{name}_{Path(data.names[number]).name}", points, normals, patch, texture)
            camera = Camera.around(points.min(0), points.max(0), size=512)
            colors = (normal_colors(normals), patch_colors(patch))
            columns.append(np.concatenate([camera.picture(points, normals, color) for color in colors]))
        picture = np.concatenate(columns, axis=1)
        write_picture(folder / f"{name}.png", picture)
        return picture


def read_held_out(recipe: Recipe, groundwork: Groundwork, out: Path) -> HeldOut | None:
    """None where the folder has no split `val`."""
    frames = None if recipe.fabrics else recipe.validation_frames
    held_out = replace(recipe, frames=frames, mirror=False)
    try:
        supervision = read_supervision(groundwork, held_out, out, "val")
    except (RawFramesError, PackedFrameError):
        if list(Path(recipe.data).glob("val-*.npz")) or (Path(recipe.data) / "val").is_dir():
            raise
        return None
    return HeldOut(recipe, groundwork, supervision)


def measure_frames(
    garment: Garment,
    body: Body,
    axis_angle: np.ndarray,  # [F, J, 3]
    truth: np.ndarray,  # [F, V, 3]
    judge: Judge,
    measures: Measures,
    with_body: bool = True,
) -> None:
    """Decode poses as a user would and add each frame's figures."""
    decoder = Decoder(garment, body)
    surface = "mesh" if garment.carrier is not None else "points"
    rotations = torch.from_numpy(matrices_from_axis_angle(axis_angle).astype(np.float32))
    to_pelvis = -body.mean_joints[:1]
    for first in range(0, len(rotations), DECODED_AT_ONCE):
        some = rotations[first : first + DECODED_AT_ONCE]
        translation = to_pelvis.expand(len(some), 3)
        points, normals = decoder.decode(Poses(some.numpy(), translation.numpy()), DecodeOptions(surface, "clothes"))
        skin = pose_vertices(body, some, translation).numpy() if with_body else [None] * len(some)
        for k in range(len(some)):
            if surface == "mesh":
                judge.add_mesh(measures, points[k].numpy(), truth[first + k], skin[k])
            else:
                judge.add_points(measures, points[k].numpy(), normals[k].numpy(), truth[first + k], skin[k])
