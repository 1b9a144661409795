"""Real backend processes for tests."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import scale_backend
from scale_backend.client.backend import Backend, Channel
from scale_backend.formats.motion import matrices_from_axis_angle

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals and sockets of POSIX")
PACKAGES = Path(scale_backend.__file__).parent.parent


def start(**options) -> Backend:
    return Backend.start(sys.executable, **{"device": "cpu", "threads": 1, "module_path": PACKAGES} | options)


def poses(frames: int, joints: int = 24) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    rotations = matrices_from_axis_angle(random.normal(0, 0.2, (frames, joints, 3))).astype(np.float32)
    return rotations, random.normal(0, 1, (frames, 3)).astype(np.float32)


def open_channel(backend: Backend) -> Channel:
    return Channel(backend._process, backend.address, backend.key, 30.0)


def gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether the process ends in time. A zombie that nobody has waited for has ended too."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            if " Z " in Path(f"/proc/{pid}/stat").read_text():
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False
