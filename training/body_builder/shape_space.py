"""Body shapes as SMPL has them: principal components of many sampled bodies, one unit a standard deviation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.body_builder.makehuman import Array
from training.body_builder.phenotypes import PhenotypeSpace
from training.body_builder.t_pose import SkinnedMesh, to_t_pose

NEUTRAL = {"gender": 0.5, "age": 0.70, "muscle": 0.55, "weight": 0.45, "height": 0.37, "proportions": 0.7,
           "cupsize": 0.2}  # fmt: skip


@dataclass(frozen=True)
class ShapeSamples:
    """Random adult bodies in T-pose, their pelvis where the neutral body's is."""

    skins: Array  # [B, V, 3]
    joints: Array  # [B, J, 3]
    traits: Array  # [B, traits]


def sample_shapes(
    mesh: SkinnedMesh, phenotypes: PhenotypeSpace, base: Array, pelvis: Array, count: int, seed: int
) -> ShapeSamples:
    random = np.random.default_rng(seed)
    skins, joints, traits = [], [], []
    for _ in range(count):
        body = _random_traits(random)
        origins = tuple(random.dirichlet([1, 1, 1]))
        skin, joint = to_t_pose(mesh, base + phenotypes.offset(body, origins))
        skins.append(skin - (joint[0] - pelvis))
        joints.append(joint - (joint[0] - pelvis))
        traits.append(list(body.values()))
    return ShapeSamples(np.array(skins), np.array(joints), np.array(traits))


def _random_traits(random: np.random.Generator) -> dict[str, float]:
    return {
        "gender": random.uniform(0, 1),
        "age": random.uniform(0.667, 0.95),
        "muscle": random.uniform(0.1, 0.95),
        "weight": random.uniform(0.1, 0.95),
        "height": float(np.clip(random.normal(0.37, 0.075), 0.15, 0.6)),
        "proportions": random.uniform(0.3, 1),
        "cupsize": random.uniform(0.1, 0.8),
        "firmness": random.uniform(0.3, 0.9),
    }


def shape_components(samples: ShapeSamples, neutral: Array, count: int) -> Array:  # [V, 3, S]
    """Each component points the way in which the trait it goes with most grows."""
    offsets = (samples.skins - neutral).reshape(len(samples.skins), -1)
    centred = offsets - offsets.mean(0)
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    deviation, directions = spread[:count] / np.sqrt(len(centred) - 1), directions[:count]
    scores = centred @ directions.T / deviation  # [B, S]
    correlation = np.corrcoef(scores.T, samples.traits.T)[:count, count:]
    strongest = correlation[np.arange(count), np.abs(correlation).argmax(1)]
    directions = directions * (deviation * np.where(strongest < 0, -1, 1))[:, None]
    return directions.reshape(count, *neutral.shape).transpose(1, 2, 0)
