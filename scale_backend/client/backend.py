"""Start a backend process and talk to it. numpy and the standard library only: this runs inside Blender."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Callable, Generator
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

import numpy as np

from scale_backend.client.process import (
    BackendCancelled,
    BackendDied,
    BackendError,
    BackendStartError,
    OthersProcess,
    Process,
    examine_python,
)
from scale_backend.client.protocol import (
    PROTOCOL,
    OutOfStepError,
    ProtocolError,
    greet_backend,
    receive_message,
    send_message,
)
from scale_backend.client.wire import LOOK
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.formats.topology import Topology
from scale_backend.formats.wearer import Wearer, WearerReport

__all__ = ["Backend", "BackendCancelled", "BackendDied", "BackendError", "BackendStartError", "examine_python"]

SILENCE = 120.0  # seconds without a whole message after which a backend counts as stuck

Progress = Callable[[int, int], bool]  # frames done, frames in all -> whether to go on


class Channel:
    """One connection to the backend: requests and their replies, one after another."""

    def __init__(self, process: Process | OthersProcess, address: str, key: bytes, silence: float):
        self.process, self.silence = process, silence
        self.deadline = time.monotonic() + silence
        self.count = 0
        try:
            self.connection = Client(address)
            greet_backend(self.connection, key, self._wait)
        except ProtocolError as error:
            raise BackendStartError(str(error)) from error
        except (EOFError, OSError) as error:
            raise BackendDied(self._why_gone(error)) from error

    def send(self, request: str, arrays: dict[str, np.ndarray] | None = None, **fields: Any) -> int:
        """Send a request; its number is what `replies` waits for."""
        self.count += 1
        self.deadline = time.monotonic() + self.silence
        try:
            send_message(self.connection, {"request": request, "id": self.count, **fields}, arrays, self._check)
        except ProtocolError as error:
            raise BackendError(str(error)) from error
        except (EOFError, OSError) as error:
            raise BackendDied(self._why_gone(error)) from error
        return self.count

    def cancel(self, number: int) -> None:
        with contextlib.suppress(EOFError, OSError, BackendDied):  # whoever waits for the reply hears that it is gone
            send_message(self.connection, {"request": "cancel", "id": number}, None, self._check)

    def receive(self, number: int) -> tuple[dict, dict[str, np.ndarray]]:
        """The next message that answers this request. Raises BackendError."""
        while True:
            self.deadline = time.monotonic() + self.silence
            try:
                header, arrays = receive_message(self.connection, self._wait)
            except ProtocolError as error:
                if isinstance(error, OutOfStepError):
                    self.close()
                raise BackendError(f"The backend's reply could not be read: {error}") from error
            except (EOFError, OSError) as error:
                raise BackendDied(self._why_gone(error)) from error
            if header.get("id") not in (number, None):
                continue
            if "error" in header:  # without an id where the backend could not even read that
                kind = header.get("kind")
                failure = (BackendCancelled if kind == "cancelled" else BackendError)(str(header["error"]))
                failure.kind = kind if isinstance(kind, str) else "internal"
                raise failure
            if header.get("id") == number:
                return header, arrays

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.close()

    def _wait(self, connection: Connection) -> None:
        """Until there is something to read; watches the process meanwhile."""
        self._check()
        while not connection.poll(LOOK):
            if not self.process.alive and not connection.poll(0):
                raise EOFError
            self._check()

    def _check(self) -> None:
        """Raises BackendDied where a message takes too long, EOFError where nobody waits for one any more."""
        if self.process.unwanted.is_set():
            raise EOFError
        if time.monotonic() > self.deadline:
            self.process.kill()
            raise BackendDied(
                f"The backend has not answered for {self.silence:.0f} seconds and was ended; start it again."
                + self.process.last_words()
            )

    def _why_gone(self, error: BaseException) -> str:
        if self.process.unwanted.is_set():
            return "The backend was stopped; start it again."
        if self.process.alive:
            # the socket ends a moment before the process does
            self.process.wait(2.0)
        if self.process.alive:  # it does so with none of ours; what is out of step is of no more use
            self.process.kill()
            return f"The backend closed the connection ({error or type(error).__name__}); start it again."
        return self.process.why_died()


class Backend:
    """A running backend. Requests may come from any thread; they are answered one after another."""

    def __init__(self, process: Process | OthersProcess, address: str, key: bytes, silence: float):
        self._process, self._address, self._key, self._silence = process, address, key, silence
        self._lock = threading.Lock()
        self._channel = Channel(process, address, key, silence)
        self.info = self._ask("info")[0]

    @classmethod
    def start(
        cls,
        python: str | Path,
        device: str = "auto",  # or "cuda", "mps", "cpu"
        threads: int = 0,  # 0: torch's own choice
        timeout: float = 120.0,  # seconds until it must be ready
        module_path: str | Path | None = None,  # where the child finds scale_backend, if its Python has none
        silence: float = SILENCE,  # seconds
        unwanted: threading.Event | None = None,  # set by another thread that does not want it any more
    ) -> Backend:
        """Start `python -m scale_backend serve` and connect. Raises BackendStartError."""
        process = Process(python, ["serve", "--device", device, "--threads", str(threads)], module_path, unwanted)
        try:
            key = secrets.token_bytes(32)
            process.hand_key(key)
            ready = process.wait_until_ready(timeout)
            if ready.get("protocol") != PROTOCOL:
                raise BackendStartError(
                    f"The backend of {process.python} speaks protocol {ready.get('protocol')}, this one {PROTOCOL}; "
                    "install the same version of scale_backend in both."
                )
            process.address = ready["address"]
            return cls(process, ready["address"], key, silence)
        except BaseException:
            process.kill() if process.unwanted.is_set() else process.end()
            _remove_socket(process.address)
            raise

    @classmethod
    def connect(
        cls, address: str, key: bytes, silence: float = SILENCE, unwanted: threading.Event | None = None
    ) -> Backend:
        """Use a backend that another program has started and will end. Raises BackendStartError."""
        try:
            return cls(OthersProcess(address, unwanted), address, key, silence)
        except BackendDied as error:
            raise BackendStartError(
                f"The backend at {address} does not answer: {error} Check that it still runs, and its key."
            ) from error

    @property
    def address(self) -> str:
        return self._address

    @property
    def key(self) -> bytes:
        """Whoever has it may use this backend."""
        return self._key

    @property
    def alive(self) -> bool:
        return self._process.alive

    @property
    def pid(self) -> int | None:
        """Of the process; None where another program has started it."""
        return self._process.child.pid if isinstance(self._process, Process) else None

    def close(self) -> None:
        """End the process. Waits for a few seconds at most; may be called twice."""
        self._channel.close()
        self._process.end()
        self._clean_up()

    def kill(self) -> None:
        """End the process at once, whatever it does; whoever waits for a reply hears that it is gone."""
        self._process.unwanted.set()
        self._process.kill()
        if self._lock.acquire(blocking=False):
            self._channel.close()
            self._lock.release()
        self._clean_up()

    def _clean_up(self) -> None:
        if isinstance(self._process, Process):
            _remove_socket(self._process.address)

    def __enter__(self) -> Backend:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def doctor(self) -> dict:
        """What `scale-backend doctor` finds in the backend's Python."""
        return self._ask("doctor")[0]["report"]

    def open_garment(self, path: str | Path, body_path: str | Path | None = None) -> dict:
        """Load a garment on a body, by path or by the name of one that ships. Its summary and its "id"."""
        body = None if body_path is None else str(body_path)
        return self._ask("open", path=str(path), body=body)[0]["garment"]

    def fit(self, garment: str, wearer: Wearer, progress: Progress | None = None) -> tuple[str, WearerReport]:
        """Fit an open garment to a wearer: the id of what has been fitted, to be used like a garment's, and how well.

        Takes some seconds; `progress` hears of hundredths and cancels by returning False.
        """
        fitted = self._ask("fit", wearer.arrays(), progress, garment=garment)[0]["fitted"]
        return fitted["id"], WearerReport(**fitted["report"] | {"parts": tuple(fitted["report"]["parts"])})

    def topology(self, garment: str, surface: str = "mesh", part: str = "clothes") -> Topology:
        """What stays from frame to frame; read-only arrays."""
        return Topology.of(self._ask("topology", garment=garment, surface=surface, part=part)[1])

    def decode(
        self,
        garment: str,
        poses: Poses,
        options: DecodeOptions | None = None,
        progress: Progress | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:  # points [F, M, 3] metres, unit normals [F, M, 3]; read-only
        """All frames in one reply. `progress` hears of each batch and cancels by returning False."""
        fields: dict[str, Any] = (options or DecodeOptions()).fields()
        _, arrays = self._ask("decode", poses.arrays(), progress, garment=garment, **fields)
        return arrays["points"], arrays["normals"]

    def decode_stream(
        self,
        garment: str,
        poses: Poses,
        options: DecodeOptions | None = None,
        batch: int = 16,  # frames at most in one step
    ) -> Generator[tuple[int, np.ndarray, np.ndarray], None, None]:  # first frame, points [B, M, 3], normals [B, M, 3]
        """Batches of frames as they are decoded: the next one while the caller works on the last.

        Closing the iterator cancels. It has a connection of its own, so `decode` still answers meanwhile.
        """
        fields: dict[str, Any] = (options or DecodeOptions()).fields()
        for first, arrays in self._stream("stream", poses.arrays(), garment=garment, batch=batch, **fields):
            yield first, arrays["points"], arrays["normals"]

    def decode_colors(
        self, garment: str, poses: Poses, options: DecodeOptions | None = None
    ) -> np.ndarray:  # [F, M, 3] in 0..1, sRGB; read-only
        """The colours of a garment that was trained on coloured scans (in its summary: network, colors)."""
        fields: dict[str, Any] = (options or DecodeOptions()).fields()
        rotations = {"rotations": poses.arrays()["rotations"]}  # they know the pose alone
        return self._ask("colors", rotations, garment=garment, **fields)[1]["colors"]

    def decode_meshes(
        self, garment: str, poses: Poses, options: DecodeOptions | None = None
    ) -> Generator[
        tuple[int, dict[str, np.ndarray]], None, None
    ]:  # frame; points, normals [V, 3], triangles [T, 3], patch [V]
        """The surface `poisson`, whose topology is another in every frame. Closing the iterator cancels."""
        fields: dict[str, Any] = (options or DecodeOptions()).fields()
        yield from self._stream("meshes", poses.arrays(), garment=garment, **fields)

    def _stream(
        self, request: str, arrays: dict[str, np.ndarray], **fields: Any
    ) -> Generator[tuple[int, dict], None, None]:
        """First frame and arrays of message after message, on a connection of its own."""
        channel = Channel(self._process, self._address, self._key, self._silence)
        try:
            number = channel.send(request, arrays, **fields)
            while True:
                header, received = channel.receive(number)
                if "first" not in header:
                    return
                yield header["first"], received
        finally:
            channel.close()  # the backend stops before the next batch when its client has left

    def _ask(
        self, request: str, arrays: dict[str, np.ndarray] | None = None, progress: Progress | None = None, **fields: Any
    ) -> tuple[dict, dict[str, np.ndarray]]:
        if not self._lock.acquire(timeout=self._silence):
            raise BackendError("The backend is busy with another request; wait for it or cancel it.")
        try:
            number = self._channel.send(request, arrays, **fields)
            while True:
                header, received = self._channel.receive(number)
                if "done" not in header:
                    return header, received
                if progress is not None and not self._goes_on(progress, header, number):
                    progress = None
        finally:
            self._lock.release()

    def _goes_on(self, progress: Progress, header: dict, number: int) -> bool:
        """Tell the caller how far it is; cancel when it says so, or fails."""
        goes_on = False
        try:
            goes_on = progress(header["done"], header["total"])
        finally:
            if not goes_on:
                self._channel.cancel(number)
        return goes_on


def _remove_socket(address: str) -> None:
    """The folder of a backend that was killed and could not clean up after itself."""
    if sys.platform != "win32" and address:
        folder = Path(address).parent
        if folder.name.startswith("scale-"):
            shutil.rmtree(folder, ignore_errors=True)
