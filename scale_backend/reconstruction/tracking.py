"""Makes a tracked surface: reconstructed once in the rest pose, bound to the points that are decoded there.

A vertex is the weighted mean of the points round it that gives back its own place: locally linear weights (Roweis and
Saul 2000) with a ridge, which is the higher the further a point strays from the vertex in other poses. Means over
several patches move smoothly where single patches do not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial import cKDTree

from scale_backend.formats.garment_header import GarmentError
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.articulation import vertex_normals, vertex_rings
from scale_backend.geometry.body import Body
from scale_backend.inference.precision import TRIAL_POSES, trial_poses
from scale_backend.model.garment import Garment
from scale_backend.model.tracked_surface import TrackedSurface
from scale_backend.reconstruction.meshlab import missing, point_spacing, pymeshlab, reconstruct, smooth_borders

NEIGHBOURS = 20  # points a vertex is bound to
CANDIDATES = 60  # nearest points they are chosen from
RIDGE = 0.02  # of a point's mean squared distance over the poses: larger, smoother, further from the reconstruction
ROUNDS = 3  # weights and the vertex's places in other poses depend on each other
EDGE = 1.2  # spacings of the points: the length of the surface's edges
# more poses than the trial's, in which parts of a skirt go with one leg, with the other, or stay between them
LEG_POSES = (
    {1: (0, 0, 0.5), 2: (0, 0, -0.5)},
    {1: (-0.3, 0, 0.4), 2: (-0.3, 0, -0.4), 4: (0.6, 0, 0), 5: (0.6, 0, 0)},
    {1: (-1.0, 0, 0), 4: (1.0, 0, 0)},
    {2: (-1.0, 0, 0), 5: (1.0, 0, 0)},
    {1: (0.5, 0, 0), 2: (-0.5, 0, 0), 4: (0.6, 0, 0)},
    {2: (0.5, 0, 0), 1: (-0.5, 0, 0), 5: (0.6, 0, 0)},
    {1: (0, 0, 0.45), 2: (-0.1, 0, 0), 9: (0, 0.3, 0)},
    {2: (0, 0, -0.45), 1: (-0.1, 0, 0), 9: (0, -0.3, 0)},
    {1: (-1.0, 0, 0.3), 2: (-1.0, 0, -0.3), 4: (1.2, 0, 0), 5: (1.2, 0, 0)},
    {16: (0, 0, 0.9), 17: (0, 0, -0.9), 3: (0.2, 0, 0.2)},
    {16: (0, -0.8, -0.8), 17: (0, 0.8, 0.8), 6: (0.2, 0, -0.2)},
)
FACING = 0.3  # cosine; points that face elsewhere belong to another layer of cloth


def track(
    points: np.ndarray,  # [F, M, 3] decoded in several poses, of which the first is the rest pose
    normals: np.ndarray,  # [M, 3] in the rest pose
    numbers: np.ndarray,  # [M] of the points among all that the garment has
    bound: np.ndarray | None = None,  # [M] bool, the points that vertices may hang on; None: all
) -> TrackedSurface:
    """Raises GarmentError where a library is missing or the points give no surface."""
    vertices, triangles = remesh(*reconstruct(points[0], normals), EDGE * point_spacing(cKDTree(points[0])))
    if bound is not None:
        points, normals, numbers = points[:, bound], normals[bound], numbers[bound]
    tree = cKDTree(points[0])
    index, weights = bind(vertices, surface_normals(vertices, triangles), points, normals, tree)
    uv, uv_triangles = unwrap(vertices, triangles)
    return TrackedSurface(
        torch.from_numpy(numbers[index].astype(np.int32)),
        torch.from_numpy(weights.astype(np.float32)),
        torch.from_numpy(triangles.astype(np.int32)),
        torch.from_numpy(uv.astype(np.float32)),
        torch.from_numpy(uv_triangles.astype(np.int32)),
    )


def remesh(vertices: np.ndarray, triangles: np.ndarray, edge: float) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of even size (isotropic explicit remeshing, Botsch and Kobbelt 2004), borders kept."""
    library = pymeshlab()
    meshes = library.MeshSet()
    meshes.add_mesh(library.Mesh(vertices, triangles))
    meshes.meshing_isotropic_explicit_remeshing(iterations=6, targetlen=library.PureValue(edge))
    meshes.meshing_repair_non_manifold_edges()
    meshes.meshing_repair_non_manifold_vertices()
    meshes.meshing_remove_unreferenced_vertices()
    mesh = meshes.current_mesh()
    vertices, triangles = mesh.vertex_matrix(), mesh.face_matrix()
    return smooth_borders(vertices, triangles), triangles


def bind(
    vertices: np.ndarray,  # [V, 3]
    vertex_normals: np.ndarray,  # [V, 3] unit
    points: np.ndarray,  # [F, M, 3]
    normals: np.ndarray,  # [M, 3] unit, in the rest pose
    tree: cKDTree,  # of the points in the rest pose
) -> tuple[np.ndarray, np.ndarray]:  # index [V, K], weights [V, K]
    """Near points of the same layer of cloth that stay near, and weights by which they give the vertex at rest."""
    many = points.shape[1]
    near = tree.query(vertices, min(CANDIDATES, many))[1].reshape(len(vertices), -1)
    facing = np.einsum("vkc,vc->vk", normals[near], vertex_normals) > FACING
    half = min(2 * NEIGHBOURS, near.shape[1])
    order = np.argsort(~facing, 1, kind="stable")[:, :half]  # facing ones first, each group by distance
    index = np.take_along_axis(near, order, 1)
    weights = local_weights(vertices, points[0], index, ((points[0][index] - vertices[:, None]) ** 2).sum(-1))
    for _ in range(ROUNDS):
        strayed = np.zeros(index.shape)
        for place in points:
            around = place[index].astype(np.float64)
            strayed += ((around - (around * weights[..., None]).sum(1, keepdims=True)) ** 2).sum(-1) / len(points)
        if index.shape[1] > NEIGHBOURS:
            order = np.argsort(strayed, 1)[:, :NEIGHBOURS]
            index, strayed = np.take_along_axis(index, order, 1), np.take_along_axis(strayed, order, 1)
        weights = local_weights(vertices, points[0], index, strayed)
    return index, weights


def local_weights(vertices: np.ndarray, points: np.ndarray, index: np.ndarray, strayed: np.ndarray) -> np.ndarray:
    """Weights [V, K], rows sum to 1, that give the vertices; low for points that stray (mean squared metres)."""
    offset = points[index].astype(np.float64) - vertices[:, None]
    gram = offset @ offset.transpose(0, 2, 1)
    count = index.shape[1]
    gram[:, np.arange(count), np.arange(count)] += count * (RIDGE * strayed + 1e-4 * strayed.mean(1, keepdims=True))
    weights = np.linalg.solve(gram, np.ones((len(vertices), count, 1)))[..., 0]
    return weights / weights.sum(1, keepdims=True)


def surface_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:  # [V, 3] unit
    rings = vertex_rings(torch.from_numpy(triangles).long(), len(vertices))
    return vertex_normals(torch.from_numpy(vertices)[None].float(), rings)[0].numpy()


def unwrap(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # uv [U, 2], corners [T, 3]
    """Charts without overlap in the unit square, by xatlas."""
    try:
        import xatlas
    except ImportError as error:
        raise missing("xatlas") from error
    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices.astype(np.float32), triangles.astype(np.uint32))
    charts, pack = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.max_cost = 8.0  # few large charts; cloth is nearly developable
    pack.padding, pack.resolution = 2, 1024
    atlas.generate(chart_options=charts, pack_options=pack)
    _, corners, uv = atlas[0]
    return uv, corners


def with_tracked_surfaces(garment: Garment, body: Body) -> Garment:
    """The garment with a tracked surface for each part it offers. Raises GarmentError; also for a garment surface."""
    from scale_backend.decoding.decoder import Decoder
    from scale_backend.surfaces.kinds import part_of_points

    if garment.carrier is not None:
        raise GarmentError(f"'{garment.name}' has a mesh of its own; tracked surfaces are for garments on the body.")
    decoder = Decoder(garment, body)
    poses = trial_poses(body.joint_count, TRIAL_POSES + LEG_POSES)
    poses = torch.cat([torch.eye(3).expand(1, *poses.shape[1:]), poses])  # the first is the rest pose
    tracked = {}
    for part in garment.metadata()["parts"]:
        numbers = part_of_points(garment, part).nonzero()[:, 0].numpy()
        points, normals = decoder.decode(Poses(poses.numpy()), DecodeOptions("points", part, push_out=False))
        bound = every_second(numbers, garment.network.settings.points_per_patch)
        tracked[part] = track(points.numpy(), normals[0].numpy(), numbers, bound)
    return replace(garment, tracked=tracked)


def every_second(numbers: np.ndarray, per_patch: int) -> np.ndarray:  # [M] -> [M] bool
    """The black squares of each patch's grid: half the points to decode, and as smooth a surface."""
    side = round(per_patch**0.5)
    place = numbers % per_patch
    return (place // side + place % side) % 2 == 0
