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
from collections.abc import Mapping
from multiprocessing.connection import Connection

import numpy as np

from scale_backend.client.wire import Check, TooLongError, Wait, receive_bytes, send_bytes
from scale_backend.formats.errors import UserError
from scale_backend.formats.foreign_file import quoted
from scale_backend.formats.strict_json import strict_json

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


class ProtocolError(UserError):
    """A message that cannot be understood. The connection may go on."""

    request: object = None  # the id of the request that it was, where that could be read


class OutOfStepError(ProtocolError):
    """A message after which the two sides are no longer in step: the connection has to be closed."""


def send_message(
    connection: Connection,
    header: Mapping,  # what JSON can hold
    arrays: Mapping[str, np.ndarray] | None = None,
    check: Check | None = None,
) -> None:
    """Send a header and its arrays. `check` is called now and then while the peer takes nothing.

    Raises ProtocolError before anything is sent, OSError when the peer is gone, and what `check` raises.
    """
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
    send_bytes(connection, text, check)
    for buffer in buffers:
        send_bytes(connection, buffer.data, check)


def receive_message(
    connection: Connection, wait: Wait | None = None, max_header: int = MAX_HEADER, with_arrays: bool = True
) -> tuple[dict, dict[str, np.ndarray]]:
    """The next header and its arrays, which are read-only. `wait` is called wherever nothing is there yet.

    Raises EOFError or OSError when the peer is gone, ProtocolError for a message that is none, OutOfStepError for one
    that is longer than it may be, and what `wait` raises.
    """
    header = _parse(_receive(connection, max_header, wait))
    described = header.pop("arrays", [])
    try:
        if described and not with_arrays:
            raise OutOfStepError("This message may hold no arrays.")
        sizes = check_sizes(described)
        arrays = _receive_arrays(connection, described, sizes, wait)
    except ProtocolError as error:
        error.request = header.get("id")
        raise
    return header, arrays


def _receive_arrays(
    connection: Connection, described: list[dict], sizes: list[int], wait: Wait | None
) -> dict[str, np.ndarray]:
    arrays, problem = {}, None
    for entry, size in zip(described, sizes, strict=True):
        data = _receive(connection, size, wait)
        if len(data) != size:
            problem = f"Array '{quoted(entry['name'])}' has {len(data)} bytes where its header says {size}."
            continue
        array = np.frombuffer(data, DTYPES[entry["dtype"]]).reshape(entry["shape"])
        array.flags.writeable = False
        arrays[entry["name"]] = array
    if problem:
        raise ProtocolError(problem)
    return arrays


def _receive(connection: Connection, limit: int, wait: Wait | None) -> bytes | bytearray:
    try:
        return receive_bytes(connection, limit, wait)
    except TooLongError as error:
        raise OutOfStepError(f"A message is longer than the {limit} bytes expected.") from error
    except MemoryError as error:
        raise OutOfStepError(f"There is too little memory for a message of {limit} bytes.") from error


def _parse(text: bytes | bytearray) -> dict:
    try:
        header = strict_json(text)
    except ValueError as error:
        raise ProtocolError(f"A message's header is not JSON ({quoted(error)}).") from None
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
    name, dtype, shape = quoted(entry["name"]), entry.get("dtype"), entry.get("shape")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ProtocolError(f"Array '{name}' is of type '{quoted(dtype)}', and only {', '.join(DTYPES)} are read.")
    if not isinstance(shape, list | tuple) or len(shape) > MAX_DIMENSIONS:
        raise ProtocolError(f"The shape of array '{name}' must be a list of at most {MAX_DIMENSIONS} sizes.")
    for size in shape:
        if type(size) is not int or not 0 <= size <= MAX_ARRAY_BYTES:
            raise ProtocolError(f"Array '{name}' has a size of '{quoted(size)}', which no array can have.")
    # what one size of 0 makes small, numpy multiplies all the same
    if math.prod(max(size, 1) for size in shape) * DTYPES[dtype].itemsize >= 1 << 63:
        raise ProtocolError(f"Array '{name}' has sizes that no array can have.")
    return math.prod(shape) * DTYPES[dtype].itemsize


def greet_client(connection: Connection, key: bytes, wait: Wait) -> None:
    """The backend's side of the greeting: versions first, then each side shows that it knows the key.

    Challenge and response with HMAC-SHA-256. Raises ProtocolError; the peer has been told why.
    """
    challenge = secrets.token_hex(32)
    send_message(connection, {"protocol": PROTOCOL, "challenge": challenge})
    try:
        answer, _ = receive_message(connection, wait, MAX_GREETING, with_arrays=False)
        _check_version(answer)
        expected = _proof(key, "client", challenge, answer.get("challenge"))
        if not hmac.compare_digest(expected.encode(), quoted(answer.get("proof")).encode()):
            raise ProtocolError("The client does not know this backend's key.")
    except ProtocolError as error:
        send_message(connection, {"error": str(error)})
        raise
    send_message(connection, {"proof": _proof(key, "backend", challenge, answer["challenge"])})


def greet_backend(connection: Connection, key: bytes, wait: Wait) -> None:
    """The client's side of the greeting. Raises ProtocolError."""
    hello, _ = receive_message(connection, wait, MAX_GREETING, with_arrays=False)
    _check_version(hello)
    challenge = secrets.token_hex(32)
    proof = _proof(key, "client", hello.get("challenge"), challenge)
    send_message(connection, {"protocol": PROTOCOL, "challenge": challenge, "proof": proof})
    answer, _ = receive_message(connection, wait, MAX_GREETING, with_arrays=False)
    if "error" in answer:
        raise ProtocolError(quoted(answer["error"], MAX_GREETING))
    expected = _proof(key, "backend", hello["challenge"], challenge)
    if not hmac.compare_digest(expected.encode(), quoted(answer.get("proof")).encode()):
        raise ProtocolError("What answers at the backend's address does not know its key.")


def _check_version(hello: dict) -> None:
    if hello.get("protocol") != PROTOCOL:
        raise ProtocolError(
            f"The other side speaks protocol {quoted(hello.get('protocol'))}, this one {PROTOCOL}; "
            "install the same version of scale_backend for Blender and for the backend."
        )


def _proof(key: bytes, side: str, backend_challenge: object, client_challenge: object) -> str:
    if not isinstance(backend_challenge, str) or not isinstance(client_challenge, str):
        raise ProtocolError("A greeting without a challenge.")
    # the side's name keeps one side's proof from being played back as the other's
    text = f"{side} {backend_challenge} {client_challenge}".encode()
    return hmac.new(key, text, hashlib.sha256).hexdigest()
