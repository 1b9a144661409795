"""Several processes train one garment, on the GPUs of one machine or on several machines (`torchrun`).

Each takes an equal part of every batch and keeps the whole network. Batch norms and gradients are those of the whole
batch, so that the loss curve is that of one process; the first process keeps the books. torch's SyncBatchNorm, which
runs on GPUs alone, is not needed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed.nn  # before there is a group: see team()
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.config import ConfigError

LONGEST_WAIT = timedelta(hours=1)  # for the others: the first of them also validates


@dataclass(frozen=True)
class Team:
    """The processes of a training. All of them call the same methods in the same order."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def part(self, batch: int) -> slice:
        """This process's frames of a batch. Raises ConfigError for one that cannot be parted evenly."""
        if batch % self.size:
            raise ConfigError(f"A batch of {batch} frames cannot be shared evenly by {self.size} processes; set batch "
                              f"to a multiple of {self.size}.")  # fmt: skip
        frames = batch // self.size
        return slice(self.rank * frames, (self.rank + 1) * frames)

    @contextlib.contextmanager
    def in_turn(self) -> Iterator[None]:
        """One process after another: the first writes the caches that the others find."""
        for _ in range(self.rank if self.size > 1 else 0):
            distributed.barrier()
        yield
        for _ in range(self.size - self.rank if self.size > 1 else 0):
            distributed.barrier()

    def join(self, network: nn.Module) -> None:
        """Begin with the first process's weights, and share the batch norms."""
        if self.size == 1:
            return
        for value in network.state_dict().values():
            distributed.broadcast(value, 0)
        for module in list(network.modules()):
            for name, norm in list(module.named_children()):
                if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
                    setattr(module, name, SharedBatchNorm.of(norm))

    def average_gradients(self, network: nn.Module) -> None:
        if self.size == 1:
            return
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        flat = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def mean(self, values: Tensor) -> Tensor:
        if self.size > 1:
            distributed.all_reduce(values)
            values /= self.size
        return values

    def all_say(self, yes: bool, device: torch.device) -> bool:
        """Whether every process says yes."""
        return float(self.mean(torch.tensor(float(yes), device=device))) > 1 - 0.5 / self.size


class Observer:
    """What the other processes have where the first has its Run: no books."""

    def __init__(self, path: Path):
        self.path = path

    def begin(self, *_: object) -> None: ...

    def log(self, *_: object) -> None: ...

    def validate(self, *_: object) -> None: ...

    def save(self, *_: object) -> None: ...

    def exhausted(self, *_: object) -> bool:
        return False

    def finish(self, *_: object) -> Path:
        return self.path


@contextlib.contextmanager
def team(device: torch.device) -> Iterator[tuple[Team, torch.device]]:
    """The processes that torchrun has started, and this one's device; a team of one without torchrun.

    The group must be gone at the end: its threads abort a process that ends while one of them lets go of a tensor.
    torch.distributed.nn keeps the group that it finds when it is imported, as the optimizers do; so we import it first.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team(), device
        return
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
    try:
        yield Team(distributed.get_rank(), size), device
    finally:
        distributed.destroy_process_group()


class SharedBatchNorm(_BatchNorm):
    """Batch norm over the equal parts of a batch that the processes hold. Names and shapes of weights are the same."""

    @classmethod
    def of(cls, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> SharedBatchNorm:
        assert norm.running_mean is not None
        shared = cls(norm.num_features, norm.eps, norm.momentum, norm.affine).to(norm.running_mean.device)
        shared.load_state_dict(norm.state_dict())
        return shared.train(norm.training)

    def _check_input_dim(self, x: Tensor) -> None:
        """Rows and maps alike."""

    def forward(self, x: Tensor) -> Tensor:  # [R, C] or [F, C, H, W]
        if not self.training:
            return super().forward(x)
        values, across = x.float(), [d for d in range(x.ndim) if d != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        count = values.numel() // values.shape[1] * distributed.get_world_size()
        mean = SumOverProcesses.apply(values.sum(across)) / count
        centred = values - mean.view(shape)  # first, so that no digits are lost in the squares
        variance = SumOverProcesses.apply(centred.square().sum(across)) / count
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / max(1, count - 1), self.momentum)
        out = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(x.dtype)


class SumOverProcesses(torch.autograd.Function):
    """A sum that all processes get, so each one's gradient is the sum of what all of them make of it."""

    @staticmethod
    def forward(_context: object, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: object, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total
