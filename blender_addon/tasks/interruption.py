"""SIGTERM and SIGINT, heeded between two frames, and inside a long one."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """Inside `with`, a signal is kept in `signal` instead of ending the process.

    Python's own handlers wait until Blender gives the control back, minutes later while it renders; so a thread reads
    the signals, and inside `leave_at_once` it ends the process after a last call.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._last_call: Callable[[], None] | None = None
        self._lock = threading.Lock()

    @property
    def exit_code(self) -> int:
        return 128 + self.signal if self.signal else 0

    def __enter__(self) -> Interruption:
        self._before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        self._reading, self._writing = socket.socketpair()
        self._writing.setblocking(False)
        self._fd_before = signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        signal.set_wakeup_fd(self._fd_before)
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._writing.close()  # ends the thread
        self._thread.join(1.0)

    def _watch(self) -> None:
        with self._reading:
            while received := self._reading.recv(1):
                if received[0] not in SIGNALS:
                    continue
                with self._lock:
                    self.signal = received[0]
                    if self._last_call is not None:
                        self._last_call()
                        sys.stdout.flush()
                        os._exit(self.exit_code)

    @contextmanager
    def leave_at_once(self, last_call: Callable[[], None]) -> Iterator[None]:
        """What is done inside may be given up at any moment, after `last_call` has cleaned up."""
        with self._lock:
            self._last_call = last_call
        try:
            yield
        finally:
            with self._lock:
                self._last_call = None
