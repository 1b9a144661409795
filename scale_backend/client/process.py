"""The backend's process, seen from the side that starts it. Standard library only: this runs inside Blender."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO

from scale_backend.formats.errors import UserError

GOODBYE = 3.0  # seconds a backend has to leave before it is killed
LAST_LINES = 12


class BackendError(UserError):
    """What went wrong in one sentence, and what to do."""

    kind = "user"  # or "device", "cancelled", "protocol", "internal", "died", "start": to choose what to offer


class BackendStartError(BackendError):
    """The backend could not be started."""

    kind = "start"


class BackendDied(BackendError):  # noqa: N818
    """The process is gone, or had to be ended because it no longer answered. Start another."""

    kind = "died"


class BackendCancelled(BackendError):  # noqa: N818
    """The caller has cancelled the request."""

    kind = "cancelled"


class Process:
    """The child process: its standard input keeps it alive, its last lines say why it died."""

    def __init__(
        self,
        python: str | Path,
        arguments: list[str],
        module_path: str | Path | None,
        unwanted: threading.Event | None = None,
    ):
        self.python = str(python)
        self.unwanted = unwanted or threading.Event()
        try:
            self.child = subprocess.Popen(
                [self.python, *module_command("scale_backend"), *arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=child_environment(module_path), **own_group(),
            )  # fmt: skip
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise BackendStartError(
                f"The backend's Python could not be started: {self.python} ({reason}); "
                "choose the Python of an environment that has torch."
            ) from error
        self.output: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self.address = ""
        self.readers = [
            threading.Thread(target=_read_lines, args=(self.child.stdout, self.output.put), daemon=True),
            threading.Thread(target=_read_lines, args=(self.child.stderr, self.last_lines.append), daemon=True),
        ]
        for reader in self.readers:
            reader.start()
        # runs at interpreter exit too, and when the last user of this object is gone
        self.end = weakref.finalize(self, _end, self.child)

    @property
    def alive(self) -> bool:
        return self.child.poll() is None

    def kill(self) -> None:
        self.child.kill()
        self.wait(1.0)

    def wait(self, seconds: float) -> None:
        """Until it has ended, or for some seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(seconds)

    def hand_key(self, key: bytes) -> None:
        assert self.child.stdin is not None  # a pipe
        with contextlib.suppress(OSError):  # it died at once: waiting for its ready line tells why
            self.child.stdin.write(key.hex().encode() + b"\n")
            self.child.stdin.flush()

    def wait_until_ready(self, timeout: float) -> dict:
        """The ready line. Raises BackendStartError."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self.output.get(timeout=0.05)
            except queue.Empty:
                if self.unwanted.is_set():
                    raise BackendStartError("The start of the backend was stopped; start it again.") from None
                if not self.alive and self.output.empty():
                    self._join_readers()
                    if self.output.empty():
                        raise BackendStartError(self.why_not_started()) from None
                if time.monotonic() > deadline:
                    self.end()
                    raise BackendStartError(
                        f"The backend was not ready after {timeout:.0f} seconds; try again, or look at "
                        f"'{self.python} -m scale_backend doctor'.{self.last_words()}"
                    ) from None
                continue
            with contextlib.suppress(ValueError):
                ready = json.loads(line)
                if isinstance(ready, dict) and "address" in ready:
                    return ready
            self.last_lines.append(line)  # an environment's own chatter

    def why_not_started(self) -> str:
        """One sentence for a child that died before it was ready."""
        text = "\n".join(self.last_lines)
        if "No module named scale_backend" in text or "No module named 'scale_backend'" in text:
            return (
                f"The Python {self.python} has no scale_backend; "
                "install this project into it (pip install, with this project's folder), or choose another Python."
            )
        if self.child.returncode == 2 and self.last_lines:  # the backend's own sentence
            return f"The backend cannot start: {self.last_lines[-1]}"
        return (
            f"The backend stopped before it was ready ({_ending(self.child.returncode)}); "
            f"try again, or choose another Python.{self.last_words()}"
        )

    def why_died(self) -> str:
        self.wait(1.0)
        self._join_readers()
        return f"The backend stopped ({_ending(self.child.returncode)}); start it again.{self.last_words()}"

    def last_words(self) -> str:
        """What it wrote last, to be put behind a sentence."""
        return " Last lines:\n" + "\n".join(self.last_lines) if self.last_lines else ""

    def _join_readers(self) -> None:
        for reader in self.readers:
            reader.join(1.0)


class OthersProcess:
    """A backend that another program has started: one can talk to it, and leave."""

    alive = True  # as far as one can see from here: what fails is the connection
    pid = None

    def __init__(self, address: str, unwanted: threading.Event | None = None):
        self.address = address
        self.unwanted = unwanted or threading.Event()

    def kill(self) -> None:
        self.alive = False

    def wait(self, seconds: float) -> None:
        self.alive = False  # whoever waits for the end has lost the connection

    def end(self) -> None:
        self.alive = False

    def last_words(self) -> str:
        return ""

    def why_died(self) -> str:
        return f"The backend at {self.address}, which another program has started, no longer answers; start another."


def child_environment(module_path: str | Path | None) -> dict[str, str]:
    """This process's environment without what ties Python to Blender's own."""
    environment = dict(os.environ)
    for name in ("PYTHONHOME", "PYTHONSTARTUP", "PYTHONINSPECT", "__PYVENV_LAUNCHER__"):
        environment.pop(name, None)
    environment["PYTHONUTF8"] = "1"
    environment["PYTHONSAFEPATH"] = "1"  # a numpy.py in the folder Blender was started from is none of its modules
    others = environment.pop("PYTHONPATH", "").split(os.pathsep)
    paths = [
        *([str(module_path)] if module_path is not None else []),
        *(path for path in others if os.path.isabs(path)),
    ]
    if paths:  # a relative one names another place in the child
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    return environment


# The folder in which a program is started is none of its modules': a json.py there must not be run. PYTHONSAFEPATH says
# so from Python 3.11 on; before, `-m` puts that folder in front, and only code that is run first can take it away.
START_MODULE = """
import sys
sys.path[:] = [path for path in sys.path if path not in ("", ".")]
sys.argv[:] = sys.argv[1:]
import runpy
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def module_command(module: str) -> list[str]:
    """A Python's arguments that run a module of its own, whatever lies in the current folder."""
    return ["-c", START_MODULE, module]


def own_group() -> dict:
    """Popen's arguments for a group of its own: Ctrl-C is for the program that starts it, which then ends it."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _read_lines(stream: IO[bytes], take: Callable[[str], None]) -> None:
    with contextlib.suppress(OSError, ValueError), stream:
        for line in stream:
            text = line.decode("utf-8", "replace").rstrip()
            if text:
                take(text)


def _ending(code: int | None) -> str:
    if code is None:
        return "it is stuck"
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _end(child: subprocess.Popen) -> None:
    """Closing standard input asks the backend to leave; a stuck one is killed."""
    assert child.stdin is not None  # a pipe
    with contextlib.suppress(OSError):
        child.stdin.close()
    try:
        child.wait(GOODBYE)
    except subprocess.TimeoutExpired:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GOODBYE)


def examine_python(python: str | Path, module_path: str | Path | None = None, timeout: float = 60.0) -> dict:
    """What `scale-backend doctor` finds in a Python, also in one that cannot serve. Raises BackendStartError."""
    try:
        done = subprocess.run(
            [str(python), *module_command("scale_backend.doctor"), "--json"],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, env=child_environment(module_path),
        )  # fmt: skip
        return json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise BackendStartError(f"{python} did not answer within {timeout:.0f} seconds.") from None
    except OSError as error:
        reason = error.strerror or error
        raise BackendStartError(f"{python} could not be started ({reason}); choose a Python program.") from error
    except ValueError:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no output"]
        raise BackendStartError(f"{python} could not examine itself: {last[0]}") from None
