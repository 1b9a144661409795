"""The body's surface in fifteen parts for its UV layout: by the joints its skin follows, some halved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from training.body_builder.makehuman import Array, Index
from training.body_builder.skeleton import JOINTS
from training.body_builder.topology import edge_faces

Parts = NDArray[np.str_]  # [T] names
JOINTS_OF_PART = {
    "torso": ("pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar"),
    "head": ("neck", "head"),
    "left leg": ("left_hip", "left_knee"),
    "right leg": ("right_hip", "right_knee"),
    "left arm": ("left_shoulder", "left_elbow"),
    "right arm": ("right_shoulder", "right_elbow"),
    "left foot": ("left_ankle", "left_foot"),
    "right foot": ("right_ankle", "right_foot"),
    "left hand": ("left_wrist", "left_hand"),
    "right hand": ("right_wrist", "right_hand"),
}
LONGEST_NAME = "U18"
LEVELS = 12  # heights at which the torso's middle depth is measured
MENDING_ROUNDS, RESTLESS_ROUNDS = 60, 40


@dataclass(frozen=True)
class BodySurface:
    """The finished body as the UV layout sees it."""

    vertices: Array  # [V, 3]
    triangles: Index  # [T, 3]
    joints: Array  # [J, 3]
    mirror: Index  # [V]

    def joint(self, name: str) -> Array:
        return self.joints[JOINTS[name]]

    def centres(self) -> Array:  # [T, 3]
        return self.vertices[self.triangles].mean(1)

    def normals(self) -> Array:  # [T, 3], twice the area long
        a, b, c = (self.vertices[self.triangles[:, k]] for k in range(3))
        return np.cross(b - a, c - a)

    def mirrored_triangles(self) -> Index:  # [T] the counterpart of each
        number = {frozenset(triangle): i for i, triangle in enumerate(self.triangles.tolist())}
        return np.array([number[frozenset(triangle)] for triangle in self.mirror[self.triangles].tolist()])


def other_side(part: str) -> str:
    side, space, rest = part.partition(" ")
    return {"left": "right", "right": "left"}.get(side, side) + space + rest


def divide_body(surface: BodySurface, blend_weights: Array) -> Parts:
    """Names like "torso front", "left foot inner", "head"; the right side mirrors the left."""
    centres, normals = surface.centres(), surface.normals()
    parts = _by_joints(surface.triangles, blend_weights)
    adjacency = _adjacency(surface.triangles)

    def halve(part: str, score: Array, rounds: int, positive: str, negative: str) -> None:
        chosen = parts == part
        ahead = chosen & (_blurred(score, chosen, adjacency, rounds) > 0)
        behind = _largest_piece(adjacency, chosen & ~_largest_piece(adjacency, ahead))
        parts[chosen] = f"{part} {positive}"
        parts[behind] = f"{part} {negative}"

    halve("torso", centres[:, 2] - _middle_depth(centres, parts == "torso"), 6, "front", "back")
    unit = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    halve("left hand", unit[:, 1], 14, "back", "palm")
    halve("left foot", _outwardness(surface, parts == "left foot", centres, normals) * 100, 3, "outer", "inner")
    right = centres[:, 0] < 0
    twins = surface.mirrored_triangles()
    parts[right] = [other_side(part) for part in parts[twins[right]]]
    _mend_borders(surface, parts, twins)
    _give_away_strays(surface.triangles, parts, adjacency)
    return parts


def _by_joints(triangles: Index, blend_weights: Array) -> Parts:
    """The part whose joints hold the most of a triangle's weights."""
    share = [blend_weights[:, [JOINTS[name] for name in names]].sum(1) for names in JOINTS_OF_PART.values()]
    strongest = np.stack(share, 1)[triangles].sum(1).argmax(1)
    return np.array(list(JOINTS_OF_PART), LONGEST_NAME)[strongest]


def _adjacency(triangles: Index) -> sparse.csr_matrix:  # [T, T]
    pairs = np.array(list(edge_faces(triangles).values()))
    both = np.concatenate([pairs, pairs[:, ::-1]])
    return sparse.coo_matrix((np.ones(len(both)), both.T), shape=(len(triangles),) * 2).tocsr()


def _blurred(score: Array, chosen: NDArray[np.bool_], adjacency: sparse.csr_matrix, rounds: int) -> Array:
    """A score averaged with that of the neighbours in the same part, again and again."""
    only = sparse.diags(chosen.astype(float))
    inner = only @ adjacency @ only
    count = np.asarray(inner.sum(1)).ravel()
    count[count == 0] = 1
    mean = sparse.diags(1 / count) @ inner
    score = np.where(chosen, score, 0.0)
    for _ in range(rounds):
        score = 0.5 * score + 0.5 * (mean @ score)
    return score


def _largest_piece(adjacency: sparse.csr_matrix, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    numbers = np.flatnonzero(chosen)
    _, piece = connected_components(adjacency[numbers][:, numbers], directed=False)
    result = np.zeros(len(chosen), bool)
    if len(numbers):
        result[numbers[piece == np.bincount(piece).argmax()]] = True
    return result


def _middle_depth(centres: Array, torso: NDArray[np.bool_]) -> Array:  # [T]
    """Half way between the front and the back of the torso's flanks, by height."""
    x, y, z = centres.T
    heights, middles = np.linspace(y[torso].min(), y[torso].max(), LEVELS), []
    for height in heights:
        level = torso & (np.abs(y - height) < 0.05)
        flank = level & (np.abs(x) > 0.5 * np.abs(x[level]).max())
        middles.append((z[flank].min() + z[flank].max()) / 2)
    smooth = np.convolve([middles[0], *middles, middles[-1]], [0.25, 0.5, 0.25], "valid")
    return np.interp(y, heights, smooth)


def _outwardness(surface: BodySurface, foot: NDArray[np.bool_], centres: Array, normals: Array) -> Array:  # [T]
    """How far out of the left foot's middle line, which halves its area."""
    ankle, ball = surface.joint("left_ankle"), surface.joint("left_foot")
    lateral = np.cross([0, 1, 0], (ball - ankle) * [1, 0, 1])
    lateral *= np.sign(lateral[0]) / np.linalg.norm(lateral)
    out, area = (centres - ankle) @ lateral, np.linalg.norm(normals, axis=1)
    order = np.argsort(out[foot])
    median = np.searchsorted(np.cumsum(area[foot][order]), area[foot].sum() / 2)
    return out - out[foot][order][median]


def _mend_borders(surface: BodySurface, parts: Parts, twins: Index) -> None:
    """Give triangles with all corners on borders to the part around them: such would be flat in a chart. In place."""
    triangles = surface.triangles.tolist()
    neighbours = _neighbours(surface.triangles)
    left = np.flatnonzero(surface.centres()[:, 0] > 0).tolist()
    for round_number in range(MENDING_ROUNDS):
        meeting: list[set[str]] = [set() for _ in surface.vertices]
        for triangle, part in zip(triangles, parts.tolist(), strict=True):
            for vertex in triangle:
                meeting[vertex].add(part)
        restless, changes = round_number < RESTLESS_ROUNDS and round_number % 2 == 1, 0
        for number in left:
            if any(len(meeting[vertex]) < 2 for vertex in triangles[number]):
                continue
            around = [str(parts[other]) for other in neighbours[number]]
            around = [part for part in around if part != parts[number] and not part.startswith("right")]
            if not around:
                continue
            part = max(sorted(set(around)), key=around.count)
            if around.count(part) >= 2 or restless:
                parts[number], parts[twins[number]] = part, other_side(part)
                changes += 1
                for vertex in triangles[number]:
                    meeting[vertex].add(part)
        if round_number > 5 and not changes:
            break


def _neighbours(triangles: Index) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in triangles]
    for one, two in edge_faces(triangles).values():
        found[one].append(two)
        found[two].append(one)
    return found


def _give_away_strays(triangles: Index, parts: Parts, adjacency: sparse.csr_matrix) -> None:
    """Pieces cut off from their part go to the parts around them. In place."""
    neighbours = _neighbours(triangles)
    for part in sorted(set(parts.tolist())):
        stray = (parts == part) & ~_largest_piece(adjacency, parts == part)
        while edge := [i for i in np.flatnonzero(stray) if any(parts[j] != part for j in neighbours[i])]:
            for number in edge:
                parts[number] = next(parts[j] for j in neighbours[number] if parts[j] != part)
            stray &= parts == part
