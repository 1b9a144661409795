"""What a client may ask of the backend. One Service for the process, one Session for each connection."""

from __future__ import annotations

import platform
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import numpy as np
import torch

from scale_backend import __version__
from scale_backend.client.protocol import (
    MAX_ARRAY_BYTES,
    PROTOCOL,
    OutOfStepError,
    ProtocolError,
    receive_message,
    send_message,
)
from scale_backend.client.wire import Deadline
from scale_backend.decoding.batches import BATCH, decode_batches, failure_sentence
from scale_backend.formats.assets import find_body, find_garment
from scale_backend.formats.errors import UserError
from scale_backend.formats.foreign_file import quoted
from scale_backend.formats.garment_header import garment_metadata
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.formats.topology import Topology
from scale_backend.formats.wearer import Wearer
from scale_backend.inference.precision import candidates
from scale_backend.machine.cores import shared_cores
from scale_backend.machine.devices import Choice, DeviceError
from scale_backend.service.shelf import NotOpenError, Shelf, load_decoder

if TYPE_CHECKING:
    from scale_backend.reconstruction.poisson import FrameMesh

RECEIVING = 60.0  # seconds from a message's beginning to its end
SENDING = 600.0  # the same for replies: whoever takes them may have been suspended for a while
MAX_BATCH = 4096  # frames
BATCH_BYTES = 256 << 20  # that a batch's points and normals may take
LONGEST_ID = 100  # letters of a request's number, which stands in its replies
LONGEST_SENTENCE = 1500
POINT_BYTES = 24  # a point and its normal, in float32

Reply = tuple[dict, dict[str, np.ndarray]]


class CancelledError(Exception):
    """The client has asked to stop."""


class StandsStillError(Exception):
    """The client has stopped in the middle of a message: it is no longer served."""


class Service:
    """The garments that are open, and the device they decode on. Shared by all connections."""

    def __init__(self, device: Choice, precision: str = "auto", threads: int = 1):
        candidates(precision, torch.device(device.kind))  # raises UserError for one that is none
        self.device, self.precision = device, precision
        self.cores = shared_cores(threads if device.kind == "cpu" else 1)
        self.lock = threading.Lock()  # one decode at a time: two would only take memory and cores from each other
        options = (device.kind, precision, self.cores)
        self.shelf = Shelf(self.lock, lambda file, body: load_decoder(file, body, *options))

    def info(self) -> dict:
        return {
            "device": self.device.kind,
            "device_name": self.device.name,
            "reason": self.device.reason,
            "threads": self.cores.count if self.device.kind == "cpu" else torch.get_num_threads(),
            "precision": self.precision,
            "precisions": [p.name for p in candidates(self.precision, torch.device(self.device.kind))],
            "torch": torch.__version__,
            "python": platform.python_version(),
            "executable": sys.executable,
            "version": __version__,
            "protocol": PROTOCOL,
        }

    def open_garment(self, path: str, body_path: str | None) -> dict:
        """Load a garment, unless it is open already and its files have not changed since."""
        garment_file = find_garment(path)
        metadata = garment_metadata(garment_file)
        body_file = find_body(body_path or metadata["body"]["name"], garment_file)
        key, decoder = self.shelf.open(garment_file, body_file)
        return {**metadata, "id": key, "precision": decoder.precision}

    def fit(self, key: object, arrays: dict[str, np.ndarray], tell: Callable[[float], None]) -> dict:
        """Fit a garment to a wearer, unless it is fitted already. tell: hears which share is done."""
        from scale_backend.wearer.fit import fit

        decoder, wearer = self.shelf.decoder(key), Wearer.of_arrays(arrays)
        worn, there = self.shelf.fit_of(key, wearer)
        if there is None:
            # not one at a time: fitting leaves the decoders alone
            there = decoder.worn(fit(decoder.plain.body.to("cpu"), decoder.plain.host_carrier, wearer, tell))
            self.shelf.keep_fit(worn, there)
        assert there.model.fit is not None
        return {"id": worn, "report": asdict(there.model.fit.report)}

    def topology(self, key: object, surface: str, part: str) -> Topology:
        decoder = self.shelf.decoder(key)
        with self.lock:
            return decoder.topology(surface, part)

    def points(self, header: dict) -> int:
        """How many each frame of a request has. Raises UserError."""
        return len(self.topology(header.get("garment"), _text(header, "surface"), _text(header, "part")).patch)

    def decode(self, header: dict, arrays: dict[str, np.ndarray]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Batches of frames; other connections get their turn between two of them."""
        batch = header.get("batch", BATCH)
        if type(batch) is not int or not 1 <= batch <= MAX_BATCH:
            raise UserError(f"A batch of {quoted(batch)} frames; it must be from 1 to {MAX_BATCH}.")
        poses, options = Poses.of(arrays), _options(header)
        batch = min(batch, max(1, BATCH_BYTES // (POINT_BYTES * max(1, self.points(header)))))
        yield from self._in_turn(decode_batches(self.shelf.decoder(header.get("garment")), poses, options, batch))

    def colors(self, header: dict, arrays: dict[str, np.ndarray]) -> np.ndarray:  # [F, M, 3] in 0..1, sRGB
        from scale_backend.decoding.colors import decode_colors

        poses, options = Poses.of(arrays), _options(header)
        most = min(MAX_BATCH, max(1, BATCH_BYTES // (POINT_BYTES * max(1, self.points(header)))))
        if len(poses) > most:
            raise UserError(f"A request for the colours of {len(poses)} frames; ask for {most} at most.")
        decoder = self.shelf.decoder(header.get("garment"))
        with self.lock:
            colors = decode_colors(decoder, torch.from_numpy(poses.rotations), options).numpy()
        if not np.isfinite(colors).all():
            raise UserError(f"The garment '{decoder.model.garment.name}' gives colours that are none; train it again.")
        return colors

    def meshes(self, header: dict, arrays: dict[str, np.ndarray]) -> Iterator[FrameMesh]:
        """Frames whose topology changes, reconstructed one by one."""
        from scale_backend.reconstruction.poisson import decode_meshes

        decoder = self.shelf.decoder(header.get("garment"))
        yield from self._in_turn(decode_meshes(decoder, Poses.of(arrays), _options(header)))

    def _in_turn(self, steps: Iterator) -> Iterator:
        while True:
            with self.lock:
                step = next(steps, None)
            if step is None:
                return
            yield step


def _options(header: dict) -> DecodeOptions:
    """Raises UserError."""
    push_out = header.get("push_out", True)
    if not isinstance(push_out, bool):
        raise UserError(f"'push_out' must be true or false, not '{quoted(push_out)}'.")
    motion, fabrics, settle = header.get("motion", 1.0), header.get("fabrics", ()), header.get("settle", True)
    if isinstance(motion, bool) or not isinstance(motion, int | float) or not 0 <= motion <= 1:
        raise UserError(f"'motion' must be a number from 0 to 1, not '{quoted(motion)}'.")
    if not isinstance(settle, bool):
        raise UserError(f"'settle' must be true or false, not '{quoted(settle)}'.")
    if not isinstance(fabrics, list | tuple) or not all(type(weight) in (int, float) for weight in fabrics):
        raise UserError(f"'fabrics' must be a list of weights, not '{quoted(fabrics)}'.")
    normals, weights = _text({"normals": "faces", **header}, "normals"), tuple(map(float, fabrics))
    surface, part = _text(header, "surface"), _text(header, "part")
    return DecodeOptions(surface, part, push_out, normals, float(motion), weights, settle)


def _number(header: dict) -> int | str | None:
    """A request's, whatever its client counts with. Raises ProtocolError."""
    number = header.get("id")
    if number is not None and (isinstance(number, bool) or not isinstance(number, int | str)):
        raise ProtocolError("A request's id must be a number or a text.")
    if isinstance(number, str) and len(number) > LONGEST_ID:
        raise ProtocolError(f"A request's id may have {LONGEST_ID} letters.")
    return number


def _text(header: dict, key: str) -> str:
    if not isinstance(header.get(key), str):
        raise UserError(f"The request needs the text '{key}'.")
    return header[key]


class Session:
    """One client's requests, answered one after another."""

    def __init__(self, service: Service, connection: Connection):
        self.service, self.connection = service, connection

    def run(self) -> None:
        """Answer until the client leaves. Every message that is no cancellation gets a last reply with its id."""
        if self.service.device.kind == "cpu":
            torch.set_num_threads(1)  # the cores do the work: torch's own threads would take them from each other
        while True:
            request = None
            try:
                self.connection.poll(None)  # a client may be silent for as long as it likes, between two messages
                header, arrays = self._receive()
                request = _number(header)
                if header.get("request") == "cancel":  # came too late: the reply is on its way
                    continue
                reply, arrays = self._answer(header, arrays)
                self._send({**reply, "id": request}, arrays)
            except OutOfStepError as error:
                self._fail(request or error.request, "protocol", error)
                return
            except ProtocolError as error:
                self._fail(request or error.request, "protocol", error)
            except CancelledError:
                self._fail(request, "cancelled", "The decoding was cancelled.")
            except (EOFError, ConnectionError, StandsStillError):
                return
            except DeviceError as error:
                self._fail(request, "device", error)
            except NotOpenError as error:
                self._fail(request, "not open", error)
            except (UserError, OSError) as error:
                self._fail(request, "user", error)
            except Exception as error:
                # one connection's request must not end the backend: the client and the log hear of it
                traceback.print_exc()
                sentence = failure_sentence(error, self.service.device.kind)
                if sentence:
                    self._fail(request, "device", sentence)
                else:
                    self._fail(request, "internal", f"The backend failed: {type(error).__name__}: {quoted(error, 200)}")

    def _fail(self, request: object, kind: str, error: object) -> None:
        self._send({"id": request, "error": quoted(str(error), LONGEST_SENTENCE), "kind": kind})

    def _receive(self) -> tuple[dict, dict[str, np.ndarray]]:
        """A message that has begun."""
        try:
            return receive_message(self.connection, Deadline(RECEIVING).wait)
        except TimeoutError as error:
            raise StandsStillError from error

    def _send(self, header: dict, arrays: dict[str, np.ndarray] | None = None) -> None:
        try:
            send_message(self.connection, header, arrays, Deadline(SENDING).check)
        except TimeoutError as error:
            raise StandsStillError from error

    def _answer(self, header: dict, arrays: dict[str, np.ndarray]) -> Reply:
        match header.get("request"):
            case "info":
                return self.service.info(), {}
            case "doctor":
                from scale_backend.doctor import examine

                report = examine(self.service.device.kind, self.service.info()["threads"])
                report["chosen"]["reason"] = self.service.device.reason  # of the start: it may have been automatic
                return {"report": report}, {}
            case "open":
                body = header.get("body")
                path = None if body is None else _text(header, "body")
                return {"garment": self.service.open_garment(_text(header, "path"), path)}, {}
            case "fit":
                garment = header.get("garment")
                return {"fitted": self.service.fit(garment, arrays, lambda share: self._tell(header, share))}, {}
            case "topology":
                asked = _text(header, "surface"), _text(header, "part")
                topology = self.service.topology(header.get("garment"), *asked)
                return {"count": len(topology.patch)}, topology.arrays()
            case "decode":
                return self._decode(header, arrays)
            case "stream":
                return self._stream(header, arrays)
            case "colors":
                return {}, {"colors": self.service.colors(header, arrays)}
            case "meshes":
                return self._meshes(header, arrays)
            case other:
                raise ProtocolError(f"The backend knows no request '{quoted(other)}'.")

    def _decode(self, header: dict, arrays: dict[str, np.ndarray]) -> Reply:
        """All frames in one reply. Tells after each batch how far it is."""
        frames = len(Poses.of(arrays))
        if frames * self.service.points(header) * POINT_BYTES > MAX_ARRAY_BYTES:
            raise UserError(f"{frames} frames are too many for one reply; ask for fewer, or decode as a stream.")
        parts = []
        for first, points, normals in self.service.decode(header, arrays):
            parts.append((points, normals))
            if len(points) == frames:
                break
            self._progress(header, first + len(points), frames)
        if len(parts) > 1:
            points, normals = map(np.concatenate, zip(*parts, strict=True))
        return {}, {"points": points, "normals": normals}

    def _stream(self, header: dict, arrays: dict[str, np.ndarray]) -> Reply:
        """A message for each batch as soon as it is decoded, then the reply."""
        for first, points, normals in self.service.decode(header, arrays):
            frames = {"points": points, "normals": normals}
            self._send({"id": header.get("id"), "first": first}, frames)
            self._heed_cancellation(header)
        return {}, {}

    def _meshes(self, header: dict, arrays: dict[str, np.ndarray]) -> Reply:
        """A message for each frame: its points and the triangles between them."""
        for mesh in self.service.meshes(header, arrays):
            frame = {name: value for name, value in mesh._asdict().items() if name != "frame"}
            self._send({"id": header.get("id"), "first": mesh.frame}, frame)
            self._heed_cancellation(header)
        return {}, {}

    def _tell(self, header: dict, share: float) -> None:
        self._progress(header, round(100 * share), 100)

    def _progress(self, header: dict, done: int, total: int) -> None:
        self._send({"id": header.get("id"), "done": done, "total": total})
        self._heed_cancellation(header)

    def _heed_cancellation(self, header: dict) -> None:
        """Raises CancelledError when the client has said so; EOFError when it has left."""
        while self.connection.poll():
            message, _ = self._receive()
            if message.get("request") == "cancel" and message.get("id") == header.get("id"):
                raise CancelledError
            self._fail(message.get("id"), "protocol", "This connection is decoding; open another one.")
