"""Child processes of a command: gone when it is, and deaf to Ctrl-C, which the command answers for all."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait


def follow_parent() -> None:
    """Called first in a child process. It ends when the process that started it has ended, however that came about."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    parent = multiprocessing.parent_process()
    assert parent is not None  # it is called in a child

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def compute_alone() -> None:
    """The same for a process that shares the cores with others like it: one thread."""
    import torch

    follow_parent()
    torch.set_num_threads(1)
