"""Messages and the greeting, over real connections."""

import json
import threading
from multiprocessing import Pipe

import numpy as np
import pytest

from scale_backend.client import protocol
from scale_backend.client.protocol import (
    DTYPES,
    MAX_ARRAY_BYTES,
    MAX_HEADER,
    PROTOCOL,
    OutOfStepError,
    ProtocolError,
    greet_backend,
    greet_client,
    receive_message,
    send_message,
)

KEY = bytes(range(32))


@pytest.fixture
def ends():
    one, other = Pipe()
    with one, other:
        yield one, other


def in_thread(function, *arguments) -> threading.Thread:
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread


def wait(connection) -> None:
    if not connection.poll(5):
        raise TimeoutError


def header_of(*entries: object) -> bytes:
    return json.dumps({"request": "info", "arrays": list(entries)}).encode()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 4), (), (0, 3), (2, 0, 5), (70_000, 3)])
def test_arrays_arrive_as_they_were(ends, dtype, shape):
    array = np.asarray(np.random.default_rng(1).random(shape) * 100).astype(dtype)
    sender = in_thread(send_message, ends[0], {"id": 7}, {"a": array, "b": np.arange(3)})
    header, arrays = receive_message(ends[1], wait)
    sender.join()
    assert header == {"id": 7}
    assert arrays["a"].dtype == np.dtype(dtype) and arrays["a"].shape == shape
    assert np.array_equal(arrays["a"], array) and np.array_equal(arrays["b"], [0, 1, 2])


def test_layout_and_byte_order_do_not_matter(ends):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    send_message(ends[0], {}, {"turned": array.T, "strided": array[:, ::2], "big": array.astype(">f4")})
    _, arrays = receive_message(ends[1], wait)
    assert np.array_equal(arrays["turned"], array.T)
    assert np.array_equal(arrays["strided"], array[:, ::2])
    assert np.array_equal(arrays["big"], array)


@pytest.mark.parametrize("array", [np.array([None]), np.array(["text"]), np.zeros(2, complex), np.zeros(2, "u4")])
def test_other_types_are_not_sent(ends, array):
    with pytest.raises(ProtocolError, match="of type"):
        send_message(ends[0], {}, {"a": array})
    assert not ends[1].poll(0.05)


def test_too_much_is_not_sent(ends):
    huge = np.broadcast_to(np.float32(0), (1, MAX_ARRAY_BYTES // 4 + 1))
    described = [{"name": "a", "dtype": "float32", "shape": huge.shape}]
    with pytest.raises(ProtocolError, match="ask for fewer frames"):
        protocol.check_sizes(described)
    with pytest.raises(ProtocolError, match="header"):
        send_message(ends[0], {"text": "x" * MAX_HEADER})
    assert not ends[1].poll(0.05)


HOSTILE = {
    "no JSON": b"\x00\xffgarbage",
    "no object": b"[1, 2]",
    "deep": b"[" * 100_000,
    "arrays no list": b'{"arrays": 3}',
    "many": header_of(*[{"name": "a", "dtype": "uint8", "shape": [1]}] * 100),
    "entry no object": header_of(5),
    "no name": header_of({"dtype": "float32", "shape": [1]}),
    "negative": header_of({"name": "a", "dtype": "float32", "shape": [-1, 3]}),
    "huge": header_of({"name": "a", "dtype": "float32", "shape": [10**9, 10**9]}),
    "huge beside nothing": header_of({"name": "a", "dtype": "float32", "shape": [0, 10**30]}),
    "huge together": header_of(*[{"name": c, "dtype": "uint8", "shape": [2**30]} for c in "abc"]),
    "fraction": header_of({"name": "a", "dtype": "float32", "shape": [1.5]}),
    "truth": header_of({"name": "a", "dtype": "float32", "shape": [True]}),
    "shape no list": header_of({"name": "a", "dtype": "float32", "shape": "3"}),
    "dimensions": header_of({"name": "a", "dtype": "float32", "shape": [1] * 50}),
    "objects": header_of({"name": "a", "dtype": "object", "shape": [1]}),
    "pickles": header_of({"name": "a", "dtype": "O", "shape": [1]}),
    "dtype no text": header_of({"name": "a", "dtype": ["float32"], "shape": [1]}),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_bad_headers_are_refused_and_the_connection_lives_on(ends, text):
    ends[0].send_bytes(text)
    with pytest.raises(ProtocolError) as caught:
        receive_message(ends[1], wait)
    assert not isinstance(caught.value, OutOfStepError)
    send_message(ends[0], {"id": 1})
    assert receive_message(ends[1], wait) == ({"id": 1}, {})


def test_a_short_array_is_refused_and_the_connection_lives_on(ends):
    entry = {"name": "a", "dtype": "float32", "shape": [4]}
    ends[0].send_bytes(header_of(entry, {**entry, "name": "b"}))
    ends[0].send_bytes(b"1234")
    ends[0].send_bytes(b"x" * 16)
    with pytest.raises(ProtocolError, match="4 bytes where its header says 16"):
        receive_message(ends[1], wait)
    send_message(ends[0], {"id": 1})
    assert receive_message(ends[1], wait)[0] == {"id": 1}


def test_what_is_longer_than_announced_is_not_read(ends):
    ends[0].send_bytes(header_of({"name": "a", "dtype": "float32", "shape": [4]}))
    ends[0].send_bytes(b"x" * 17)
    with pytest.raises(OutOfStepError):
        receive_message(ends[1], wait)


def test_a_header_that_is_too_long_is_not_read(ends):
    thread, _ = outcome(ends[0].send_bytes, b" " * (MAX_HEADER + 1))
    with pytest.raises(OutOfStepError):
        receive_message(ends[1], wait)
    ends[1].close()
    thread.join(5)
    assert not thread.is_alive()


def test_a_peer_that_leaves_ends_the_wait(ends):
    ends[0].close()
    with pytest.raises(EOFError):
        receive_message(ends[1], wait)


def outcome(function, *arguments) -> tuple[threading.Thread, list]:
    """Run the other side of a greeting; the list receives its error, or None."""
    result = []

    def run() -> None:
        try:
            result.append(function(*arguments))
        except (ProtocolError, EOFError, OSError) as error:
            result.append(error)

    return in_thread(run), result


def test_both_sides_know_the_key(ends):
    thread, result = outcome(greet_client, ends[0], KEY, wait)
    greet_backend(ends[1], KEY, wait)
    thread.join(5)
    assert result == [None]


def test_a_client_with_another_key_is_told(ends):
    thread, result = outcome(greet_client, ends[0], KEY, wait)
    with pytest.raises(ProtocolError, match="does not know this backend's key"):
        greet_backend(ends[1], bytes(32), wait)
    thread.join(5)
    assert isinstance(result[0], ProtocolError)


def test_a_backend_without_the_key_is_found_out(ends):
    def pretend() -> None:
        send_message(ends[0], {"protocol": PROTOCOL, "challenge": "c"})
        answer, _ = receive_message(ends[0], wait)
        send_message(ends[0], {"proof": answer["proof"]})  # the client's own proof, played back

    in_thread(pretend)
    with pytest.raises(ProtocolError, match="does not know its key"):
        greet_backend(ends[1], KEY, wait)


def test_another_protocol_is_named_by_the_client(ends):
    send_message(ends[0], {"protocol": PROTOCOL + 1, "challenge": "c"})
    with pytest.raises(ProtocolError, match=f"protocol {PROTOCOL + 1}, this one {PROTOCOL}; install the same version"):
        greet_backend(ends[1], KEY, wait)


def test_another_protocol_is_named_by_the_backend(ends):
    thread, result = outcome(greet_client, ends[0], KEY, wait)
    assert receive_message(ends[1], wait)[0]["protocol"] == PROTOCOL
    send_message(ends[1], {"protocol": PROTOCOL + 1, "challenge": "c", "proof": "p"})
    answer, _ = receive_message(ends[1], wait)
    assert "install the same version" in answer["error"]
    thread.join(5)
    assert isinstance(result[0], ProtocolError)


@pytest.mark.parametrize("answer", [{}, {"protocol": PROTOCOL}, {"protocol": PROTOCOL, "challenge": 3, "proof": None},
                                    {"protocol": PROTOCOL, "challenge": "c", "proof": "ü"}])  # fmt: skip
def test_a_greeting_that_is_none_is_refused(ends, answer):
    thread, result = outcome(greet_client, ends[0], KEY, wait)
    receive_message(ends[1], wait)
    send_message(ends[1], answer)
    assert "error" in receive_message(ends[1], wait)[0]
    thread.join(5)
    assert isinstance(result[0], ProtocolError)
