"""File systems that are too small, or may not be written: real ones in memory where a test may mount them."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Disk:
    """At a folder. Where nothing may be mounted a limit on files stands for its size, and rights for its protection."""

    folder: Path
    limit: Callable[[], None] | None  # for whatever is started to write there; None: the disk itself is small

    def change(self, size: int, writable: bool) -> None:  # bytes
        if self.limit is None:
            _mount(self.folder, f"remount,size={size},{'rw' if writable else 'ro'}")
        else:
            self.folder.chmod(0o700 if writable else 0o500)


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Disk]:  # bytes
    if os.getuid() == 0 and _mount(folder, f"size={size}"):
        try:
            yield Disk(folder, None)
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=60)
    else:
        yield Disk(folder, _no_large_files)


def _mount(folder: Path, options: str) -> bool:
    command = ["mount", "--types", "tmpfs", "--options", options, "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, timeout=60).returncode == 0


def _no_large_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
