"""Which device decodes: what was found, what is used and why."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from scale_backend.formats.errors import UserError

KINDS = ("cuda", "mps", "cpu")


class DeviceError(UserError):
    """A device that is missing, failed or is too small. The sentence says what to do."""


@dataclass(frozen=True)
class Device:
    """A device that torch knows of."""

    kind: str  # "cuda", "mps" or "cpu"
    name: str
    memory: int  # bytes; 0 where it shares the computer's
    problem: str = ""  # why it cannot be used; empty when it can


@dataclass(frozen=True)
class Choice:
    """The device to use."""

    kind: str
    name: str
    reason: str  # a sentence


def found_devices() -> list[Device]:
    """All devices, best first; each GPU has been tried with a small sum."""
    import torch

    devices = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            devices.append(Device("cuda", properties.name, properties.total_memory, _trial(f"cuda:{index}")))
    if torch.backends.mps.is_available():
        devices.append(Device("mps", platform.processor() or "Apple GPU", 0, _trial("mps")))
    devices.append(Device("cpu", processor_name(), 0))
    return devices


def _trial(device: str) -> str:
    """Empty when the device computes; otherwise what it says."""
    import torch

    try:
        return "" if float((torch.ones(2, device=device) + 1).sum()) == 4 else "it computes wrong sums"
    except RuntimeError as error:
        return str(error).splitlines()[0]


def choose_device(asked: str = "auto") -> Choice:
    """The device to use. Raises DeviceError where the asked one is not usable; nothing else is taken instead."""
    if asked not in ("auto", *KINDS):
        raise DeviceError(f"There is no device '{asked}'; choose auto, cuda, mps or cpu.")
    if asked == "cpu":
        return Choice("cpu", processor_name(), "The CPU was asked for.")
    devices = found_devices()
    if asked == "auto":
        chosen = next(d for d in devices if not d.problem)
        failed = next((d for d in devices if d.problem), None)
        if chosen.kind != "cpu":
            reason = f"The {label(chosen.kind)} is the fastest device found."
        elif failed:
            reason = f"{failed.name} was found but failed ({failed.problem}), so the CPU is used."
        else:
            reason = f"No GPU can be used: {missing_reason('cuda')}."
        return Choice(chosen.kind, chosen.name, reason)
    candidates = [d for d in devices if d.kind == asked]
    usable = [d for d in candidates if not d.problem]
    if not usable:
        reason = candidates[0].problem if candidates else missing_reason(asked)
        raise DeviceError(f"The {label(asked)} cannot be used: {reason}. Choose the device 'cpu' or 'auto'.")
    return Choice(asked, usable[0].name, f"The {label(asked)} was asked for.")


def label(kind: str) -> str:
    return {"cuda": "NVIDIA GPU", "mps": "Apple GPU", "cpu": "CPU"}[kind]


def missing_reason(kind: str) -> str:
    import torch

    if kind == "mps":
        return "this is no Mac with Apple silicon" if not is_apple_silicon() else "this torch was built without Metal"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} was built without CUDA"
    return "CUDA finds no NVIDIA GPU or no driver that fits"


def is_apple_silicon() -> bool:
    return platform.system() == "Darwin" and platform.machine() == "arm64"


def processor_name() -> str:
    """The CPU's name as its maker writes it, where the system tells."""
    if platform.system() == "Linux":
        for key, value in _cpuinfo():
            if key == "model name":
                return value
    return platform.processor() or platform.machine()


def matrix_units() -> list[str]:
    """What this CPU has for wide or low-precision arithmetic: avx2, avx512, avx512_bf16, amx_bf16, neon_bf16 ..."""
    if platform.system() == "Linux":
        flags = cpu_flags()
        named = {"avx2": "avx2", "avx512f": "avx512", "avx512_bf16": "avx512_bf16", "amx_bf16": "amx_bf16",
                 "bf16": "neon_bf16"}  # fmt: skip
        return [name for flag, name in named.items() if flag in flags]
    import torch

    return [torch.backends.cpu.get_cpu_capability().lower()]


def cpu_flags() -> list[str]:
    """The CPU's features as Linux names them; elsewhere none."""
    return next((value.split() for key, value in _cpuinfo() if key in ("flags", "Features")), [])


def _cpuinfo() -> list[tuple[str, str]]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = [line.split(":", 1) for line in file if ":" in line]
    except OSError:  # a sandbox without /proc
        return []
    return [(key.strip(), value.strip()) for key, value in lines]
