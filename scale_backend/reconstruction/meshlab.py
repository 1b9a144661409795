"""A surface through points with normals: screened Poisson (Kazhdan and Hoppe 2013) by pymeshlab, cut where cloth ends.

Poisson gives closed surfaces; clothes have borders. What lies further from the points than they lie from each other is
no cloth: the caps over neck, armholes and hem go, small gaps inside the cloth stay closed.
"""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from scale_backend.formats.garment_header import GarmentError

REACH = 1.4  # spacings of the points; surface further from them is trimmed
SMALLEST_OPENING = 0.004  # m², trimmed regions smaller than this are gaps between points, not openings
SMALLEST_PIECE = 0.02  # share of the largest piece's area; smaller pieces go
BORDER_ROUNDS = 6  # of smoothing along the borders, which trimming leaves ragged
CELL = 0.75  # spacings of the points; the octree's finest cell is no smaller


def pymeshlab() -> ModuleType:
    """The library. Raises GarmentError with the command that installs it."""
    try:
        import pymeshlab
    except ImportError as error:
        raise missing("pymeshlab") from error
    return pymeshlab


def missing(name: str) -> GarmentError:
    """What a user hears who lacks one of the extra's packages."""
    from scale_backend.client.requirements import OPTIONAL, install_command

    requirement, use = OPTIONAL[name]
    return GarmentError(f"{name} is not installed, it is needed for {use}: {install_command(requirement)}")


def reconstruct(
    points: np.ndarray,  # [M, 3] metres
    normals: np.ndarray,  # [M, 3] unit
    threads: int = 1,  # waiting threads spin: more only on a machine that has nothing else to do
) -> tuple[np.ndarray, np.ndarray]:  # vertices [V, 3] float64, triangles [T, 3] int32
    """An open surface through the points. Raises GarmentError where the library is missing or finds no surface."""
    library = pymeshlab()
    points, normals = np.asarray(points, np.float64), np.asarray(normals, np.float64)
    tree = cKDTree(points)
    spacing = point_spacing(tree)
    depth = int(np.clip(math.floor(math.log2(1.1 * np.ptp(points, axis=0).max() / (CELL * spacing))), 4, 9))
    meshes = library.MeshSet()
    meshes.add_mesh(library.Mesh(vertex_matrix=points, v_normals_matrix=normals))
    try:
        meshes.generate_surface_reconstruction_screened_poisson(depth=depth, threads=threads)
    except library.PyMeshLabException as error:
        raise GarmentError(
            f"No surface could be laid through the points of this frame ({error}); show them as points."
        ) from error
    vertices, triangles = meshes.current_mesh().vertex_matrix(), meshes.current_mesh().face_matrix()
    far = tree.query(vertices)[0] > REACH * spacing
    vertices, triangles = trim(vertices, triangles, far)
    if not len(triangles):
        raise GarmentError("The points of this frame are too sparse for a surface; show them as points.")
    return smooth_borders(vertices, triangles), triangles.astype(np.int32)


def point_spacing(tree: cKDTree) -> float:
    """Distance to the fourth neighbour: one step on a square grid."""
    return float(np.median(tree.query(tree.data[:: max(len(tree.data) // 2000, 1)], 5)[0][:, 4]))


def trim(vertices: np.ndarray, triangles: np.ndarray, far: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without the faces whose corners are far, unless they only close a small gap; without small loose pieces."""
    area = face_areas(vertices, triangles)
    removed = far[triangles].any(1)
    piece, size = pieces(triangles[removed], area[removed])
    gone = np.zeros(len(triangles), bool)
    gone[np.nonzero(removed)[0][size[piece] > SMALLEST_OPENING]] = True
    triangles, area = triangles[~gone], area[~gone]
    if len(triangles):
        piece, size = pieces(triangles, area)
        triangles = triangles[size[piece] >= SMALLEST_PIECE * size.max()]
    used, compact = np.unique(triangles, return_inverse=True)
    return vertices[used], compact.reshape(-1, 3)


def pieces(triangles: np.ndarray, area: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # number [T], area by number
    """Faces that hang together by an edge."""
    edges = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
    if not len(edges):
        return np.zeros(0, np.int64), np.zeros(0)
    _, edge = np.unique(edges, axis=0, return_inverse=True)
    face = np.repeat(np.arange(len(triangles)), 3)
    count = len(triangles)
    graph = coo_matrix((np.ones(len(face)), (face, count + edge.ravel())), shape=(count + edge.max() + 1,) * 2)
    piece = connected_components(graph, directed=False)[1][:count]
    return piece, np.bincount(piece, area)


def face_areas(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)


def border_edges(triangles: np.ndarray) -> np.ndarray:  # [E, 2]
    """Edges of one face only."""
    edges = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    return unique[count == 1]


def smooth_borders(vertices: np.ndarray, triangles: np.ndarray, rounds: int = BORDER_ROUNDS) -> np.ndarray:
    """Border vertices moved towards the middle of their neighbours on the border."""
    edges = border_edges(triangles)
    count = len(vertices)
    ends = np.concatenate([edges, edges[:, ::-1]])
    degree = np.bincount(ends[:, 0], minlength=count)
    on_border = degree == 2  # where borders touch, a vertex has four: it stays
    vertices = vertices.copy()
    for _ in range(rounds):
        total = np.stack([np.bincount(ends[:, 0], vertices[ends[:, 1], k], count) for k in range(3)], 1)
        vertices[on_border] = 0.5 * vertices[on_border] + 0.5 * total[on_border] / 2
    return vertices
