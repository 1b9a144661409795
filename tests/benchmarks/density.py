"""What denser meshes of a garment gain: a quarter of the rest mesh's triangles, as many, four times, sixteen times, all
decoded by the same network, against a smooth surface through the simulated vertices. Places correspond, so nothing
is searched. Beside each the truth itself at that density: what its flat triangles alone lose. And "smoothed": no more
points decoded, but a smooth surface laid through those that are, with sixteen times the triangles.

Columns: millimetres at the vertices of the sixteenfold mesh; degrees between the shaded normals there, and between the
flat triangles'; then how far triangles that meet turn (mean, degrees) along seams and elsewhere."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor

from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.assets import find_garment
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.articulation import vertex_normals, vertex_rings
from scale_backend.geometry.body import load_body
from scale_backend.geometry.gathering import gather_sum
from scale_backend.model.garment import Garment, load_garment
from scale_backend.surfaces.butterfly import Stencils, butterfly
from scale_backend.surfaces.seams import cut_at_seams
from scale_backend.surfaces.subdivision import subdivide
from tests.benchmarks.report import draw, show_columns
from training.frames.raw_frames import RawGarment, read_garment, read_split
from training.learning.dataset import spread
from training.learning.losses import face_normals

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 2
NAMES = ("a quarter", "mesh", "mesh-x4", "mesh-x16")


@dataclass(frozen=True)
class Settings:
    """Table of densities."""

    garments: tuple[str, ...] = ("dress", "tee-trousers")
    """Names, or garment files."""
    frames: int = 10
    """Of the held-out dance, evenly spaced."""
    out: Path = ROOT / "out" / "bench" / "density.json"
    pictures: Path | None = None
    """A folder for views of a part of the middle frame's meshes."""
    threads: int = 0


@dataclass(frozen=True)
class Density:
    """A mesh through places of the finest one."""

    triangles: Tensor  # [T, 3]
    places: Tensor  # [V] its vertices among the finest mesh's
    corners: Tensor  # [M, 3] its vertices, and shares of them, at each place of the finest mesh
    weights: Tensor  # [M, 3]
    smooth: Stencils | None = None  # of a smooth surface through its vertices
    smoothed: Density | None = None  # that surface; both None where the mesh is finer than the simulation's


def densities(garment: Garment) -> dict[str, Density]:
    carrier = garment.carrier
    meshes = [subdivide(carrier.triangles, rounds).triangles for rounds in range(ROUNDS + 1)]
    finest = int(meshes[-1].max()) + 1
    found = {}
    for number, triangles in enumerate(meshes):
        triangle, weights = subdivide(triangles, ROUNDS - number).homes(finest)
        count = int(triangles.max()) + 1
        found[NAMES[number + 1]] = Density(triangles, torch.arange(count), triangles[triangle], weights)
    smooth = butterfly(carrier.triangles, len(carrier.template), ROUNDS)
    found["mesh"] = replace(found["mesh"], smooth=smooth, smoothed=found["mesh-x16"])
    return {NAMES[0]: quarter(carrier.template, carrier.triangles)} | found


def quarter(template: Tensor, triangles: Tensor) -> Density:
    """The rest mesh with a quarter of its triangles, through vertices of its own."""
    from scipy.spatial import cKDTree

    from scale_backend.reconstruction.meshlab import pymeshlab
    from training.geometry.surface_distance import ReferenceSurface

    meshes = pymeshlab().MeshSet()
    meshes.add_mesh(pymeshlab().Mesh(template.double().numpy(), triangles.numpy()))
    meshes.meshing_decimation_quadric_edge_collapse(
        targetfacenum=len(triangles) // 4, optimalplacement=False, preserveboundary=True, preservenormal=True
    )
    vertices, faces = meshes.current_mesh().vertex_matrix(), meshes.current_mesh().face_matrix().astype(np.int64)
    distance, places = cKDTree(template.numpy()).query(vertices)
    assert distance.max() < 1e-6
    smooth = butterfly(triangles, len(template), ROUNDS)
    finest = gather_sum(template[None], smooth.index, smooth.weights)[0].numpy()

    def through(vertices: np.ndarray, faces: np.ndarray) -> Density:
        _, triangle, weights = ReferenceSurface(vertices, faces).closest(finest)
        return Density(*(torch.from_numpy(x) for x in (faces, places, faces[triangle], weights.astype(np.float32))))

    fine = subdivide(torch.from_numpy(faces), ROUNDS)
    origin, weights = (x.numpy() for x in fine.homes(int(fine.triangles.max()) + 1))
    flat = np.einsum("mkc,mk->mc", vertices[faces[origin]], weights)
    stencils = butterfly(torch.from_numpy(faces), len(vertices), ROUNDS)
    return replace(through(vertices, faces), smooth=stencils, smoothed=through(flat, fine.triangles.numpy()))


def frames_of(garment: Garment, count: int) -> tuple[RawGarment, Tensor, Tensor]:  # raw, truth [F, V, 3], rotations
    folder = ROOT / "assets" / "frames" / garment.name
    raw, frames = read_garment(folder), spread(read_split(folder, "test"), count)
    rotations = torch.from_numpy(matrices_from_axis_angle(frames.pose).astype(np.float32))
    return raw, torch.from_numpy(frames.vertices), rotations


def measure(name: str, settings: Settings) -> list[dict]:
    garment, body = load_garment(find_garment(name)), load_body("neutral")
    carrier = garment.carrier
    raw, truth, rotations = frames_of(garment, settings.frames)
    decoder = Decoder(garment, body, precision="auto")
    translation = -body.mean_joints[:1].expand(len(rotations), 3)
    decoded = {kind: decoder.decode(Poses(rotations, translation), DecodeOptions(kind))[0] for kind in NAMES[1:]}
    smooth = butterfly(carrier.triangles, len(carrier.template), ROUNDS)
    finest = gather_sum(truth, smooth.index, smooth.weights)
    table = densities(garment)
    decoded[NAMES[0]] = decoded["mesh"][:, table[NAMES[0]].places]
    faces = table["mesh-x16"].triangles
    rings = vertex_rings(faces, finest.shape[1])
    true_normals, true_faces = vertex_normals(finest, rings), face_normals(finest, faces)
    skirt = torch.tensor([region.endswith("skirt") for region in raw.region_names])[carrier.region.long()]
    parts = {"all": torch.ones(finest.shape[1], dtype=torch.bool)}
    if skirt.any():
        parts["skirt"] = skirt[smooth.index.gather(1, smooth.weights.argmax(1, keepdim=True))[:, 0]]
    seam = seam_edges(garment)
    rows = []
    for kind, density in table.items():
        coarse = decoded[kind]
        shown_as = {"decoded": (coarse, density), "truth": (finest[:, density.places], density)}
        if density.smooth is not None:
            shown_as["smoothed"] = gather_sum(coarse, density.smooth.index, density.smooth.weights), density.smoothed
        for source, (points, mesh) in shown_as.items():
            normals = vertex_normals(points, vertex_rings(mesh.triangles, points.shape[1]))
            shown = gather_sum(points, mesh.corners, mesh.weights)
            shaded = torch.nn.functional.normalize(gather_sum(normals, mesh.corners, mesh.weights), dim=-1)
            distance, shade = (shown - finest).norm(dim=-1), degrees(shaded, true_normals)
            flat = degrees(face_normals(shown, faces), true_faces)
            row = {"garment": garment.name, "density": kind, "of": source, "vertices": points.shape[1]}
            for part, chosen in parts.items():
                of_faces = chosen[faces].all(1)
                row |= {f"{part} mm": 1e3 * float(distance[:, chosen].mean()),
                        f"{part} shaded": float(shade[:, chosen].mean()),
                        f"{part} flat": float(flat[:, of_faces].mean())}  # fmt: skip
            if mesh is table[NAMES[-1]]:
                row |= {f"turn {name}": value for name, value in turns(points, seam).items()}
            rows.append(row)
    if settings.pictures is not None:
        middle = len(rotations) // 2
        arrays = {}
        for number, (kind, density) in enumerate(table.items()):
            arrays |= {
                f"points{number}": decoded[kind][middle].numpy(),
                f"triangles{number}": density.triangles.numpy(),
            }
        draw("density_view", settings.pictures / f"{Path(name).stem}-density.png", arrays)
    return rows


def degrees(a: Tensor, b: Tensor) -> Tensor:  # [..., 3] unit -> [...]
    return (2 * ((a - b).norm(dim=-1) / 2).clamp(max=1).asin()).rad2deg()


def seam_edges(garment: Garment) -> tuple[Tensor, Tensor]:  # [E, 4] both ends, both opposite corners; [E] bool
    """The inner edges of the finest mesh, and which lie on a seam or end on one."""
    mesh = subdivide(garment.carrier.triangles, ROUNDS)
    cut = cut_at_seams(mesh, garment.carrier.uv_triangles)
    count = int(mesh.triangles.max()) + 1
    on_seam = torch.zeros(count, dtype=torch.bool)
    on_seam[cut.vertex[count:]] = True
    corners = mesh.triangles
    directed = torch.cat([corners[:, [k, (k + 1) % 3, (k + 2) % 3]] for k in range(3)])
    low, high = directed[:, :2].min(1).values, directed[:, :2].max(1).values
    order = (low * count + high).argsort(stable=True)
    key = (low * count + high)[order]
    pair = (key[1:] == key[:-1]).nonzero()[:, 0]
    one, two = directed[order[pair]], directed[order[pair + 1]]
    edges = torch.cat([one, two[:, 2:]], 1)
    return edges, on_seam[edges[:, :2]].any(1)


def turns(points: Tensor, seam: tuple[Tensor, Tensor]) -> dict[str, float]:  # [F, M, 3]
    """The angle between the two triangles of an edge."""
    (a, b, c, d), on_seam = (points[:, column] for column in seam[0].T), seam[1]
    normals = [torch.nn.functional.normalize(torch.linalg.cross(*sides), dim=-1)
               for sides in ((b - a, c - a), (a - b, d - b))]  # fmt: skip
    angle = degrees(*normals)
    return {"seam": float(angle[:, on_seam].mean()), "elsewhere": float(angle[:, ~on_seam].mean()),
            "seam 99%": float(angle[:, on_seam].flatten().quantile(0.99)),
            "elsewhere 99%": float(angle[0, ~on_seam].quantile(0.99))}  # fmt: skip


def main() -> None:
    settings = tyro.cli(Settings)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    rows = [row for name in settings.garments for row in measure(name, settings)]
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    settings.out.write_text(json.dumps(rows, indent=1) + "\n")
    show_columns(rows, ("garment", "density", "of"), 19)
    print(settings.out)


if __name__ == "__main__":
    main()
