"""The training loop's state and one step of it: network, moving average, optimiser, learning rate."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn

from scale_backend.formats.errors import UserError
from scale_backend.model.network import Output, ScaleNetwork
from training.config import LossWeights, Recipe
from training.learning.checkpoints import CheckpointError
from training.learning.dataset import batch_indices
from training.learning.distributed import Team
from training.learning.losses import weighted_sum
from training.learning.supervision import Supervision

# frames the batch norms of the finished network are measured on; corresponding places are few a step, and cost little
NORM_FRAMES = {"corresponding": 512, "chamfer": 128}


class Trainer:
    """Everything a checkpoint holds. `data` is one of training/learning/supervision.py.

    Raises ConfigError for a batch that the team cannot share evenly.
    """

    def __init__(self, recipe: Recipe, data: Supervision, device: torch.device, team: Team | None = None):
        self.recipe, self.data, self.device, self.team = recipe, data, device, team or Team()
        self.part = self.team.part(recipe.batch)
        torch.manual_seed(recipe.seed)
        self.network = ScaleNetwork(recipe.network).to(device).train()
        if recipe.mode == "patch":  # the surface's own normal to start with: a zero vector has no direction to turn
            with torch.no_grad():
                output = self.network.mlp.normal[-1]
                assert isinstance(output, Output) and output.conv.bias is not None
                output.conv.bias.copy_(torch.tensor([0.0, 0.0, 1.0]))
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.team.join(self.network)
        self.optimiser = torch.optim.Adam(self.network.parameters(), recipe.learning_rate)
        self.step, self.seconds = 0, 0.0
        self.best, self.best_step, self.stale = math.inf, 0, 0  # lowest held-out error, its step, validations since

    @property
    def steps(self) -> int:
        if self.recipe.epochs is None:
            return self.recipe.steps
        return max(1, self.recipe.epochs * len(self.data) // self.recipe.batch)

    @property
    def progress(self) -> float:
        """0 at the start, 1 at the end, by steps or by minutes, whichever ends first."""
        by_time = self.seconds / (60 * self.recipe.minutes) if self.recipe.minutes else 0.0
        return min(1.0, max(self.step / self.steps, by_time))

    def judge(self, error: float) -> bool:
        """Take note of a validation; whether it is the best so far."""
        better = error < self.best
        if better:
            self.best, self.best_step = error, self.step
        self.stale = 0 if better else self.stale + 1
        return better

    def every(self, steps: int, epochs: float | None) -> int:
        """An interval in steps, given in steps or in passes over the frames."""
        return steps if epochs is None else max(1, round(epochs * len(self.data) / self.recipe.batch))

    def learning_rate(self) -> float:
        """Linear warm-up, then cosine to a hundredth or constant."""
        warm = min(1.0, (self.step + 1) / max(1, self.recipe.warm_up))
        if self.recipe.schedule == "constant":
            return self.recipe.learning_rate * warm
        cosine = 0.5 + 0.5 * math.cos(math.pi * self.progress)
        return self.recipe.learning_rate * warm * (0.01 + 0.99 * cosine)

    def train_step(self) -> dict[str, float]:
        """One step; the terms of the loss, and the loss, for the log."""
        start = time.perf_counter()
        recipe = self.recipe
        chosen = batch_indices(len(self.data), recipe.batch, self.step, recipe.seed)[self.part].to(self.device)
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        self.network.train()
        with_normals = self.step % recipe.normal_every == 0
        terms = self.data.terms(self.network, chosen, self.step, with_normals, self.part.start)
        terms["latent"] = self.network.latent.norm()
        loss = weighted_sum(terms, self.weights())
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.team.average_gradients(self.network)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
        if not torch.isfinite(norm):
            raise UserError(f"The loss is no longer finite at step {self.step}; lower learning_rate and resume.")
        self.optimiser.step()
        self.update_average()
        self.step += 1
        terms = {"loss": loss} | terms
        elapsed = loss.new_tensor(time.perf_counter() - start)  # the same in all processes: the schedule hangs on it
        values = torch.stack([elapsed, *(value.detach().float() for value in terms.values())])
        seconds, *means = self.team.mean(values).tolist()
        self.seconds += seconds
        return dict(zip(terms, means, strict=True))

    def weights(self) -> LossWeights:
        """The loss weights now: SCALE's schedule over epochs where the supervision is chamfer."""
        recipe = self.recipe
        if recipe.supervision_kind != "chamfer":
            return recipe.loss
        epoch = self.step * recipe.batch / len(self.data)
        decays = max(0, math.ceil((epoch - recipe.decay_start + 1e-9) / recipe.decay_every))
        rises = max(0, math.floor((epoch - recipe.rise_start) / recipe.rise_every))
        normal = recipe.loss.normal * (1.05**rises if epoch >= recipe.rise_start else 1e-6)
        return replace(recipe.loss, residual=recipe.loss.residual * 0.85**decays, normal=normal)

    @torch.no_grad()
    def update_average(self) -> None:
        decay = min(self.recipe.average, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)

    @torch.no_grad()
    def finished_network(self) -> ScaleNetwork:
        """The averaged weights with batch norms measured anew on the training frames: running means of a training
        belong to weights that have moved on since."""
        network = copy.deepcopy(self.average)
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # cumulative mean
        network.train()
        batch, kind = min(self.recipe.batch, len(self.data)), self.recipe.supervision_kind
        frames = NORM_FRAMES[kind] if kind == "corresponding" else min(NORM_FRAMES[kind], len(self.data))
        for number in range(max(1, frames // batch)):
            chosen = batch_indices(len(self.data), batch, number, self.recipe.seed + 1).to(self.device)
            self.data.terms(network, chosen, number)
        for norm in norms:
            norm.momentum = 0.1
        return network.eval()

    def state(self) -> dict:
        """All that the next step depends on. Which frames and points a step sees is a function of seed and step
        (training/learning/dataset.py), and so is the learning rate, so the step stands for sampler and schedule."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "best_step": self.best_step,
            "stale": self.stale,
            "frames": len(self.data),
            "settings": asdict(self.recipe.network),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Raises CheckpointError for a checkpoint of another network."""
        ours = asdict(self.recipe.network)
        there = {k: v for k, v in state.get("settings", {}).items() if ours.get(k, v) != v}
        try:
            if there:
                raise ValueError
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
        except (KeyError, RuntimeError, ValueError) as error:
            named = f" ({', '.join(f'{k}: {v} there, {ours[k]} here' for k, v in there.items())})" if there else ""
            raise CheckpointError(f"The checkpoint belongs to a network with other settings than the recipe's{named}; "
                                  "take the recipe it was made with, or another output folder.") from error  # fmt: skip
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.best, self.stale = float(state.get("best", math.inf)), int(state.get("stale", 0))
        self.best_step = int(state.get("best_step", 0))
        if "random" in state:
            torch.set_rng_state(state["random"].cpu())
        if state.get("frames", len(self.data)) != len(self.data):
            print(f"There were {state['frames']} training frames when this began, now there are {len(self.data)}: the "
                  "weights will differ from those of a training without a stop.")  # fmt: skip
