"""The one backend process of this Blender: started when it is first needed, watched, closed with Blender."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakSet

from scale_backend.client.backend import Backend, BackendError
from scale_backend.formats.errors import UserError

from .. import messages, paths
from . import environment
from . import settings as backend_settings

# a backend of another program, to be used instead of one of one's own
ADDRESS_VARIABLE, KEY_VARIABLE = "SCALE_BACKEND_ADDRESS", "SCALE_BACKEND_KEY"
NOT_STARTED, STARTING, READY, FAILED = "not started", "starting", "ready", "failed"
NOT_SET_UP, SETTING_UP = "not set up", "setting up"

_lock = threading.Lock()  # of what is below; held for moments alone, never while something starts or ends
_backend: Backend | None = None
_launch: Launch | None = None  # with which the backend was started
_start: Start | None = None  # that goes on
_failure = ""
_is_shut = False  # the add-on was disabled: a thread that still decodes must not start another
_set_up: environment.SetUp | None = None
_stopped: WeakSet[Backend] = WeakSet()  # by us: they did not die


@dataclass(frozen=True)
class Launch:
    """What a start asks of Blender, whose data the main thread alone may read. With it any may start the backend."""

    python: Path = Path()
    device: str = "auto"
    threads: int = 0
    module_path: str = ""
    address: str = ""  # of a backend that another program has started, which is used instead
    key: bytes = b""

    @classmethod
    def read(cls) -> Launch:
        """As the environment and the preferences say. Raises AddonError."""
        shared = os.environ.get(ADDRESS_VARIABLE, "")
        if shared:
            return cls(address=shared, key=_shared_key())
        return cls(
            backend_settings.backend_python(),
            backend_settings.device(),
            backend_settings.threads(),
            paths.backend_modules(),
        )

    def start(self, unwanted: threading.Event) -> Backend:
        """Raises BackendError. unwanted: set by whoever does not want it any more."""
        if self.address:
            return Backend.connect(self.address, self.key, unwanted=unwanted)
        return Backend.start(
            self.python, device=self.device, threads=self.threads, module_path=self.module_path, unwanted=unwanted
        )


def _shared_key() -> bytes:
    """Raises AddonError."""
    try:
        return bytes.fromhex(os.environ.get(KEY_VARIABLE, ""))
    except ValueError:
        raise messages.AddonError(f"{KEY_VARIABLE} must be the backend's key, 64 hexadecimal digits.") from None


class Start:
    """One start of the backend. Whoever needs it waits for its end, one thread does it; it can be made unwanted."""

    def __init__(self, launch: Launch | None):
        self.launch = launch
        self.unwanted = threading.Event()
        self._ended = threading.Event()
        self._backend: Backend | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """What it comes to is kept for `result`."""
        try:
            self.launch = self.launch or Launch.read()
            self._backend = self.launch.start(self.unwanted)
        except BaseException as error:
            self._error = error
        if not _has_ended(self, self._backend, self._error) and self._backend is not None:
            self._backend.kill()
            self._backend, self._error = None, BackendError("The start of the backend was stopped; start it again.")
        self._ended.set()

    def result(self) -> Backend:
        """The backend, once it is there. Raises what the start has raised."""
        self._ended.wait()
        if self._error is not None:
            raise self._error
        assert self._backend is not None
        return self._backend


def _has_ended(start: Start, backend: Backend | None, error: BaseException | None) -> bool:
    """Take over what a start has come to, unless it has become unwanted meanwhile."""
    global _backend, _launch, _start, _failure
    with _lock:
        if _start is not start:
            return False
        _start = None
        if backend is not None:
            _backend, _launch, _failure = backend, start.launch, ""
        elif isinstance(error, UserError):
            _failure = str(error)
        return True


@dataclass(frozen=True)
class Status:
    kind: str
    text: str


def status() -> Status:
    """Where the backend stands, in words for the panel."""
    if _set_up is not None and not _set_up.ended.is_set():
        return Status(SETTING_UP, f"Setting up… {_set_up.fraction:.0%}")
    backend = _backend
    if _start is not None:
        return Status(STARTING, "Starting…")
    if backend is not None and backend.alive:
        return Status(READY, f"Ready on {_device_name(backend.info)}")
    if _failure:
        return Status(FAILED, "Failed")
    if not os.environ.get(ADDRESS_VARIABLE) and not backend_settings.is_set_up():
        return Status(NOT_SET_UP, "Not set up")
    return Status(NOT_STARTED, "Backend starts when it is needed")


def _device_name(info: dict) -> str:
    device = str(info.get("device", "cpu"))
    return "CPU" if device == "cpu" else str(info.get("device_name") or device.upper())


def running() -> bool:
    backend = _backend
    return backend is not None and backend.alive


def get(launch: Launch | None = None) -> Backend:
    """The backend, started if it is not running. From other threads than the main one with the `launch` that this
    module gave.

    Raises BackendError or AddonError.
    """
    global _backend, _start, _failure
    with _lock:
        if _backend is not None and _backend.alive:
            return _backend
        if _is_shut:
            raise BackendError("The add-on is disabled; enable it again.")
        dead, _backend = _backend, None
        mine = _start is None
        start = _start or Start(launch or _launch)
        if mine:
            _start, _failure = start, ""
    if dead is not None:
        dead.kill()  # what it leaves behind
    if mine:
        start.run()
    return start.result()


def has_died(backend: Backend) -> bool:
    """Whether a backend is gone though nobody has stopped it: then another may take its place."""
    return not backend.alive and backend not in _stopped and not _is_shut


def launch() -> Launch:
    """What another thread needs to use the backend: while it runs that with which it was started. Raises AddonError."""
    global _failure
    with _lock:
        if running() and _launch is not None:
            return _launch
    try:
        return Launch.read()
    except messages.AddonError as error:
        _failure = str(error)
        raise


def set_up(plan: environment.Plan) -> environment.SetUp:
    """A set-up of the backend's environment, not yet started; there is one at a time."""
    global _set_up, _failure
    _set_up, _failure = environment.SetUp(plan), ""
    return _set_up


def setting_up() -> environment.SetUp | None:
    """The set-up that goes on, or the last one."""
    return _set_up


def start_beside() -> None:
    """Start the backend without making Blender wait; `status` tells how it went. Raises AddonError."""
    global _start, _failure
    asked = launch()
    with _lock:
        if running() or _start is not None or _is_shut:
            return
        start = _start = Start(asked)
        _failure = ""
    threading.Thread(target=start.run, name="scale-backend-start", daemon=True).start()


def failure() -> str:
    return _failure


def stop() -> None:
    """End the process, or its start, at once; the next use starts a new one, as it is set then."""
    global _backend, _launch, _start, _failure
    with _lock:
        backend, start = _backend, _start
        _backend = _launch = _start = None
        _failure = ""
        if backend is not None:
            _stopped.add(backend)
    if start is not None:
        start.unwanted.set()
    if backend is not None:
        backend.kill()


def doctor() -> dict:
    return get().doctor()


def register() -> None:
    global _is_shut
    _is_shut = False
    # Python on its own ignores the signal, inside Blender it does not: writing to a backend that has died would end
    # Blender, without a word. It stays ignored: when the add-on is disabled a thread may still be writing
    if hasattr(signal, "SIGPIPE") and signal.getsignal(signal.SIGPIPE) == signal.SIG_DFL:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def unregister() -> None:
    global _is_shut
    _is_shut = True
    stop()
