"""A decoded mesh gets its length back, with the body in the way; a finer one follows the rest mesh's vertices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from scale_backend.geometry.carrier import Carrier
from scale_backend.geometry.collision import Contact, Skin, nearest_vertices
from scale_backend.geometry.gathering import gather_sum
from scale_backend.machine.cores import Cores
from scale_backend.settling import Sweeper, TorchSweeper, sweeper_of
from scale_backend.settling.contact import contact_planes
from scale_backend.settling.sweeps import Settling
from scale_backend.surfaces.butterfly import Stencils


@dataclass(frozen=True)
class Sheet:
    """The rest mesh of a garment, and how the vertices of a surface hang on its V vertices."""

    sweeper: Sweeper | TorchSweeper
    count: int  # V, the first vertices of the surface
    stencils: Stencils | None  # of a finer surface's vertices; None: it is the rest mesh


def sheet_of(carrier: Carrier, stencils: Stencils, device: torch.device) -> Sheet:
    """`carrier` on the host."""
    count = len(carrier.template)
    finer = None if len(stencils.index) == count else stencils.to(device)
    return Sheet(sweeper_of(carrier.triangles, carrier.template, device), count, finer)


def blended(settlings: Sequence[Settling], weights: Sequence[float]) -> Settling:
    """How cloth between fabrics settles."""
    share = torch.tensor(list(weights) or [1.0] + [0.0] * (len(settlings) - 1))
    share = share / share.sum()
    values: dict[str, Any] = {}
    for field in fields(Settling):
        mean = float(sum(w * getattr(one, field.name) for w, one in zip(share.tolist(), settlings, strict=True)))
        values[field.name] = round(mean) if field.type == "int" else mean
    return Settling(**values)


def settle(
    points: Tensor,  # [F, M, 3] decoded
    sheet: Sheet,
    settling: Settling,
    skin: Skin | None,  # None: nothing is in the way
    cores: Cores,
    rest: Tensor | None = None,  # [F, V, 3] the carrier at rest on a body of another shape
) -> tuple[Tensor, Contact | None]:  # [F, M, 3], and where the rest mesh's vertices touched the body
    answer = points[:, : sheet.count].contiguous()
    contact = None if skin is None else _contact(answer, skin, cores)
    planes = None if skin is None or contact is None else contact_planes(contact, skin)
    if rest is None:
        settled = sheet.sweeper(answer, planes, settling)
    elif isinstance(sheet.sweeper, TorchSweeper):
        settled = sheet.sweeper.of(rest)(answer, planes, settling)
    else:  # a frame at a time
        settled = sheet.sweeper.of(rest[0])(answer, planes, settling)
    if sheet.stencils is None:
        return settled, contact
    return points + gather_sum(settled - answer, sheet.stencils.index, sheet.stencils.weights), None


def _contact(answer: Tensor, skin: Skin, cores: Cores) -> Contact:
    """A share of the vertices for each core."""
    tiles = cores.tiles(answer.shape[1], answer.shape[1])
    nearest, near = zip(*cores.map(lambda rows: nearest_vertices(answer[:, rows], skin), tiles), strict=True)
    return Contact(torch.cat(nearest, 1), torch.cat(near, 1))
