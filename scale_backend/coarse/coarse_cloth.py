"""A coarse mesh on a body, ready to fall through the windows of some poses."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scale_backend.coarse.correction import features
from scale_backend.coarse.faller import Faller
from scale_backend.coarse.falling import colours_of, fall
from scale_backend.coarse.sheet import CoarseSettings, CoarseSheet
from scale_backend.coarse.surroundings import Obstacle, carried, followed, obstacle_of, skin_rows, times_between, turned
from scale_backend.cpu import llvm_jit
from scale_backend.geometry.articulation import vertex_normals
from scale_backend.geometry.body import Body, shaped_vertices
from scale_backend.geometry.collision import garment_collider
from scale_backend.geometry.gathering import gather_sum
from scale_backend.machine.moving import to_device
from scale_backend.settling.constraints import Constraints, sheet_constraints

SKIN_POINTS = 500
GRAVITY = 9.81  # metres a square second


@dataclass(frozen=True)
class CoarseCloth:
    """All that does not depend on the pose. Nothing in it changes: threads may share it."""

    sheet: CoarseSheet
    settings: CoarseSettings
    obstacle: Obstacle
    constraints: Constraints
    colours: tuple[Tensor, ...]
    moments: Tensor  # [G + 1, L + 1] weights of the known moments at each look at the body
    order: Tensor  # [N] the vertices as they are simulated
    joints: Tensor  # [J, 3] of the body at rest
    fabric: Tensor  # [1, K] shares of the fabrics that it is made of
    faller: Faller | None  # None: torch computes

    def to(self, device: str | torch.device) -> CoarseCloth:
        moved = replace(to_device(self, device), colours=tuple(rows.to(device) for rows in self.colours))
        if torch.device(device).type == "cpu":
            return moved
        return replace(moved, faller=None, order=torch.arange(len(self.sheet.template), device=device))

    def made_of(self, fabrics: tuple[float, ...]) -> CoarseCloth:
        """In the mean of fabrics with these weights."""
        shares = torch.tensor([fabrics], device=self.fabric.device)
        return replace(self, fabric=shares / shares.sum())

    def displacements(
        self,
        transforms: Tensor,  # [F, L + 1, J, 3, 4] of the joints at the earlier moments, then now, as the root sees them
        down: Tensor,  # [F, 3] unit, as the root sees it
        shape: Tensor | None = None,  # [F, S] of the body
    ) -> Tensor:  # [F, C, 3] metres: how far it is from where the body alone would have it
        fallen = self.fallen(transforms, down, shape)
        return self.corrected(fallen, transforms, down, shape, self.fabric)

    def corrected(
        self, fallen: Tensor, transforms: Tensor, down: Tensor, shape: Tensor | None, fabrics: Tensor
    ) -> Tensor:  # [F, C, 3], ..., [F or 1, K] -> [F, C, 3]
        correction = self.sheet.correction
        if correction is None:
            return fallen
        return fallen + correction(self.features(transforms, down, shape, fallen), fabrics)

    def features(self, transforms: Tensor, down: Tensor, shape: Tensor | None, fallen: Tensor) -> Tensor:  # [F, I]
        """What a correction sees."""
        if shape is None:
            shape = fallen.new_zeros(len(fallen), self.sheet.shape_components.shape[-1])
        return features(transforms, self.joints, down, shape, fallen)

    def fallen(
        self,
        transforms: Tensor,  # [F, L + 1, J, 3, 4] of the joints at the earlier moments, then now, as the root sees them
        down: Tensor,  # [F, 3] unit, as the root sees it
        shape: Tensor | None = None,  # [F, S] of the body
    ) -> Tensor:  # [F, C, 3] metres: the same before it is corrected
        if self.faller is not None and len(transforms) > 1:  # products of many frames are rounded otherwise than of one
            frames = [slice(f, f + 1) for f in range(len(transforms))]
            return torch.cat([self.fallen(transforms[f], down[f], None if shape is None else shape[f]) for f in frames])
        between = torch.einsum("gm,fmx->fgx", self.moments, transforms.flatten(2))
        between = between.unflatten(2, transforms.shape[2:])
        rest = shaped_vertices(self.sheet.template, self.sheet.shape_components, shape)
        targets = followed(between, carried(rest[:, self.order], self.sheet.blend_weights[self.order]))
        skin, gravity = self._skin(between, shape), GRAVITY * down
        if self.faller is None:
            constraints = self.constraints if shape is None else self.constraints.of(rest)
            fallen = fall(targets.mT, skin, constraints, list(self.colours), self.sheet.held, self.settings, gravity)
            return fallen - targets[:, -1].mT
        own = None if shape is None else self.constraints.of(rest[0])
        place = self.faller(targets[0], skin[0], gravity[0], own)
        return (place - targets[0, -1].T[self.faller.blocks.place])[None]

    def on_carrier(self, displacements: Tensor) -> Tensor:  # [F, C, 3] -> [F, V, 3]
        return gather_sum(displacements, self.sheet.index, self.sheet.weights)

    def _skin(self, transforms: Tensor, shape: Tensor | None) -> Tensor:  # [F, G + 1, N, 8]
        points = self.obstacle
        rest = shaped_vertices(points.vertices, points.shape_components, shape)
        places = followed(transforms, carried(rest, points.blend_weights))
        return skin_rows(places, followed(transforms, turned(points.normals, points.blend_weights)))


def coarse_cloth(
    sheet: CoarseSheet,
    settings: CoarseSettings,
    body: Body,
    lags: tuple[float, ...],  # seconds before the present of the known moments
    fabrics: int = 1,
) -> CoarseCloth:
    """`sheet` and `body` on the host. Of several fabrics it is made of the first."""
    collider = garment_collider(body, sheet.blend_weights)
    normals = vertex_normals(body.template[collider.vertices][None], collider.rings)[0]
    constraints = sheet_constraints(sheet.triangles, sheet.template)
    colours = colours_of(constraints)
    faller = Faller(constraints, colours, sheet.held, settings) if llvm_jit.available() else None
    return CoarseCloth(
        sheet,
        settings,
        obstacle_of(body, collider, normals, SKIN_POINTS),
        constraints,
        tuple(colours),
        torch.from_numpy(times_between(lags, settings)).float(),
        torch.arange(len(sheet.template)) if faller is None else faller.order,
        body.mean_joints,
        torch.eye(max(1, fabrics))[:1],
        faller,
    )
