"""The backend process: waits for clients on a local socket and leaves when its standard input closes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import sys
import tempfile
import threading
import time
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import TYPE_CHECKING

from scale_backend.client.protocol import PROTOCOL, ProtocolError, greet_client
from scale_backend.client.wire import Deadline
from scale_backend.formats.errors import UserError

if TYPE_CHECKING:
    from scale_backend.service.session import Service

GREETING_SECONDS = 20.0  # for a whole greeting
FOLDER = "scale-"
UNBORN = 60.0  # seconds after which a private folder without a socket is taken for a dead backend's
KEY = re.compile(r"[0-9a-f]{64}")
LONGEST_SOCKET_PATH = 100  # bytes; macOS allows 103, Linux 107


class ServeError(UserError):
    """The backend cannot start. The sentence says what to do."""


def serve(device: str = "auto", threads: int = 0, precision: str = "auto") -> int:
    """Run until standard input closes (exit code 0) or a signal ends it (130, 143).

    The first line of standard input is the key, 64 hexadecimal digits; when ready, one JSON line with the address
    goes to standard output. Raises ServeError, DeviceError.
    """
    key = read_key()
    entrance = Entrance()
    signal.signal(signal.SIGTERM, lambda *_: entrance.leave(143))
    signal.signal(signal.SIGINT, lambda *_: entrance.leave(130))
    # from here on also while torch is being imported: nobody is kept waiting by a parent that has gone
    threading.Thread(target=leave_with_parent, args=(entrance,), daemon=True).start()
    service = start_service(device, threads, precision)
    entrance.open()
    threading.Thread(target=welcome, args=(entrance, service, key), daemon=True).start()
    print(json.dumps({"address": entrance.address, "protocol": PROTOCOL, "pid": os.getpid()}), flush=True)
    while True:
        time.sleep(1.0)  # signals are handled in this thread, between two sleeps on Windows


def read_key() -> bytes:
    """The key from standard input's first line. Raises ServeError."""
    if sys.stdin is None or sys.stdin.isatty():
        raise ServeError(
            "'scale-backend serve' is started by the Blender add-on, which gives it a key on standard input; "
            "use 'scale-backend decode' or 'scale-backend doctor' in a terminal."
        )
    line = sys.stdin.buffer.readline(256).decode("ascii", "replace").strip()
    if not KEY.fullmatch(line):
        raise ServeError("The first line of standard input must be a key of 64 hexadecimal digits.")
    return bytes.fromhex(line)


def start_service(device: str, threads: int, precision: str) -> Service:
    """Import torch, choose the device, take the cores. Raises ServeError."""
    if threads < 0:
        raise ServeError(f"{threads} threads; give 1 or more, or 0 for torch's own choice.")
    if precision == "auto":
        precision = os.environ.get("SCALE_BACKEND_PRECISION") or precision
    import torch

    from scale_backend.machine.devices import choose_device
    from scale_backend.service.session import Service

    chosen = choose_device(device)
    try:
        return Service(chosen, precision, threads or torch.get_num_threads())
    except UserError as error:
        raise ServeError(f"The environment variable SCALE_BACKEND_PRECISION: {error}") from error


class Entrance:
    """The socket and its folder, which only this user can enter; gone again when the process leaves."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self._listener: Listener | None = None

    @property
    def listener(self) -> Listener:
        """The socket; there once it is open."""
        assert self._listener is not None
        return self._listener

    @property
    def address(self) -> str:
        return self.listener.address

    def open(self) -> None:
        if sys.platform == "win32":
            self._listener = Listener(None, "AF_PIPE", backlog=16)
            return
        base = tempfile.gettempdir()
        if len(os.fsencode(base)) + len("/scale-12345678/backend") > LONGEST_SOCKET_PATH:
            base = "/tmp"
        drop_stale_folders(Path(base))
        self.folder = Path(tempfile.mkdtemp(prefix=FOLDER, dir=base))  # mode 0700
        self._listener = Listener(str(self.folder / "backend"), "AF_UNIX", backlog=16)

    def leave(self, code: int) -> None:
        """End the process at once, whatever its other threads compute."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError, ValueError):  # whoever read these may be gone
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def drop_stale_folders(base: Path) -> None:
    """Remove this user's private folders whose backends were killed: nobody listens there."""
    for folder in base.glob(f"{FOLDER}????????"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            private = stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o700
            if private and status.st_uid == os.getuid() and _is_stale(folder, status.st_mtime):
                shutil.rmtree(folder, ignore_errors=True)


def _is_stale(folder: Path, made: float) -> bool:
    there = os.listdir(folder)
    if there != ["backend"]:  # the time between a folder and its socket; or it is somebody else's
        return not there and time.time() - made > UNBORN
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(folder / "backend"))
        except ConnectionRefusedError:
            return stat.S_ISSOCK((folder / "backend").lstat().st_mode)
    return False


def leave_with_parent(entrance: Entrance) -> None:
    """Standard input closes when the parent closes it or dies, however it dies."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            continue
    entrance.leave(0)


def welcome(entrance: Entrance, service: Service, key: bytes) -> None:
    """Take connections for ever, each into its own thread."""
    while True:
        try:
            connection = entrance.listener.accept()
            threading.Thread(target=attend, args=(connection, service, key), daemon=True).start()
        except (OSError, RuntimeError) as error:  # a client that left before it was taken in; no room for a thread
            print(f"A connection failed: {error}", file=sys.stderr, flush=True)
            time.sleep(0.05)


def attend(connection: Connection, service: Service, key: bytes) -> None:
    """Greet one client and answer its requests until it leaves."""
    from scale_backend.service.session import Session

    with connection, contextlib.suppress(EOFError, ConnectionError):
        try:
            greet_client(connection, key, Deadline(GREETING_SECONDS).wait)
        except (ProtocolError, TimeoutError) as error:
            print(f"A client was refused: {error}", file=sys.stderr, flush=True)
            return
        Session(service, connection).run()
