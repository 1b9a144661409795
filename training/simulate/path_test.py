"""The path test: how far apart two results for the same pose lie that were reached in two ways.

A model that sees only the pose cannot be better than this on a body in motion.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from scale_backend.formats.whole_files import write_whole

from .cloth import ClothSettings
from .draping import drape, drape_through
from .garments import find_recipe, make_garment, make_scene
from .mesh_tools import Array, Mesh, face_normals
from .poses import random_poses
from .skinning import SkinnedBody, load_skinned_body, pose_positions, whole_pose

MOST_DISTANCE, MOST_ANGLE = 3.0, 8.0  # mm and degrees, on average over the poses
FIRST_SAMPLES, SECOND_SAMPLES = 8_000, 40_000


def sample(mesh: Mesh, count: int, seed: int) -> tuple[Array, Array]:
    """Points [N, 3] even in area and their face normals [N, 3]."""
    random = np.random.default_rng(seed)
    normals = face_normals(mesh)
    area = np.linalg.norm(normals, axis=1)
    chosen = random.choice(len(area), count, p=area / area.sum())
    shares = random.dirichlet((1, 1, 1), count)
    points = np.einsum("nc,ncx->nx", shares, mesh.vertices[mesh.triangles[chosen]])
    return points, normals[chosen] / area[chosen, None]


def surface_difference(first: Mesh, second: Mesh) -> tuple[float, float]:
    """Mean distance (mm) of the first surface from the second and mean angle of their normals (degrees)."""
    points, normals = sample(first, FIRST_SAMPLES, 1)
    others, other_normals = sample(second, SECOND_SAMPLES, 2)
    nearest = cKDTree(others).query(points)[1]
    distance = np.abs(((others[nearest] - points) * other_normals[nearest]).sum(1))
    angle = np.degrees(np.arccos(np.clip((normals * other_normals[nearest]).sum(1), -1, 1)))
    return 1e3 * float(distance.mean()), float(angle.mean())


def path_test(
    name: str,
    seed: int,
    count: int,
    cloth: ClothSettings | None = None,
    most_frames: int | None = None,
    progress: Callable[[Any], Any] = iter,
    body: SkinnedBody | None = None,
) -> list[dict]:
    """Rows with pose, mm (by surface), degrees, mm_vertices (by corresponding vertices), frames and speed."""
    body = body or load_skinned_body()
    garment = make_garment(name, body)
    scene = make_scene(name, body, garment, cloth)
    most_frames = most_frames or find_recipe(name).most_frames
    named = islice(random_poses(seed, partial(pose_positions, body)), count + 1)
    poses = [(kind, whole_pose(body, pose)) for kind, pose in named]
    rows = []
    for number in progress(range(count)):
        kind, pose = poses[number]
        direct = drape(scene, pose, most_frames)
        around = drape_through(scene, poses[number + 1][1], pose, most_frames)
        triangles = garment.mesh.triangles
        distance, angle = surface_difference(Mesh(direct.vertices, triangles), Mesh(around.vertices, triangles))
        apart = np.linalg.norm(direct.vertices - around.vertices, axis=1).mean()
        rows.append(
            {
                "pose": f"{kind}-{number}",
                "mm": round(distance, 2),
                "degrees": round(angle, 2),
                "mm_vertices": round(1e3 * float(apart), 2),
                "frames": [direct.frames, around.frames],
                "speed": [round(1e3 * direct.speed, 2), round(1e3 * around.speed, 2)],
            }
        )
    scene.close()
    return rows


def table(rows: list[dict]) -> str:
    lines = ["pose            mm  degrees  mm by vertex  frames"]
    lines += [
        f"{row['pose']:12s} {row['mm']:5.1f} {row['degrees']:8.1f} {row['mm_vertices']:13.1f}  {row['frames']}"
        for row in rows
    ]
    mean = {key: np.mean([row[key] for row in rows]) for key in ("mm", "degrees", "mm_vertices")}
    return "\n".join([*lines, f"mean         {mean['mm']:5.1f} {mean['degrees']:8.1f} {mean['mm_vertices']:13.1f}"])


def write_table(folder: Path, name: str, rows: list[dict]) -> Path:
    path = Path(folder) / "path-test.json"
    mean = {key: round(float(np.mean([row[key] for row in rows])), 2) for key in ("mm", "degrees", "mm_vertices")}
    content = {"garment": name, "mean": mean, "bars": {"mm": MOST_DISTANCE, "degrees": MOST_ANGLE}, "poses": rows}
    write_whole(path, json.dumps(content, indent=1).encode())
    return path
