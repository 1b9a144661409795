"""Bodies that are not ours, as wearers: MakeHuman's base mesh on other people's rigs, and GarmentCode's mean bodies.

`data/hm08.npz` and `data/garmentcode.npz`; their README tells how they were made.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from scale_backend.formats.assets import find_body, find_garment
from scale_backend.formats.joints import BODY, SMPL_PARENTS
from scale_backend.formats.wearer import Wearer
from scale_backend.geometry.body import Body, forward_kinematics, load_body, skin
from scale_backend.geometry.carrier import Carrier
from scale_backend.model.garment import load_garment
from scale_backend.wearer.fit import Fit, fit
from scale_backend.wearer.mesh import Surface, edges_of

DATA = Path(__file__).parent / "data"
MIXAMO = "Hips LeftUpLeg RightUpLeg Spine LeftLeg RightLeg Spine1 LeftFoot RightFoot Spine2 LeftToeBase RightToeBase Neck LeftShoulder RightShoulder Head LeftArm RightArm LeftForeArm RightForeArm LeftHand RightHand"  # noqa: E501
GAME = "pelvis thigh_l thigh_r spine_01 calf_l calf_r spine_02 foot_l foot_r spine_03 ball_l ball_r neck_01 clavicle_l clavicle_r head upperarm_l upperarm_r lowerarm_l lowerarm_r hand_l hand_r"  # noqa: E501
RIGIFY = "spine thigh.L thigh.R spine.001 shin.L shin.R spine.002 foot.L foot.R spine.003 toe.L toe.R spine.004 shoulder.L shoulder.R spine.006 upper_arm.L upper_arm.R forearm.L forearm.R hand.L hand.R"  # noqa: E501
JOINT_BONES = {
    "mixamo": tuple(f"mixamorig:{name}" for name in MIXAMO.split()),
    "game_engine": tuple(GAME.split()),
    "rigify_human": tuple(RIGIFY.split()),
}
LIMBS = {1: 4, 2: 5, 4: 7, 5: 8, 16: 18, 17: 19, 18: 20, 19: 21}
TRUNK = ((0,), (12,))  # pelvis and neck
NEAREST = 24  # triangles looked at for the nearest point
FEET = {7: 10, 8: 11}


def rest_turns(body: Body, joints: np.ndarray) -> np.ndarray:  # [22, 3] -> [22, 3, 3]
    """From the body's T-pose to the rest of a skeleton: the shortest turn of each limb, feet flat, as the add-on has it
    for rigs that do not rest in a T-pose."""
    ours, theirs = body.mean_joints.numpy().astype(np.float64), joints.astype(np.float64)
    turns = [np.eye(3)]
    for joint in range(1, len(joints)):
        turn = turns[SMPL_PARENTS[joint]]
        if joint in LIMBS:
            turn = _shortest(turn @ _way(ours, joint, LIMBS[joint]), _way(theirs, joint, LIMBS[joint])) @ turn
        elif joint in FEET:
            start, end = _way(ours, joint, FEET[joint]), _way(theirs, joint, FEET[joint])
            turn = _shortest(*(way * [1, 0, 1] / np.hypot(way[0], way[2]) for way in (start, end)))
        turns.append(turn)
    return np.array(turns)


def _way(places: np.ndarray, start: int, end: int) -> np.ndarray:
    return (places[end] - places[start]) / np.linalg.norm(places[end] - places[start])


def _shortest(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    x, y, z = np.cross(start, end)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + cross + cross @ cross / (1 + start @ end)


@cache
def fitted_tee(who: str) -> Fit:
    """The tee and trousers on someone; each is fitted once for all tests."""
    body = load_body("neutral")
    return fit(body, load_garment(find_garment("tee-trousers")).carrier_on(body), someone(body, who))


def someone(body: Body, who: str) -> Wearer:
    if who == "own":
        return own_wearer(body)
    if who == "official":
        return like_official(body)
    return garmentcode(body) if who == "garmentcode" else makehuman(body, "game_engine", who)


@cache
def data(name: str) -> dict[str, np.ndarray]:
    """The arrays of one of the files."""
    with np.load(DATA / f"{name}.npz") as file:
        return dict(file)


def _wearer(body: Body, joints, vertices, triangles, weights) -> Wearer:
    joints = np.asarray(joints, np.float64)
    return Wearer.of_arrays(
        {
            "joints": joints,
            "turns": rest_turns(body, joints),
            "vertices": vertices,
            "triangles": triangles,
            "weights": weights,
        }
    )


def _dense(influences: np.ndarray, shares: np.ndarray, count: int) -> np.ndarray:  # [V, K] x 2 -> [V, count]
    dense = np.zeros((len(influences), count))
    np.put_along_axis(dense, influences.astype(np.int64), shares.astype(np.float64), 1)
    return dense / dense.sum(1, keepdims=True)


def makehuman(body: Body, rig: str = "mixamo", person: str = "base") -> Wearer:
    """MakeHuman's base mesh as base, woman, man, heavy, thin or child, on the rig mixamo, game_engine, rigify_human."""
    parts = data("hm08")
    bones, parents = list(parts[f"{rig}.bones"]), parts[f"{rig}.parents"]
    joint_of = {bones.index(name): joint for joint, name in enumerate(JOINT_BONES[rig])}

    def joint_above(bone: int) -> int:
        while bone >= 0 and bone not in joint_of:
            bone = parents[bone]
        return joint_of.get(bone, 0)

    weights = _dense(parts[f"{rig}.influences"], parts[f"{rig}.weights"], len(bones))
    collapsed = np.zeros((len(weights), len(BODY)))
    for bone in range(len(bones)):
        collapsed[:, joint_above(bone)] += weights[:, bone]
    heads = parts[f"{rig}.heads.{person}"][[bones.index(name) for name in JOINT_BONES[rig]]]
    quads = parts["quads"].astype(np.int32)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    triangles = triangles[(triangles[:, 0] != triangles[:, 2]) & (triangles[:, 1] != triangles[:, 2])]
    return _wearer(body, heads, parts[f"vertices.{person}"] * 1e-4, triangles, collapsed)


def garmentcode(body: Body, person: str = "all") -> Wearer:
    """GarmentCode's mean body: all, female or male, an A-pose of 45 degrees."""
    parts = data("garmentcode")
    weights = _dense(parts["influences"], parts["weights"], len(BODY))
    vertices, triangles = parts[f"vertices.{person}"] * 1e-4, parts["triangles"].astype(np.int32)
    return _wearer(body, parts[f"joints.{person}"], vertices, triangles, weights)


def stylised(body: Body) -> Wearer:
    """A figure with a big head, big hands and feet, and thin limbs: a smooth deformation of the woman."""
    plain = makehuman(body, "game_engine", "woman")
    sizes = np.ones(len(BODY))
    for joint, size in {15: 2.0, 20: 1.7, 21: 1.7, 7: 1.4, 8: 1.4, 10: 1.4, 11: 1.4, 18: 0.75, 19: 0.75}.items():
        sizes[joint] = size
    moved = np.zeros_like(plain.vertices)
    for joint, size in enumerate(sizes):
        offset = plain.vertices - plain.joints[joint]
        moved += plain.weights[:, joint, None] * (offset * (size - 1))
    joints = plain.joints.copy()
    for foot, ankle in ((10, 7), (11, 8)):
        joints[foot] = joints[ankle] + sizes[ankle] * (joints[foot] - joints[ankle])
    return _wearer(body, joints, plain.vertices + moved, plain.triangles, plain.weights)


def own_wearer(body: Body) -> Wearer:
    """Our own body as a wearer, half a metre from where it stands."""
    weights = body.blend_weights[:, :22].clone()
    weights[:, 20:22] += body.blend_weights[:, 22:]
    return Wearer.of_arrays(
        {
            "joints": body.mean_joints[:22].numpy() + np.float32(0.5),
            "turns": np.tile(np.eye(3), (22, 1, 1)),
            "vertices": body.template.numpy() + np.float32(0.5),
            "triangles": body.triangles.numpy(),
            "weights": weights.numpy(),
        }
    )


def same_vertices() -> tuple[np.ndarray, np.ndarray]:
    """Vertices of our body, and which of MakeHuman's base mesh each is: ours was made from it."""
    with np.load(find_body("neutral")) as ours:
        theirs = ours["mh_vertex"]
    known = np.flatnonzero(theirs < len(data("hm08")["vertices.base"]))
    return known, theirs[known]


def borders(body: Body, carrier: Carrier, fitted: Fit, wearer: Wearer) -> dict[str, float]:
    """How far the middle of each border lies, along the limb or the trunk, from where it lies on our own body: metres.

    On a limb its place is a share of the bone; a skirt's, of both thighs. On the trunk it is the skin it lies on, where
    that is known; between pelvis and neck, as the rig has them, where it is not.
    """
    ours, theirs = body.mean_joints.numpy(), fitted.joints.numpy()
    same = same_skin(body, wearer)
    found = {}
    for loop in border_loops(carrier.triangles.numpy()):
        before, after = carrier.template[loop].numpy(), fitted.template[loop].numpy()
        name, starts, ends = _border(before.mean(0), ours)
        bones = [[joints[list(these)].mean(0) for these in (starts, ends)] for joints in (ours, theirs)]
        bone = bones[1][1] - bones[1][0]
        length = float(np.linalg.norm(bone))
        if (starts, ends) == TRUNK and same is not None:
            known, places = same
            nearest = cKDTree(body.template.numpy()[known]).query(before)[1]
            away = before - body.template.numpy()[known][nearest]
            expected = (places[nearest] + fitted.report.size * away).mean(0)
            found[name] = abs(float((after.mean(0) - expected) @ bone)) / length
        else:
            shares = [_along(points.mean(0), *ends) for points, ends in zip((before, after), bones, strict=True)]
            found[name] = abs(shares[1] - shares[0]) * length
    return found


def same_skin(body: Body, wearer: Wearer) -> tuple[np.ndarray, np.ndarray] | None:
    """Vertices of our body whose places on the wearer are known, and these."""
    if len(wearer.vertices) == len(body.template):
        return np.arange(len(body.template)), wearer.vertices
    if len(wearer.vertices) == len(data("hm08")["vertices.base"]):
        known, theirs = same_vertices()
        return known, wearer.vertices[theirs]
    return None


def _border(middle: np.ndarray, joints: np.ndarray) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """What a border is called, and the joints between whose middles its place counts."""
    side, left = ("left", 0) if middle[0] > 0 else ("right", 1)
    if middle[1] < joints[[1, 2]].mean(0)[1] - 0.1:
        return ("hem", (1, 2), (4, 5)) if abs(middle[0]) < 0.03 else (f"{side} hem", (4 + left,), (7 + left,))
    if abs(middle[0]) > 0.08:
        return f"{side} sleeve", (16 + left,), (18 + left,)
    return ("neck" if middle[1] > joints[9][1] else "waist", *TRUNK)


def _along(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    """Which share of a bone's length lies before a point."""
    bone = end - start
    return float((point - start) @ bone / (bone @ bone))


def border_loops(triangles: np.ndarray) -> list[np.ndarray]:
    """The vertices of each border."""
    edges, count = edges_of(triangles)
    open_edges = edges[count == 1]
    graph = coo_matrix((np.ones(len(open_edges)), open_edges.T), (triangles.max() + 1,) * 2)
    _, label = connected_components(graph, directed=False)
    return [np.flatnonzero(label == each) for each in np.unique(label[np.unique(open_edges)])]


def depths(points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:  # [M, 3] -> [M] metres
    """How deep points lie in a mesh: behind its nearest point; negative outside."""
    surface = Surface(vertices.astype(np.float64), triangles.astype(np.int64), 0.0)
    there = surface.closest(points.astype(np.float64), np.zeros(points.shape), NEAREST)
    height = ((points - there.carry(surface.vertices)) * there.carry(surface.vertex_normals)).sum(1)
    return np.where(height < 0, there.distance, -there.distance)


def like_official(body: Body, seed: int = 0) -> Wearer:
    """What official SMPL characters differ in from our body: shape, hips and spine elsewhere in the same body, one arm
    hanging 17 degrees lower than the other in what counts as a T-pose, the origin in the chest.
    """
    shape = torch.from_numpy(np.random.default_rng(seed).normal(0, 1.2, body.shape_components.shape[-1])).float()
    vertices = body.template + body.shape_components @ shape
    joints = body.joint_regressor @ vertices
    rotations = torch.eye(3).repeat(1, body.joint_count, 1, 1)
    for joint, degrees in ((16, 15.0), (17, -3.0), (1, 2.0), (4, -4.0)):
        angle = torch.tensor(np.radians(-degrees))
        rotations[0, joint, :2, :2] = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    transforms = forward_kinematics(body.parents, joints[None], rotations)
    vertices = skin(vertices[None], body.blend_weights, transforms)[0]
    places = (transforms[0, :, :3, :3] @ joints[..., None])[..., 0] + transforms[0, :, :3, 3]
    for joint, moved in {0: (0, 0.01, -0.02), 1: (-0.03, -0.03, -0.01), 2: (0.03, -0.03, -0.01), 3: (0, 0.04, -0.02),
                         6: (0, 0.03, -0.03), 9: (0, 0.04, -0.01), 12: (0, 0.02, -0.02), 13: (0.02, 0, 0),
                         14: (-0.02, 0, 0)}.items():  # fmt: skip
        places[joint] += torch.tensor(moved)
    weights = own_wearer(body).weights
    arrays = {"joints": places[:22], "turns": np.tile(np.eye(3), (22, 1, 1)), "vertices": vertices,
              "triangles": body.triangles, "weights": weights}  # fmt: skip
    chest = places[9].clone()
    arrays |= {"joints": places[:22] - chest, "vertices": vertices - chest}
    return Wearer.of_arrays({name: np.asarray(array) for name, array in arrays.items()})
