"""Teaches coarse cloth what it lacks in the mean, before the garment's own network learns the rest.

Frames are few beside what a network could tell apart, so it learns between the strongest components of what it is shown
and of what it answers; both are folded into its layers afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from scale_backend.coarse.coarse_cloth import CoarseCloth
from scale_backend.coarse.correction import Correction
from scale_backend.formats.whole_files import written_whole
from training.learning.moving import MovingFrames

SEEN, ANSWERED = (80, 120), 200  # components: of the pose and its moments, of the coarse cloth; of the answer
HIDDEN, BATCH, RATE = 256, 256, 1e-3
DROPOUT, DECAY, NOISE = 0.2, 1e-2, 0.05
RIDGE = 1e-2  # where two coarse vertices could stand for each other
CHUNK = 64  # frames


@dataclass(frozen=True)
class Components:
    """The strongest of some rows, scaled alike."""

    mean: Tensor  # [D]
    directions: Tensor  # [D, K]
    size: Tensor  # []

    @classmethod
    def of(cls, rows: Tensor, count: int) -> Components:  # [N, D]
        mean = rows.mean(0)
        count = min(count, *rows.shape)
        directions = torch.svd_lowrank(rows - mean, min(count + 10, *rows.shape))[2][:, :count]
        size = ((rows - mean) @ directions).std().clamp_min(1e-9)
        return cls(mean, directions, size)

    def seen(self, rows: Tensor) -> Tensor:  # [N, D] -> [N, K]
        return (rows - self.mean) @ self.directions / self.size


def learn_correction(frames: MovingFrames, steps: int, seed: int) -> Correction:
    """From frames whose coarse cloth is not corrected yet."""
    assert frames.coarse is not None and frames.fallen is not None
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        rows, wanted = _examples(frames, frames.coarse, frames.fallen)
        cloth = 3 * frames.fallen.shape[1]
        seen = [Components.of(part, k) for part, k in zip((rows[:, :-cloth], rows[:, -cloth:]), SEEN, strict=True)]
        answer = Components.of(wanted, ANSWERED)
        fabrics = nn.functional.one_hot(frames.motion.fabric, frames.fabrics).float()
        parts = [c.seen(r) for c, r in zip(seen, (rows[:, :-cloth], rows[:, -cloth:]), strict=True)]
        network = _learned(torch.cat([*parts, fabrics], 1), answer.seen(wanted), steps)
    return _folded(network, seen, answer, frames.fabrics)


def _examples(frames: MovingFrames, coarse: CoarseCloth, fallen: Tensor) -> tuple[Tensor, Tensor]:  # [N, I], [N, 3 C]
    """What it sees, and how far the cloth is from where it fell, as the coarse vertices can say it."""
    sheet = coarse.sheet
    ties = torch.zeros(len(sheet.index), len(sheet.template), device=sheet.index.device)
    ties.scatter_add_(1, sheet.index, sheet.weights)
    ridge = RIDGE * torch.eye(ties.shape[1], device=ties.device)
    nearest = torch.linalg.solve(ties.T @ ties + ridge, ties.T)  # [C, V]
    rows, wanted = [], []
    for chosen in torch.arange(len(frames)).to(fallen.device).split(CHUNK):
        transforms, down, shape = frames.seen_by_coarse(chosen)
        rows.append(coarse.features(transforms, down, shape, fallen[chosen]))
        cloth = frames.at(chosen)
        wanted.append((nearest @ (cloth.vertices - cloth.posed.base)).flatten(1))
    return torch.cat(rows), torch.cat(wanted)


def _learned(seen: Tensor, wanted: Tensor, steps: int) -> nn.Sequential:  # [N, I], [N, O]
    network = nn.Sequential(
        nn.Linear(seen.shape[1], HIDDEN), nn.SiLU(), nn.Dropout(DROPOUT),
        nn.Linear(HIDDEN, HIDDEN), nn.SiLU(), nn.Dropout(DROPOUT),
        nn.Linear(HIDDEN, wanted.shape[1]),
    ).to(seen.device)  # fmt: skip
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * (1 - step / steps)
        chosen = torch.randint(len(seen), (min(BATCH, len(seen)),)).to(seen.device)
        shown = seen[chosen]
        away = network(shown + NOISE * torch.randn_like(shown)) - wanted[chosen]
        loss = (away.square().sum(1) + 1e-6).sqrt().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval().requires_grad_(False)


def _folded(network: nn.Sequential, seen: list[Components], answer: Components, fabrics: int) -> Correction:
    first, second, last = (layer for layer in network if isinstance(layer, nn.Linear))
    widths = [part.directions.shape[1] for part in seen]
    *weights, fabric = first.weight.split([*widths, fabrics], 1)
    unfolded = [w @ part.directions.T / part.size for w, part in zip(weights, seen, strict=True)]
    bias = first.bias - sum(w @ part.mean for w, part in zip(unfolded, seen, strict=True))
    out = answer.directions * answer.size
    return Correction(torch.cat(unfolded, 1), bias, fabric.contiguous(), second.weight, second.bias,
                      out @ last.weight, out @ last.bias + answer.mean)  # fmt: skip


def kept_correction(path: Path, frames: MovingFrames, steps: int, seed: int) -> Correction:
    """Learned once for a training: what is resumed goes on with the same. Raises OSError."""
    from safetensors.torch import load, save

    if not path.is_file():
        learned = learn_correction(frames, steps, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as beside:
            beside.write_bytes(save({name: value.contiguous().cpu() for name, value in learned.tensors().items()}))
    return Correction(**load(path.read_bytes())).to(frames.vertices.device)
