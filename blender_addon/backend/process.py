"""The one backend process of this Blender: started when it is first needed, watched, closed with Blender."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

import bpy

from scale_backend.client.backend import Backend, BackendError
from scale_backend.formats.errors import UserError

from .. import messages, paths
from . import environment
from . import settings as backend_settings

# a backend of another program, to be used instead of one of one's own
ADDRESS_VARIABLE, KEY_VARIABLE = "SCALE_BACKEND_ADDRESS", "SCALE_BACKEND_KEY"
NOT_STARTED, STARTING, READY, FAILED = "not started", "starting", "ready", "failed"
NOT_SET_UP, SETTING_UP = "not set up", "setting up"

_lock = threading.RLock()
_backend: Backend | None = None
_failure = ""
_starting = False
_is_shut = False  # the add-on was disabled: a thread that still decodes must not start another
_set_up: environment.SetUp | None = None


@dataclass(frozen=True)
class Launch:
    """What a start asks of Blender, whose data the main thread alone may read. With it any may start the backend."""

    python: Path
    plan: environment.Plan
    device: str
    threads: int
    module_path: str
    online: bool

    @classmethod
    def read(cls) -> Launch:
        """As the preferences say. Raises AddonError."""
        return cls(
            backend_settings.backend_python(),
            backend_settings.environment_plan(),
            backend_settings.device(),
            backend_settings.threads(),
            paths.backend_modules(),
            bpy.app.online_access,
        )


@dataclass(frozen=True)
class Status:
    kind: str
    text: str


def status() -> Status:
    """Where the backend stands, in words for the panel."""
    if setting_up() is not None and not _set_up.ended.is_set():
        return Status(SETTING_UP, f"Setting up… {_set_up.fraction:.0%}")
    if _starting:
        return Status(STARTING, "Starting…")
    if _backend is not None and _backend.alive:
        return Status(READY, f"Ready on {_device_name(_backend.info)}")
    if _failure:
        return Status(FAILED, "Failed")
    if not backend_settings.is_set_up():
        return Status(NOT_SET_UP, "Not set up")
    return Status(NOT_STARTED, "Backend starts when it is needed")


def _device_name(info: dict) -> str:
    device = str(info.get("device", "cpu"))
    return "CPU" if device == "cpu" else str(info.get("device_name") or device.upper())


def running() -> bool:
    return _backend is not None and _backend.alive


def get(launch: Launch | None = None) -> Backend:
    """The backend, started if it is not running; from other threads than the main one with a `launch`.

    Raises BackendError or AddonError.
    """
    global _backend, _failure, _starting
    with _lock:
        if running():
            return _backend
        if _is_shut:
            raise BackendError("The add-on is disabled; enable it again.")
        stop()
        _starting = True
        try:
            launch = launch or Launch.read()
            _keep_current(launch)
            _backend = _others() or Backend.start(
                launch.python, device=launch.device, threads=launch.threads, module_path=launch.module_path
            )
        except UserError as error:
            _failure = str(error)
            raise
        finally:
            _starting = False
        _failure = ""
        return _backend


def launch() -> Launch | None:
    """What another thread needs to use the backend: nothing where it runs. Raises AddonError."""
    global _failure
    if running():
        return None
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


def _keep_current(launch: Launch) -> None:
    """After an update of the add-on, update the environment that it has made; the old one serves where that fails."""
    plan = launch.plan
    if launch.python != plan.python or not environment.is_set_up(plan.folder) or environment.is_current(plan):
        return
    if plan.wheels is None and not launch.online:
        return
    with contextlib.suppress(messages.AddonError, environment.Cancelled):
        environment.SetUp(plan).run()


def _others() -> Backend | None:
    """A backend that somebody else has started, if the environment names one. Raises BackendError and AddonError."""
    address, key = os.environ.get(ADDRESS_VARIABLE), os.environ.get(KEY_VARIABLE, "")
    if not address:
        return None
    try:
        return Backend.connect(address, bytes.fromhex(key))
    except ValueError:
        raise messages.AddonError(f"{KEY_VARIABLE} must be the backend's key, 64 hexadecimal digits.") from None


def start_beside() -> None:
    """Start the backend without making Blender wait; `status` tells how it went. Raises AddonError."""
    global _starting
    if running() or _starting:
        return
    launch = Launch.read()

    def run() -> None:
        with contextlib.suppress(UserError):  # kept in _failure, which `status` shows
            get(launch)

    _starting = True
    threading.Thread(target=run, name="scale-backend-start", daemon=True).start()


def failure() -> str:
    return _failure


def stop() -> None:
    """Close the process; the next use starts a new one."""
    global _backend, _failure
    with _lock:
        if _backend is not None:
            _backend.close()
        _backend = None
        _failure = ""


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
