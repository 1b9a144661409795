"""A garment fitted to a wearer: its rest surface on the wearer's body, and the skin that it must stay out of."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from scale_backend.formats.wearer import JOINT_COUNT, Wearer, WearerError, WearerReport
from scale_backend.geometry.articulation import vertex_rings
from scale_backend.geometry.body import Body, forward_kinematics
from scale_backend.geometry.carrier import Carrier
from scale_backend.geometry.collision import Collider
from scale_backend.geometry.rotations import shortest_rotation
from scale_backend.machine.moving import to_device
from scale_backend.wearer import carrying, placing, registration, thinning
from scale_backend.wearer.mesh import Array, Index, Surface, refined, vertex_normals

DENSE = 60_000  # vertices, of a mesh that is thinned out
FINE = 0.006  # metres between those that stay
LONGEST = 0.03  # metres of an edge of the wearer's mesh, which is refined where it is longer
SPACING = 0.014  # metres between vertices of the skin that cloth is kept out of
TOUCHED = 0.05  # a garment touches the skin of joints that one of its vertices follows by this weight
CANDIDATES = 24  # triangles looked at for the skin below a vertex of the cloth
HIPS_AND_SHOULDERS = (1, 2, 16, 17)
MATCHED = 0.3  # how sure a match must be to count

SMALLEST = 0.02  # metres of the wearer's limbs in a metre of the body's
UNFIT = ("Clothes cannot be laid onto this body: its mesh has no area, or its bones have no length; choose the mesh of "
         "the character's body, and look at the armature in its rest pose.")  # fmt: skip
RESULTS = ("template", "blend_weights", "joints", "skin", "skin_weights")

Tell = Callable[[float], None]


@dataclass(frozen=True)
class Fit:
    """What of a garment on a wearer does not depend on the pose. In the wearer's rest pose, metres, SMPL's axes."""

    template: Tensor  # [G, 3] the garment's carrier
    blend_weights: Tensor  # [G, J]
    joints: Tensor  # [J, 3]
    turns: Tensor  # [J, 3, 3] from the T-pose to the rest
    collider: Collider  # `vertices` are rows of the next two
    skin: Tensor  # [C, 3]
    skin_weights: Tensor  # [C, J]
    report: WearerReport

    parents: tuple[int, ...]
    untwisted: tuple[int, ...] = ()  # hips and shoulders along whose limbs the wearer's skin does not twist

    def joint_transforms(self, rotations: Tensor, translation: Tensor | None = None) -> Tensor:
        """Skinning transforms [F, J, 4, 4], from the wearer's rest to the pose that the body has by local rotations
        [F, J, 3, 3] from its T-pose."""
        above = torch.cat([torch.eye(3, device=self.turns.device)[None], self.turns[list(self.parents[1:])]])
        local = above @ rotations @ self.turns.mT
        transforms = forward_kinematics(self.parents, self.joints[None], local, translation)
        return self._without_twist(transforms, local) if self.untwisted else transforms

    def _without_twist(self, transforms: Tensor, local: Tensor) -> Tensor:  # [F, J, 4, 4], [F, J, 3, 3]
        """The skin of some limbs turns the shortest way to where they point. All that hangs on them stays."""
        parts, (starts, along) = list(transforms.unbind(1)), self._limbs
        own = torch.stack([parts[joint] for joint in self.untwisted], 1)  # [F, K, 4, 4]
        above = torch.stack([parts[self.parents[joint]] for joint in self.untwisted], 1)[..., :3, :3]
        here = torch.stack([local[:, joint] for joint in self.untwisted], 1) @ along[..., None]
        turned = above @ shortest_rotation(along, here[..., 0])
        places = own[..., :3, :3] @ starts + own[..., :3, 3:]
        moved = torch.cat([torch.cat([turned, places - turned @ starts], -1), own[..., 3:, :]], -2)
        for joint, transform in zip(self.untwisted, moved.unbind(1), strict=True):
            parts[joint] = transform
        return torch.stack(parts, 1)

    @functools.cached_property
    def _limbs(self) -> tuple[Tensor, Tensor]:
        """Where each limb that does not twist begins [K, 3, 1], and where it points [K, 3], at rest."""
        starts = torch.stack([self.joints[joint] for joint in self.untwisted])
        ends = torch.stack([self.joints[placing.LIMBS[joint]] for joint in self.untwisted])
        return starts[..., None], normalize(ends - starts, dim=-1)

    def to(self, device: str | torch.device) -> Fit:
        return to_device(self, device)


def fit(body: Body, carrier: Carrier, wearer: Wearer, tell: Tell = lambda share: None) -> Fit:
    """Lay the body onto the wearer's mesh and carry the carrier over. tell: hears which share is done.

    Raises WearerError for a mesh or a skeleton without extent, onto which nothing can be laid.
    """
    try:
        fitted = _fit(body, carrier, wearer, tell)
    except (np.linalg.LinAlgError, ValueError, RuntimeError) as error:  # systems of equations without a solution
        raise WearerError(UNFIT) from error
    if not all(bool(torch.isfinite(getattr(fitted, name)).all()) for name in RESULTS):
        raise WearerError(UNFIT)
    return fitted


def _fit(body: Body, carrier: Carrier, wearer: Wearer, tell: Tell) -> Fit:
    started = time.perf_counter()
    template = template_of(body)
    joints = np.asarray(wearer.joints, np.float64)
    size = placing.size_ratio(template.joints, joints)
    if size < SMALLEST:
        raise WearerError(UNFIT)
    vertices, triangles, weights = _even_mesh(wearer, size)
    surface = Surface(vertices, triangles, registration.FACING * size)
    tell(0.1)
    laid = registration.register(template, joints, surface, size)
    tell(0.6)
    cloth = carrying.Cloth(_array(carrier.template), _index(carrier.triangles), _array(carrier.blend_weights))
    skin_weights = _padded(laid.contact.carry(weights), len(template.joints))
    if carrier.kind == "body":
        carried, inside, blend = laid.vertices, 0.0, skin_weights
    else:
        ours = Surface(template.vertices, template.triangles, carrying.FACING)
        contact = ours.closest(cloth.vertices, vertex_normals(cloth.vertices, cloth.triangles), CANDIDATES)
        carried, inside = carrying.carry(cloth, template, laid, surface, contact)
        blend = carrying.carried_weights(cloth, template, skin_weights, contact)
    tell(0.85)
    collider, chosen = _collider(vertices, triangles, weights, cloth, size)
    whole = placing.place(template.joints, joints, template.parents).places
    whole[:JOINT_COUNT] = joints[: len(whole)]
    turns = np.concatenate([wearer.turns, np.zeros((max(0, len(whole) - JOINT_COUNT), 3, 3))])
    for joint in range(JOINT_COUNT, len(whole)):
        turns[joint] = turns[template.parents[joint]]
    touched = (cloth.weights.max(0) > TOUCHED)[template.weights.argmax(1)]
    report = _report(template, laid, touched, inside, size, time.perf_counter() - started)
    return Fit(
        _tensor(carried), _tensor(blend), _tensor(whole), _tensor(turns), collider,
        _tensor(vertices[chosen]), _tensor(_padded(weights[chosen], len(whole))), report, template.parents,
        tuple(joint for joint in placing.LIMBS if joint in HIPS_AND_SHOULDERS and wearer.untwisted[joint]),
    )  # fmt: skip


def _even_mesh(wearer: Wearer, size: float) -> tuple[Array, Index, Array]:
    """The wearer's mesh with weights, not so coarse that points go astray on it, nor so fine that it takes long."""
    vertices, weights = wearer.vertices.astype(np.float64), wearer.weights.astype(np.float64)
    triangles = wearer.triangles.astype(np.int64)
    if len(vertices) > DENSE:
        chosen, triangles = thinning.thinned(vertices, triangles, FINE * size)
        vertices, weights = vertices[chosen], weights[chosen]
    return refined(vertices, triangles, weights, LONGEST * size)


def template_of(body: Body) -> registration.Template:
    """A body as the registration has it."""
    return registration.Template(
        _array(body.template), _index(body.triangles), _array(body.blend_weights), _array(body.mean_joints),
        body.parents, body.joint_names,
    )  # fmt: skip


def _collider(
    vertices: Array, triangles: Index, weights: Array, cloth: carrying.Cloth, size: float
) -> tuple[Collider, Index]:
    touched = np.flatnonzero(cloth.weights.max(0) > TOUCHED)
    # by the joint it follows most: some rigs give a hand a little of the hip that it hangs beside
    belongs = np.isin(weights.argmax(1), touched)
    kept = triangles[belongs[triangles].any(1)]
    chosen, corners = thinning.thinned(vertices, kept, SPACING * size)
    used, compact = np.unique(corners, return_inverse=True)
    rings = vertex_rings(torch.from_numpy(compact.reshape(-1, 3)).long(), len(used))
    return Collider(torch.arange(len(used)), rings), chosen[used]


def _report(
    template: registration.Template,
    laid: registration.Registered,
    touched: np.ndarray,  # [V] bool
    inside: float,
    size: float,
    seconds: float,
) -> WearerReport:
    unmatched = touched & (laid.found < MATCHED)
    area = carrying.laplacian(template.vertices, template.triangles)[0]
    joints = template.weights.argmax(1)
    parts = []
    for joint in np.unique(joints[touched]):
        part = touched & (joints == joint)
        if area[part & unmatched].sum() > 0.5 * area[part].sum():
            parts.append(template.names[joint])
    matched = touched & ~unmatched
    gap = float((area * laid.contact.distance)[matched].sum() / max(area[matched].sum(), 1e-12))
    share = float(area[unmatched].sum() / max(area[touched].sum(), 1e-12))
    return WearerReport(gap, inside, share, tuple(parts), float(size), seconds)


def _padded(weights: Array, count: int) -> Array:  # [V, 22] -> [V, J]
    return np.concatenate([weights, np.zeros((len(weights), count - weights.shape[1]))], 1)


def _array(value: Tensor) -> Array:
    return value.cpu().numpy().astype(np.float64)


def _index(value: Tensor) -> Index:
    return value.cpu().numpy().astype(np.int64)


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
