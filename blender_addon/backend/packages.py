"""The files that a set-up of the backend may install: the lock, with a version and the SHA-256 of each. No bpy.

`make lock` writes it. There are three lists, by the build of torch: the package index's own, which is for NVIDIA cards
on Linux and for CPU or Metal elsewhere, and two that torch's own index has.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from scale_backend.client.requirements import nvidia_driver

TORCH_INDEX = "https://download.pytorch.org/whl/"  # and a build
ANY, CPU, CUDA = "any", "cpu", "cu130"  # builds of torch
# pip takes no file that is not named, and builds nothing: to build a package is to run its code
ONLY_LOCKED = ("--require-hashes", "--only-binary", ":all:", "--no-deps")


@dataclass(frozen=True)
class Lock:
    """Lists of requirements with hashes, as pip reads them."""

    folder: Path = Path(__file__).resolve().parent / "lock"

    def packages(self, build: str) -> Path:
        """All that decoding needs."""
        return self.folder / f"{build}.txt"

    @property
    def faster(self) -> Path:
        """What makes it faster, and can be done without."""
        return self.folder / "faster.txt"

    @property
    def pip(self) -> Path:
        return self.folder / "pip.txt"

    @property
    def digest(self) -> str:
        files = sorted(self.folder.glob("*.txt"))
        return hashlib.sha256("".join(digest(file) for file in files).encode()).hexdigest()


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits. Panels that are drawn ask often: it is read when it has changed."""
    return _digest(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _digest(path: Path, _changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def best_build() -> str:
    """The build of torch for this computer: without libraries of gigabytes where no graphics card would use them."""
    if sys.platform.startswith("linux"):
        return ANY if nvidia_driver() else CPU
    return CUDA if sys.platform == "win32" and nvidia_driver() else ANY


def build_in(wheels: Path) -> str:
    """The build of torch that lies in a folder of wheels."""
    return next((build for build in (CUDA, CPU) if any(wheels.glob(f"torch-*+{build}-*.whl"))), ANY)


def own_wheel(wheel: Path, sha256: str) -> str:
    """A requirement that takes the add-on's own wheel, and no other file in its place."""
    return f"scale-backend @ {wheel.resolve().as_uri()} --hash=sha256:{sha256}\n"
