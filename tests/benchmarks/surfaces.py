"""Every surface kind of the garments that ship against the simulated, held-out dance: how near, how whole, how steady,
how fast. Prints a table and writes it as JSON; with --pictures, views of three frames too."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import tyro

from scale_backend.formats.poses import DecodeOptions, Poses
from tests.benchmarks.report import draw, show_columns

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = 6000
FAR = 0.010  # metres


@dataclass(frozen=True)
class Settings:
    """Table of surface kinds."""

    garments: tuple[str, ...] = ("dress", "tee-trousers", "dress-body")
    kinds: tuple[str, ...] = ()
    """Only these; all that a garment offers without it."""
    frames: int = 30
    """Of the held-out dance, evenly spaced."""
    out: Path = ROOT / "out" / "bench" / "surfaces.json"
    pictures: Path | None = None
    """A folder for a picture of each kind (front, side, back of three frames), rendered by Blender's Workbench."""
    threads: int = 0


@dataclass
class Frame:
    points: np.ndarray  # [V, 3]
    normals: np.ndarray  # [V, 3]
    triangles: np.ndarray  # [T, 3]
    decoded: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))  # [V, 3] the network's, beside the faces'


@dataclass
class Tally:
    """Of one kind, over frames; metres and degrees."""

    to_truth: list[np.ndarray] = field(default_factory=list)
    from_truth: list[np.ndarray] = field(default_factory=list)
    outside_skirt: list[np.ndarray] = field(default_factory=list)  # of from_truth
    angle: list[np.ndarray] = field(default_factory=list)
    decoded_angle: list[np.ndarray] = field(default_factory=list)
    border: list[float] = field(default_factory=list)
    crossing: list[float] = field(default_factory=list)  # share of the triangles
    vertices: list[int] = field(default_factory=list)

    def row(self) -> dict[str, float]:
        to_truth, from_truth = np.concatenate(self.to_truth), np.concatenate(self.from_truth)
        return {
            "to truth mm": to_truth.mean() * 1e3,
            "to 95%": np.percentile(to_truth, 95) * 1e3,
            "from truth mm": from_truth.mean() * 1e3,
            "from 95%": np.percentile(from_truth, 95) * 1e3,
            "largest gap mm": np.concatenate(self.outside_skirt).max() * 1e3,
            "normals deg": np.concatenate(self.angle).mean(),
            "decoded deg": np.concatenate(self.decoded_angle).mean() if self.decoded_angle else None,
            ">10 mm %": 100 * (to_truth > FAR).mean(),
            "missing %": 100 * (from_truth > FAR).mean(),
            "border m": statistics.mean(self.border),
            "crossing %": 100 * statistics.mean(self.crossing),
            "vertices": statistics.mean(self.vertices),
        }


def main() -> None:
    settings = tyro.cli(Settings)
    import torch

    if settings.threads:
        torch.set_num_threads(settings.threads)
    rows = [row for garment in settings.garments for row in measure(garment, settings)]
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    settings.out.write_text(json.dumps({"rows": rows, "threads": torch.get_num_threads()}, indent=1) + "\n")
    show_columns(rows, ("garment", "kind"), 15)
    print(settings.out)


def measure(name: str, settings: Settings) -> Iterator[dict]:
    """A row for the truth itself, then one for each kind."""
    import torch

    from scale_backend.decoding.decoder import Decoder
    from scale_backend.formats.assets import find_garment
    from scale_backend.formats.motion import matrices_from_axis_angle
    from scale_backend.geometry.body import load_body
    from scale_backend.model.garment import load_garment
    from training.frames.raw_frames import read_garment, read_split
    from training.geometry.surface_distance import sample_surface
    from training.learning.dataset import spread

    path = find_garment(name)
    garment, body = load_garment(path), load_body("neutral")
    folder = ROOT / "assets" / "frames" / garment.training.get("data", garment.name)
    raw, truth = read_garment(folder), spread(read_split(folder, "test"), settings.frames)
    decoder = Decoder(garment, body, precision="auto")
    rotations = torch.from_numpy(matrices_from_axis_angle(truth.pose).astype(np.float32))
    translation = -body.mean_joints[:1].expand(len(rotations), 3)
    samples = sample_surface(raw.vertices, raw.triangles, SAMPLES)
    corner = raw.triangles[samples.triangle][np.arange(SAMPLES), samples.weights.argmax(1)]
    skirt = np.array([region.endswith("skirt") for region in raw.region_names])[raw.region[corner]]

    steady = second_difference(truth.vertices)
    whole = Tally()
    for vertices in truth.vertices:
        add_shape(whole, Frame(vertices, vertices, raw.triangles))
    yield {"garment": path.stem, "kind": "truth"} | {
        "border m": statistics.mean(whole.border), "crossing %": 100 * statistics.mean(whole.crossing),
        "vertices": len(raw.vertices), "jitter": 1.0,
    }  # fmt: skip
    for kind in settings.kinds or garment.metadata()["surfaces"]:
        if kind not in garment.metadata()["surfaces"]:
            continue
        frames, milliseconds = decode(decoder, kind, rotations, translation)
        if len(frames[0].triangles) and kind != "poisson":
            decoded = decoder.decode(Poses(rotations, translation), DecodeOptions(kind, normals="decoded"))[1].numpy()
            frames = [replace(frame, decoded=normals) for frame, normals in zip(frames, decoded, strict=True)]
        tally = Tally()
        for frame, vertices in zip(frames, truth.vertices, strict=True):
            add_distances(tally, frame, vertices, raw.triangles, samples, skirt)
            add_shape(tally, frame)
        constant = kind != "poisson"
        jitter = second_difference(np.stack([frame.points for frame in frames])) / steady if constant else None
        yield {"garment": path.stem, "kind": kind} | tally.row() | {"jitter": jitter, "ms a frame": milliseconds}
        if settings.pictures is not None:
            numbers = sorted({len(frames) * k // 6 for k in (1, 3, 5)})  # not the ends: the dance ends as it began
            chosen = [frames[number] for number in numbers]
            render(chosen, settings.pictures / f"{path.stem}-{kind}.png")


def decode(decoder, kind: str, rotations, translation) -> tuple[list[Frame], float]:
    """Frames, and milliseconds for one decoded alone (median), with nothing to be made ready any more."""
    from scale_backend.reconstruction.poisson import decode_meshes

    times, frames = [], []
    for place in [0, *range(len(rotations))]:
        pose, at = rotations[place : place + 1], translation[place : place + 1]
        begin = time.perf_counter()
        if kind == "poisson":
            [mesh] = decode_meshes(decoder, Poses(pose.numpy(), at.numpy()), DecodeOptions(part="clothes"))
            frame = Frame(mesh.points, mesh.normals, mesh.triangles)
        else:
            points, normals = decoder.decode(Poses(pose, at), DecodeOptions(kind))
            frame = Frame(points[0].numpy(), normals[0].numpy(), decoder.topology(kind).triangles)
        times.append(time.perf_counter() - begin)
        frames.append(frame)
    return frames[1:], statistics.median(times[1:]) * 1e3


def add_distances(tally: Tally, frame: Frame, truth: np.ndarray, faces: np.ndarray, samples, skirt: np.ndarray) -> None:
    from scipy.spatial import cKDTree

    from training.geometry.surface_distance import ReferenceSurface, angle_between, sample_surface, vertex_normals

    if len(frame.triangles):
        chosen = sample_surface(frame.points, frame.triangles, SAMPLES)
        shown = (frame.normals, frame.decoded) if len(frame.decoded) else (frame.normals,)
        points, *normals = (chosen.on(values, frame.triangles) for values in (frame.points, *shown))
        back = ReferenceSurface(frame.points, frame.triangles).closest(samples.on(truth, faces))[0]
    else:
        points, *normals = frame.points, frame.normals
        back = cKDTree(points).query(samples.on(truth, faces))[0]
    surface = ReferenceSurface(truth, faces)
    distance, triangle, weights = surface.closest(points)
    expected = surface.interpolate(vertex_normals(truth, faces), triangle, weights)
    expected, *normals = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-20) for v in (expected, *normals))
    tally.to_truth.append(distance)
    tally.from_truth.append(back)
    tally.outside_skirt.append(back[~skirt])
    for angles, found in zip((tally.angle, tally.decoded_angle), normals, strict=False):
        angles.append(angle_between(found, expected))


def add_shape(tally: Tally, frame: Frame) -> None:
    """Border, crossing triangles (by pymeshlab) and size."""
    tally.vertices.append(len(frame.points))
    if not len(frame.triangles):
        tally.border.append(0.0)
        tally.crossing.append(0.0)
        return
    from scale_backend.reconstruction.meshlab import border_edges, pymeshlab

    ends = frame.points[border_edges(frame.triangles)]
    tally.border.append(float(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).sum()))
    meshes = pymeshlab().MeshSet()
    meshes.add_mesh(pymeshlab().Mesh(frame.points.astype(np.float64), frame.triangles))
    meshes.compute_selection_by_self_intersections_per_face()
    tally.crossing.append(meshes.current_mesh().selected_face_number() / len(frame.triangles))


def second_difference(points: np.ndarray) -> float:  # [F, V, 3] -> metres; nan for fewer than three frames
    if len(points) < 3:
        return float("nan")
    return float(np.linalg.norm(points[2:] - 2 * points[1:-1] + points[:-2], axis=-1).mean())


def render(frames: list[Frame], path: Path) -> None:
    arrays = {f"{part}{n}": array for n, one in enumerate(frames) for part, array in vars(one).items()}
    draw("surface_views", path, arrays)


if __name__ == "__main__":
    main()
