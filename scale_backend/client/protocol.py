"""Messages between Blender and the backend: a JSON header, then raw array buffers. numpy and the standard library only.

A message is one `send_bytes` with the header (UTF-8), which lists its arrays as {"name", "dtype", "shape"}, and one
`send_bytes` for each array (little-endian, C order). Nothing is pickled. What a header announces is checked before
memory is taken for it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import secrets
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection

import numpy as np

from scale_backend.formats.errors import UserError

PROTOCOL = 3
MAX_HEADER = 1 << 20  # bytes
MAX_GREETING = 1 << 12  # bytes, from a peer that has not yet shown that it knows the key
MAX_ARRAYS = 32  # in a message
MAX_ARRAY_BYTES = 2 << 30  # all arrays of a message together
MAX_DIMENSIONS = 8
DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in ("float32", "float64", "float16", "int32", "int64", "uint8", "bool")
}

Wait = Callable[[Connection], None]  # returns when there is something to read; raises when it gives up


class ProtocolError(UserError):
    """A message that cannot be understood. The connection may go on."""


class OutOfStepError(ProtocolError):
    """A message after which the two sides are no longer in step: the connection has to be closed."""


def send_message(
    connection: Connection,
    header: Mapping,  # what JSON can hold
    arrays: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Send a header and its arrays. Raises ProtocolError before anything is sent, OSError when the peer is gone."""
    described, buffers = [], []
    for name, array in (arrays or {}).items():
        dtype = DTYPES.get(array.dtype.name)
        if dtype is None:
            raise ProtocolError(f"Array '{name}' is of type {array.dtype}, and only {', '.join(DTYPES)} are sent.")
        described.append({"name": name, "dtype": dtype.name, "shape": array.shape})
        buffers.append(np.ascontiguousarray(array, dtype).reshape(-1).view(np.uint8))
    text = json.dumps({**header, "arrays": described}).encode()
    if len(text) > MAX_HEADER:
        raise ProtocolError(f"A header of {len(text)} bytes; at most {MAX_HEADER} are sent.")
    check_sizes(described)
    connection.send_bytes(text)
    for buffer in buffers:
        connection.send_bytes(buffer.data)


def receive_message(
    connection: Connection, wait: Wait | None = None, max_header: int = MAX_HEADER
) -> tuple[dict, dict[str, np.ndarray]]:
    """The next header and its arrays, which are read-only.

    Raises EOFError or OSError when the peer is gone, ProtocolError for a message that is none,
    OutOfStepError for one that is longer than it may be.
    """
    header = _parse(_receive(connection, max_header, wait))
    described = header.pop("arrays", [])
    sizes = check_sizes(described)
    arrays, problem = {}, None
    for entry, size in zip(described, sizes, strict=True):
        data = _receive(connection, size, wait)
        if len(data) != size:
            problem = f"Array '{entry['name']}' has {len(data)} bytes where its header says {size}."
            continue
        arrays[entry["name"]] = np.frombuffer(data, DTYPES[entry["dtype"]]).reshape(entry["shape"])
    if problem:
        raise ProtocolError(problem)
    return header, arrays


def _receive(connection: Connection, limit: int, wait: Wait | None) -> bytes:
    if wait is not None:
        wait(connection)
    try:
        return connection.recv_bytes(limit)
    except OSError as error:
        # multiprocessing closes its reading side when a message announces more than the limit
        if connection.closed or not connection.readable:
            raise OutOfStepError(f"A message is longer than the {limit} bytes expected.") from error
        raise
    except MemoryError as error:
        raise OutOfStepError(f"There is too little memory for a message of {limit} bytes.") from error


def _parse(text: bytes) -> dict:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"A message's header is not JSON ({error}).") from None
    if not isinstance(header, dict):
        raise ProtocolError("A message's header must be a JSON object.")
    return header


def check_sizes(described: object) -> list[int]:
    """Bytes of each array that a header lists. Raises ProtocolError when one may not be, or all are too large."""
    if not isinstance(described, list) or len(described) > MAX_ARRAYS:
        raise ProtocolError(f"A header's 'arrays' must be a list of at most {MAX_ARRAYS} entries.")
    sizes = [_array_size(entry) for entry in described]
    if sum(sizes) > MAX_ARRAY_BYTES:
        raise ProtocolError(
            f"The arrays of a message have {sum(sizes)} bytes, more than the {MAX_ARRAY_BYTES} that are sent at once; "
            "ask for fewer frames."
        )
    return sizes


def _array_size(entry: object) -> int:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ProtocolError("Each array of a header needs a name, a dtype and a shape.")
    name, dtype, shape = entry["name"], entry.get("dtype"), entry.get("shape")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ProtocolError(f"Array '{name}' is of type {dtype!r}, and only {', '.join(DTYPES)} are read.")
    if not isinstance(shape, list | tuple) or len(shape) > MAX_DIMENSIONS:
        raise ProtocolError(f"The shape of array '{name}' must be a list of at most {MAX_DIMENSIONS} sizes.")
    for size in shape:
        if type(size) is not int or not 0 <= size <= MAX_ARRAY_BYTES:
            raise ProtocolError(f"Array '{name}' has the shape {shape}, which no array can have.")
    return math.prod(shape) * DTYPES[dtype].itemsize


def greet_client(connection: Connection, key: bytes, wait: Wait) -> None:
    """The backend's side of the greeting: versions first, then each side shows that it knows the key.

    Challenge and response with HMAC-SHA-256. Raises ProtocolError; the peer has been told why.
    """
    challenge = secrets.token_hex(32)
    send_message(connection, {"protocol": PROTOCOL, "challenge": challenge})
    answer, _ = receive_message(connection, wait, MAX_GREETING)
    try:
        _check_version(answer)
        expected = _proof(key, "client", challenge, answer.get("challenge"))
        if not hmac.compare_digest(expected, str(answer.get("proof")).encode("ascii", "replace").decode()):
            raise ProtocolError("The client does not know this backend's key.")
    except ProtocolError as error:
        send_message(connection, {"error": str(error)})
        raise
    send_message(connection, {"proof": _proof(key, "backend", challenge, answer["challenge"])})


def greet_backend(connection: Connection, key: bytes, wait: Wait) -> None:
    """The client's side of the greeting. Raises ProtocolError."""
    hello, _ = receive_message(connection, wait, MAX_GREETING)
    _check_version(hello)
    challenge = secrets.token_hex(32)
    proof = _proof(key, "client", hello.get("challenge"), challenge)
    send_message(connection, {"protocol": PROTOCOL, "challenge": challenge, "proof": proof})
    answer, _ = receive_message(connection, wait, MAX_GREETING)
    if "error" in answer:
        raise ProtocolError(str(answer["error"]))
    expected = _proof(key, "backend", hello["challenge"], challenge)
    if not hmac.compare_digest(expected, str(answer.get("proof")).encode("ascii", "replace").decode()):
        raise ProtocolError("What answers at the backend's address does not know its key.")


def _check_version(hello: dict) -> None:
    if hello.get("protocol") != PROTOCOL:
        raise ProtocolError(
            f"The other side speaks protocol {hello.get('protocol')}, this one {PROTOCOL}; "
            "install the same version of scale_backend for Blender and for the backend."
        )


def _proof(key: bytes, side: str, backend_challenge: object, client_challenge: object) -> str:
    if not isinstance(backend_challenge, str) or not isinstance(client_challenge, str):
        raise ProtocolError("A greeting without a challenge.")
    # the side's name keeps one side's proof from being played back as the other's
    text = f"{side} {backend_challenge} {client_challenge}".encode()
    return hmac.new(key, text, hashlib.sha256).hexdigest()
