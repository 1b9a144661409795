"""Raw pairs: a clothed scan and the posed body fitted to it, `NAME_clothed.obj` and `NAME_minimal.obj`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from scale_backend.geometry.body import Body
from scale_backend.geometry.positional_map import UVLayout, positional_map
from training.frames.body_fit import fit_body
from training.frames.packed_frames import PackedFrame, write_packed
from training.frames.raw_frames import SPLITS
from training.geometry.meshes import SUFFIXES, Mesh, MeshError, read_mesh, read_obj
from training.geometry.surface_distance import sample_surface

CLOTHED, MINIMAL = "_clothed", "_minimal"
LARGEST_FIT_ERROR = 0.02  # metres: beyond it the vertices are in another order
LARGEST_GAP = 0.15  # metres, median distance of the scan from the body
GAP_SAMPLES = 4000


@dataclass(frozen=True)
class Pair:
    name: str
    split: str
    scan: Path
    body: Path


@dataclass(frozen=True)
class PairPacker:
    """What all pairs share."""

    body: Body
    layout: UVLayout
    points: int
    out: Path


def find_pairs(source: Path, body: Path | None = None, split: str = "train") -> tuple[list[Pair], dict[str, str]]:
    """Pairs of a folder and the folders in it, or of one clothed file; and why others are none, by name.

    A folder called train, val or test is that split.
    """
    if source.is_file():
        name = source.stem.removesuffix(CLOTHED)
        body = body or _partner(source)
        return ([Pair(name, split, source, body)], {}) if body else ([], {name: f"there is no {name}{MINIMAL}.obj"})
    pairs, rejected, taken = [], {}, set()
    for scan in sorted(p for p in source.rglob(f"*{CLOTHED}.*") if p.suffix in SUFFIXES):
        name, inside = scan.stem.removesuffix(CLOTHED), scan.relative_to(source).parts
        found = _partner(scan)
        pair_split = next((part for part in inside if part in SPLITS), split)
        if found is None:
            rejected[name] = f"there is no {name}{MINIMAL}.obj beside it"
        elif (pair_split, name) in taken:
            rejected["/".join(inside)] = f"another pair of the split '{pair_split}' has this name too; rename one"
        else:
            taken.add((pair_split, name))
            pairs.append(Pair(name, pair_split, scan, found))
    return pairs, rejected


def _partner(scan: Path) -> Path | None:
    stem = scan.stem.removesuffix(CLOTHED) + MINIMAL
    return next((p for suffix in SUFFIXES if (p := scan.with_name(stem + suffix)).is_file()), None)


def pack_pair(packer: PairPacker, pair: Pair) -> str:
    """Write the packed frame; why it was rejected, or nothing."""
    try:
        write_packed(packer.out / pair.split / f"{pair.name}.npz", packed_pair(packer, pair))
    except MeshError as error:
        return str(error)
    return ""


def packed_pair(packer: PairPacker, pair: Pair) -> PackedFrame:
    """Normalised: the body's root unturned, its pelvis at the origin; `root` leads back. Raises MeshError."""
    scan = read_mesh(pair.scan)
    fitted = read_obj(pair.body) if pair.body.suffix == ".obj" else read_mesh(pair.body)
    for what, mesh in (("scan", scan), ("body", fitted)):
        if not np.isfinite(mesh.vertices).all():
            raise MeshError(f"the {what} has coordinates that are no finite numbers")
        if not len(mesh.vertices) or not len(mesh.triangles):
            raise MeshError(f"the {what} is empty")
    body = packer.body
    if len(fitted.vertices) != len(body.template):
        raise MeshError(f"the body has {len(fitted.vertices)} vertices, '{body.name}' has {len(body.template)}")
    if not np.array_equal(fitted.triangles, body.triangles.numpy()):
        raise MeshError(f"the body's triangles are not those of '{body.name}', or in another order")
    _check_gap(scan, fitted)
    fit = fit_body(body, fitted.vertices)
    if fit.error > LARGEST_FIT_ERROR:
        raise MeshError(f"the body is no pose of '{body.name}': {1e3 * fit.error:.0f} mm off on average; are its "
                        "vertices in another order, or in other units than metres?")  # fmt: skip
    samples = sample_surface(scan.vertices, scan.triangles, packer.points)
    points = fit.normalise(samples.on(scan.vertices, scan.triangles))
    normals = samples.on(scan.normals(), scan.triangles) @ fit.root[:3, :3]
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    skin = fit.normalise(fitted.vertices).astype(np.float32)
    maps = positional_map(torch.from_numpy(skin)[None], body.triangles, packer.layout)[0].permute(1, 2, 0).numpy()
    pose = fit.pose.copy()
    pose[0] = 0
    colors = None if scan.colors is None else samples.on(scan.colors, scan.triangles)
    return PackedFrame(maps, skin, points, normals, pair.name, pose=pose, root=fit.root, colors=colors)


def _check_gap(scan: Mesh, body: Mesh) -> None:
    from scipy.spatial import cKDTree

    used = np.unique(scan.triangles)
    chosen = scan.vertices[used[np.linspace(0, len(used) - 1, min(len(used), GAP_SAMPLES)).astype(int)]]
    gap = float(np.median(cKDTree(body.vertices).query(chosen)[0]))
    if gap > LARGEST_GAP:
        larger = np.ptp(chosen, 0).max() / np.ptp(body.vertices, 0).max()
        units = f"; it is {larger:.3g} times as large: are both in metres?" if not 0.5 < larger < 2 else ""
        raise MeshError(f"scan and body lie {gap:.2f} m apart{units}")
