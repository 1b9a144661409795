"""The skin as one closed surface: MakeHuman's body without the pockets of mouth and eyes, their rims closed.

Every vertex is a vertex of the base mesh, so that every target and weight of MakeHuman still applies.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from scale_backend.formats.errors import UserError
from training.body_builder.makehuman import Array, Index, MakeHuman, QuadMesh, body_quads

EYE_POCKET, MOUTH_POCKET = 293, 398  # quads of the texture islands that the pockets are
EYE_RINGS, MOUTH_RINGS = 3, 2  # rings of quads between a pocket and its rim on the face
HEAD_BONES = ("head", "neck", "jaw", "oris", "levator", "special", "eye", "orbic", "oculi", "risor", "tempor", "tongue")


@dataclass(frozen=True)
class Skin:
    """A closed triangle surface over the base mesh's vertices, left and right mirror images."""

    shape: Array  # [N, 3] the body by whose form choices were made
    triangles: Index  # [T, 3]
    half: Index  # [T / 2, 3] those of the left side (x > 0)
    mirror: Index  # [N] the counterpart; -1 off the skin
    middle: NDArray[np.bool_]  # [N] its own counterpart
    region: NDArray[np.str_]  # [N] head, hand, foot or body
    left_eye: int  # the vertex that closes the left eye


def close_skin(human: MakeHuman, shape: Array) -> Skin:
    """Raises UserError if the base mesh is not the symmetric one it is known to be."""
    quads = body_quads(human)
    faces = quads.vertices[~_pockets(quads, human.texture_count)]
    mirror = _mirror_map(human.vertices, np.unique(faces))
    middle = mirror == np.arange(len(mirror))
    caps: list[tuple[int, ...]] = []
    eyes: dict[str, int] = {}
    for rim in border_loops(faces):
        centre = shape[rim].mean(0)
        if abs(centre[0]) > 0.01:
            side = "l" if centre[0] > 0 else "r"
            eyes[side] = pole = _eye_pole(shape, human.group_vertices(f"helper-{side}-eye"), centre)
            caps += [(after, here, pole) for here, after in pairwise([*rim, rim[0]])]
        else:
            caps += _zip_lips(np.array(rim), human.vertices, mirror, middle)
    right_eye = human.group_vertices("helper-r-eye")
    counterpart = human.vertices[eyes["l"]] * [-1, 1, 1]
    twin = right_eye[np.linalg.norm(human.vertices[right_eye] - counterpart, axis=1).argmin()]
    closed = np.where(np.array(caps) == eyes["r"], twin, caps)
    mirror[[eyes["l"], twin]] = twin, eyes["l"]
    triangles = np.concatenate([_split_quads(shape, faces), closed])
    half = triangles[(middle[triangles] | (human.vertices[triangles, 0] > 0)).all(1)]
    if not is_closed_sphere(triangles) or 2 * len(half) != len(triangles):
        raise UserError("The base mesh could not be closed to a symmetric skin: it is not MakeHuman's hm08.")
    return Skin(shape, triangles, half, mirror, middle, _regions(human), int(eyes["l"]))


def directed_edges(triangles: Index) -> Index:  # [3 T, 2]
    return np.concatenate([triangles[:, :2], triangles[:, 1:], triangles[:, [2, 0]]])


def edge_faces(triangles: Index) -> dict[tuple[int, int], list[int]]:
    """The triangles on each edge (lower vertex first), edges in the order in which the triangles name them."""
    found: dict[tuple[int, int], list[int]] = {}
    for number, (a, b, c) in enumerate(triangles.tolist()):
        for edge in ((a, b), (b, c), (c, a)):
            found.setdefault((min(edge), max(edge)), []).append(number)
    return found


def is_closed_sphere(triangles: Index) -> bool:
    """Watertight, consistently wound, without handles."""
    directed = directed_edges(triangles)
    edges, uses = np.unique(np.sort(directed, 1), axis=0, return_counts=True)
    wound = len(np.unique(directed, axis=0)) == len(directed)
    return wound and bool((uses == 2).all()) and len(np.unique(triangles)) - len(edges) + len(triangles) == 2


def border_loops(faces: Index) -> list[list[int]]:  # [F, 3 or 4]
    """Vertex loops along the edges that only one face has, in its direction."""
    sides = faces.shape[1]
    directed = np.concatenate([faces[:, [k, (k + 1) % sides]] for k in range(sides)])
    directed = directed[directed[:, 0] != directed[:, 1]]
    _, which, uses = np.unique(np.sort(directed, 1), axis=0, return_inverse=True, return_counts=True)
    following = dict(directed[uses[which.ravel()] == 1].tolist())
    loops = []
    while following:
        loop, here = [], next(iter(following))
        while here in following:
            loop.append(here)
            here = following.pop(here)
        loops.append(loop)
    return loops


def _pockets(quads: QuadMesh, texture_count: int) -> NDArray[np.bool_]:  # [Q]
    """The quads of the eye sockets and the mouth up to their rims on the face."""
    corners = quads.texture
    links = np.concatenate([corners[:, [k, (k + 1) % 4]] for k in range(4)])
    graph = sparse.coo_matrix((np.ones(len(links)), links.T), shape=(texture_count, texture_count))
    _, island = connected_components(graph, directed=False)
    island = island[corners[:, 0]]
    names, sizes = np.unique(island, return_counts=True)
    eyes, mouth = (np.isin(island, names[sizes == size]) for size in (EYE_POCKET, MOUTH_POCKET))
    return _grown(quads.vertices, eyes, EYE_RINGS) | _grown(quads.vertices, mouth, MOUTH_RINGS)


def _grown(faces: Index, chosen: NDArray[np.bool_], rings: int) -> NDArray[np.bool_]:
    """The chosen quads and so many rings of quads that share an edge with them."""
    edges = np.sort(np.stack([faces, np.roll(faces, -1, 1)], -1), -1)  # [Q, 4, 2]
    keys = edges[..., 0] * (faces.max() + 1) + edges[..., 1]
    for _ in range(rings):
        chosen = chosen | np.isin(keys, keys[chosen]).any(1)
    return chosen


def _mirror_map(vertices: Array, used: Index) -> Index:  # [N]
    distance, nearest = cKDTree(vertices[used]).query(vertices[used] * [-1, 1, 1])
    mirror = np.full(len(vertices), -1)
    mirror[used] = used[nearest]
    if distance.max() > 1e-6 or not np.array_equal(mirror[mirror[used]], used):
        raise UserError("The base mesh is not symmetric: it is not MakeHuman's hm08.")
    return mirror


def _eye_pole(shape: Array, eyeball: Index, rim_centre: Array) -> int:
    """The eyeball's vertex that looks out through the rim."""
    outward = rim_centre - shape[eyeball].mean(0)
    rays = shape[eyeball] - shape[eyeball].mean(0)
    return int(eyeball[((rays @ outward) / np.linalg.norm(rays, axis=1)).argmax()])


def _zip_lips(rim: Index, vertices: Array, mirror: Index, middle: NDArray[np.bool_]) -> list[tuple[int, ...]]:
    """Triangles between the lips: the left half from the corner of the mouth to the middle, and its mirror image."""
    rim = np.roll(rim, -vertices[rim, 0].argmax())
    right_corner = vertices[rim, 0].argmin()
    chains = rim[: right_corner + 1], np.append(rim[right_corner:], rim[0])[::-1]
    one, two = (chain[vertices[chain, 0] >= 0] for chain in chains)
    if not (middle[one[-1]] and middle[two[-1]] and one[0] == two[0]):
        raise UserError("The lips of the base mesh do not meet as known: it is not MakeHuman's hm08.")
    left, i, j = [], 0, 0
    along_one, along_two = np.linspace(0, 1, len(one)), np.linspace(0, 1, len(two))
    while i < len(one) - 1 or j < len(two) - 1:
        if j == len(two) - 1 or (i < len(one) - 1 and along_one[i + 1] <= along_two[j + 1]):
            triangle, i = (one[i], one[i + 1], two[j]), i + 1
        else:
            triangle, j = (one[i], two[j + 1], two[j]), j + 1
        if len(set(triangle)) == 3:
            left.append(triangle[::-1])
    return left + [tuple(mirror[vertex] for vertex in triangle[::-1]) for triangle in left]


def _split_quads(shape: Array, faces: Index) -> Index:
    """Two triangles a quad, along its shorter diagonal."""
    diagonals = [np.linalg.norm(shape[faces[:, k]] - shape[faces[:, k + 2]], axis=1) for k in (0, 1)]
    first = diagonals[0] <= diagonals[1] * 1.0001
    one, two = faces[first], faces[~first]
    triangles = np.concatenate([one[:, [0, 1, 2]], one[:, [0, 2, 3]], two[:, [0, 1, 3]], two[:, [1, 2, 3]]])
    a, b, c = triangles.T
    return triangles[(a != b) & (b != c) & (c != a)]


def _regions(human: MakeHuman) -> NDArray[np.str_]:  # [N]
    """By the bone that each vertex follows most."""
    strongest, region = np.zeros(len(human.vertices)), np.full(len(human.vertices), "body", "U4")
    for bone, pairs in human.bone_weights.items():
        for vertex, weight in pairs:
            if weight > strongest[vertex]:
                strongest[vertex], region[vertex] = weight, _region_of_bone(bone)
    return region


def _region_of_bone(bone: str) -> str:
    if any(part in bone for part in ("finger", "metacarpal", "wrist")):
        return "hand"
    if "toe" in bone or "foot" in bone:
        return "foot"
    return "head" if any(part in bone for part in HEAD_BONES) else "body"
