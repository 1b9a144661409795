"""The backend's own Python environment: made with Blender's Python, filled by pip, examined before use. No bpy."""

from __future__ import annotations

import contextlib
import io
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from scale_backend.client.process import BackendStartError, child_environment, examine_python, own_group
from scale_backend.client.requirements import describe
from scale_backend.formats.whole_files import opened_own, write_whole

from ..messages import AddonError
from ..tasks import folder_lock
from ..tasks.time_left import TimeLeft
from . import packages

LOG, STAMP, LOCK, OWN = "set-up.log", "scale-clothing.txt", "setting-up.lock", "backend.txt"
SILENCE = 900.0  # seconds without a line after which pip counts as stuck
REACH = 10.0  # seconds that torch's own index has to answer
IN_USE = "Another Blender is setting up the backend there; wait until it has finished."
# pip that ends with the Blender that has started it, however that ends: its standard input closes then
WATCHED_PIP = """
import os, runpy, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
RAW_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
# where each step begins, as a share of the whole
CREATE, PIP, PACKAGES, UNPACK, FASTER, WHEEL, CHECK = 0.0, 0.04, 0.08, 0.7, 0.86, 0.93, 0.95
CAUSES = (
    (r"DO NOT MATCH THE HASHES[^\n]*\s+([\w.-]+)",
     "the file of {0} is not the one that this version of the add-on was made for: its SHA-256 differs. It was not "
     "installed. It is damaged, or somebody has changed it; fetch it again, from elsewhere if it comes so again"),
    (r"No space left on device|There is not enough space",
     "the disk is full; free some 3 GB, or choose another folder, and try again"),
    (r"NewConnectionError|NameResolutionError|name resolution|ProxyError|ConnectTimeout|ReadTimeout|SSLError",
     "the packages could not be fetched; check the network and try again, or choose a folder of wheels"),
    (r"No matching distribution found for (\S+)",
     "pip found no {0} for this computer; check the network and try again, or complete the folder of wheels"),
    (r"Permission denied|Access is denied", "the folder cannot be written; choose another one"),
    (r"No module named '?(venv|ensurepip)|ensurepip is not\s+available",
     "Blender's Python lacks the module venv; install python3-venv, or choose an environment that has torch"),
)  # fmt: skip


class Cancelled(Exception):  # noqa: N818
    """The user has ended the set-up. What was fetched so far is kept."""


@dataclass(frozen=True)
class Plan:
    """What is to be installed, and where."""

    folder: Path
    module_path: str  # where scale_backend is found, for the check
    wheel: Path | None = None  # the add-on's own
    wheel_sha256: str = ""  # as stated when the add-on was built
    wheels: Path | None = None  # a folder of wheels, to be used instead of the network
    lock: packages.Lock = field(default_factory=packages.Lock)
    creator: str = field(default=sys.executable)

    @property
    def python(self) -> Path:
        return python_in(self.folder)

    @property
    def log(self) -> Path:
        return self.folder / LOG


def python_in(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def is_set_up(folder: Path) -> bool:
    """Whether a set-up of this folder once came to its end, its Python is still there, and nobody else could have
    changed what is in it."""
    return (folder / STAMP).is_file() and python_in(folder).is_file() and not why_not_ones_own(folder)


def why_not_ones_own(folder: Path) -> str:
    """Why what lies in a folder may be somebody else's; empty where it is this user's alone, or is not there."""
    if sys.platform == "win32":  # a user's folders have rights of their own there
        return ""
    try:
        status = folder.stat()
    except OSError:
        return ""
    if status.st_uid not in (os.getuid(), 0):
        return f"{folder} belongs to another user"
    return f"{folder} can be written by other users" if status.st_mode & 0o022 else ""


def is_current(plan: Plan) -> bool:
    """Whether the folder holds what the plan asks for."""
    try:
        return (plan.folder / STAMP).read_text() == _stamp(plan)
    except OSError:
        return False


def _stamp(plan: Plan) -> str:
    wheel = packages.digest(plan.wheel) if plan.wheel else "none"
    return f"packages {plan.lock.digest}\nwheel {wheel}\n"


class SetUp:
    """Makes an environment step by step; what is there already is kept, so that another try goes on."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.step, self.fraction = "Starting", 0.0
        self.failure = ""
        self.report: dict = {}  # what the doctor found, at the end
        self.ended = threading.Event()
        self._cancelled = threading.Event()
        self._thread: threading.Thread | None = None
        self._last_lines: deque[str] = deque(maxlen=200)
        self._fetched_size, self._left = 0, TimeLeft()

    @property
    def succeeded(self) -> bool:
        return self.ended.is_set() and not self.failure and not self._cancelled.is_set()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def start(self) -> None:
        """Work beside the caller; `ended` tells when it is over."""
        self._thread = threading.Thread(target=self._quietly, name="scale-backend-set-up", daemon=True)
        self._thread.start()

    def _quietly(self) -> None:
        with contextlib.suppress(AddonError, Cancelled):  # kept in `failure` and `cancelled`
            self.run()

    def cancel(self, wait: float = 0.0) -> None:
        """End the work after at most a fraction of a second; with `wait`, return when it has ended."""
        self._cancelled.set()
        if self._thread is not None and wait:
            self._thread.join(wait)

    def run(self) -> None:
        """Work until it is done. Raises AddonError and Cancelled."""
        try:
            self._make_folder()
            with (
                folder_lock.locked(self.plan.folder / LOCK, IN_USE),
                _appended(self.plan.log) as self._log,
            ):
                self._steps()
        except AddonError as error:
            self.failure = str(error)
            raise
        except OSError as error:
            self.failure = (
                f"The backend could not be set up in {self.plan.folder}: {error.strerror or error}; "
                "choose another folder."
            )
            raise AddonError(self.failure) from error
        except Cancelled:
            raise
        except Exception as error:  # nobody may take a set-up for done that is not
            self.failure = f"The backend could not be set up: {type(error).__name__}: {error}; the log says more."
            raise AddonError(self.failure) from error
        finally:
            self.ended.set()

    def _steps(self) -> None:
        plan = self.plan
        self._begin("Making the environment", CREATE)
        if not self._answers():
            self._changes()
            self._call([plan.creator, "-m", "venv", str(plan.folder)])
        self._begin("Looking for a newer pip", PIP)
        where, build = self._source()
        with contextlib.suppress(AddonError):  # an old one will do; it tells less of its progress
            self._call(self._locked(plan.lock.pip, *where, "--retries", "1", "--timeout", "10"))
        self._begin("Fetching packages", PACKAGES)
        raw = ["--progress-bar", "raw"] if self._pip_version() >= (24, 1) else []
        self._call(self._locked(plan.lock.packages(build), *where, *raw), self._show_pip)
        self._begin("Fetching packages that make it faster", FASTER)
        with contextlib.suppress(AddonError):  # no wheel for this Python: slower, not broken
            self._call(self._locked(plan.lock.faster, *where, *raw), self._show_pip)
        if plan.wheel is not None:
            self._begin("Installing the backend", WHEEL)
            own = plan.folder / OWN
            write_whole(own, packages.own_wheel(plan.wheel, plan.wheel_sha256).encode())
            self._call(self._locked(own, "--no-index", "--force-reinstall"), self._show_pip)
        self._begin("Trying it out", CHECK)
        self._check()
        write_whole(plan.folder / STAMP, _stamp(plan).encode())
        self._begin("Done", 1.0)

    def _changes(self) -> None:
        """From here on what was set up may be broken off: it counts as set up again at the end."""
        (self.plan.folder / STAMP).unlink(missing_ok=True)

    def _check(self) -> None:
        try:
            self.report = examine_python(self.plan.python, self.plan.module_path, timeout=180.0)
        except BackendStartError as error:
            raise self._failed(str(error)) from error
        self._log.write(describe(self.report, in_blender=True) + "\n")
        if not self.report["ok"]:
            raise self._failed(" ".join(self.report["advice"]) or "something is missing; see the log")

    def _make_folder(self) -> None:
        folder = self.plan.folder
        if folder.is_dir() and any(folder.iterdir()) and not (folder / LOG).exists():
            raise AddonError(f"{folder} holds other files; choose an empty folder for the backend.")
        why = why_not_ones_own(folder)
        if why and any(folder.iterdir()):
            raise AddonError(f"{why}; choose another folder for the backend.")
        folder.mkdir(parents=True, exist_ok=True)
        if sys.platform != "win32":
            folder.chmod(0o700)  # whoever can write here has their code run

    def _begin(self, step: str, fraction: float) -> None:
        if self._cancelled.is_set():
            raise Cancelled
        self.step, self.fraction = step, fraction
        self._log.write(f"{time.strftime('%H:%M:%S')} {step}\n")
        self._log.flush()

    def _pip(self, *arguments: str) -> list[str]:
        return [str(self.plan.python), "-c", WATCHED_PIP, "--no-input", "--disable-pip-version-check", *arguments]

    def _locked(self, files: Path, *options: str) -> list[str]:
        """Install the files of a list, each checked by its hash."""
        return self._pip("install", *packages.ONLY_LOCKED, *options, "--requirement", str(files))

    def _source(self) -> tuple[list[str], str]:
        """Where pip looks, and the build of torch that is there: a folder alone, or the package index and, where it is
        wanted and can be reached, torch's own."""
        wheels = self.plan.wheels
        if wheels is not None:
            return ["--no-index", "--find-links", str(wheels)], packages.build_in(wheels)
        build = packages.best_build()
        index = f"{packages.TORCH_INDEX}{build}"
        if build == packages.ANY:
            return [], build
        if not _reachable(index):  # pip would try for long, once for each package
            self._log.write(f"  {index} cannot be reached; the package index has torch as well\n")
            return [], packages.ANY
        return ["--extra-index-url", index], build

    def _answers(self) -> bool:
        """Whether there is a Python with pip: not after a set-up broken off, nor when the Blender that made it went."""
        try:
            self._pip_version()
        except (AddonError, OSError):
            return False
        return True

    def _pip_version(self) -> tuple[int, ...]:
        self._call([str(self.plan.python), "-c", "import pip; print(pip.__version__)"])
        return tuple(map(int, re.findall(r"\d+", self._last_lines[-1])[:2]))

    def _show_pip(self, line: str) -> None:
        done = RAW_PROGRESS.search(line)
        if done:
            have, whole = map(int, done.groups())
            if whole > 20e6:  # small ones come and go
                if whole != self._fetched_size:
                    self._fetched_size, self._left = whole, TimeLeft()
                self._left.saw(have / whole)
                self.fraction = max(self.fraction, PACKAGES + (UNPACK - PACKAGES) * have / whole)
                self.step = f"Fetching packages: {have / 1e6:,.0f} of {whole / 1e6:,.0f} MB{self._left}"
        elif line.strip().startswith("Collecting "):
            self.step = f"Fetching {re.split('[=<>! ]', line.strip()[11:])[0]}"
        elif line.startswith("Installing collected packages"):
            self.step, self.fraction = "Unpacking packages", UNPACK
            self._changes()

    def _call(self, command: list[str], show: Callable[[str], None] = lambda _line: None) -> None:
        """Run a program, its lines to the log. Raises AddonError and Cancelled."""
        environment = child_environment(None) | {"PIP_USER": "0"}
        environment.pop("PYTHONPATH", None)
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, encoding="utf-8", errors="replace", env=environment, **own_group(),
        )  # fmt: skip
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(child.stdout, lines.put), daemon=True).start()
        self._last_lines.clear()
        try:
            self._follow(child, lines, show)
        finally:
            _end(child)
        if child.returncode != 0:
            raise self._failed(explain("\n".join(self._last_lines)))

    def _follow(
        self, child: subprocess.Popen, lines: queue.SimpleQueue[str | None], show: Callable[[str], None]
    ) -> None:
        heard = time.monotonic()
        while True:
            if self._cancelled.is_set():
                raise Cancelled
            if time.monotonic() - heard > SILENCE:
                raise self._failed(f"pip wrote nothing for {SILENCE:.0f} seconds; try again")
            try:
                line = lines.get(timeout=0.2)
            except queue.Empty:
                continue
            if line is None:
                child.wait(10)
                return
            heard = time.monotonic()
            show(line)
            if not RAW_PROGRESS.search(line):
                self._last_lines.append(line)
                self._log.write(f"  {line}\n")
                self._log.flush()

    def _failed(self, why: str) -> AddonError:
        return AddonError(f"The backend could not be set up: {why.rstrip('.')}.")


def explain(output: str) -> str:
    """A cause and a remedy for what pip or venv wrote."""
    for pattern, sentence in CAUSES:
        match = re.search(pattern, output)
        if match:
            return sentence.format(*match.groups())
    last = [line.strip() for line in output.splitlines() if line.strip()][-1:]
    return f"{(last or ['a program failed without a message'])[0].rstrip('.')}; the log says more"


def _reachable(url: str) -> bool:
    """Whether a server takes connections; through a proxy one cannot tell."""
    if urllib.request.getproxies():
        return True
    try:
        socket.create_connection((urllib.parse.urlsplit(url).hostname, 443), REACH).close()
    except OSError:
        return False
    return True


def _appended(path: Path) -> io.TextIOWrapper:
    """A log of our own, to be written on. Raises OSError."""
    file = opened_own(path)
    file.seek(0, os.SEEK_END)
    return io.TextIOWrapper(file, encoding="utf-8", errors="replace")


def _read(stream: IO[str], take: Callable[[str | None], None]) -> None:
    with contextlib.suppress(OSError, ValueError), stream:
        for line in stream:
            take(line.rstrip())
    take(None)


def _end(child: subprocess.Popen) -> None:
    """Make sure that a program and what it started are gone."""
    assert child.stdin is not None  # a pipe
    with contextlib.suppress(OSError):
        child.stdin.close()
    if child.poll() is not None:
        return
    if sys.platform == "win32":
        child.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(5)
