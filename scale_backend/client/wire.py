"""Messages as bytes: multiprocessing's framing, read and written in pieces, so that a peer that stands still in the
middle of one keeps nobody for longer than is wanted. The standard library only."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

LOOK = 0.5  # seconds between two looks whether to go on
PIECE = 1 << 20  # bytes
LONG = 0x7FFFFFFF  # bytes from which on a message's length stands in eight bytes after a -1

Wait = Callable[[Connection], None]  # returns when there is something to read, after some time too; raises to give up
Check = Callable[[], None]  # raises to give up


class TooLongError(Exception):
    """A message that is longer than it may be."""


class Deadline:
    """When a message has to be whole. A new one for each message."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raises TimeoutError when it is over."""
        if time.monotonic() > self._end:
            raise TimeoutError(f"the message was not whole after {self.seconds:.0f} seconds.")

    def wait(self, connection: Connection) -> None:
        """Until there is something to read. Raises TimeoutError."""
        self.check()
        while not connection.poll(LOOK):
            self.check()


def receive_bytes(connection: Connection, limit: int, wait: Wait | None = None) -> bytearray | bytes:
    """The next message. `wait` is called wherever nothing is there yet; without it this waits for as long as it takes.

    Raises TooLongError, EOFError when the peer is gone, OSError, MemoryError, and what `wait` raises.
    """
    if sys.platform == "win32":  # a pipe's messages come whole
        return _receive_whole(connection, limit, wait)
    with _socket(connection) as stream:
        length = struct.unpack("!i", _read(connection, stream, 4, wait))[0]
        if length == -1:
            length = struct.unpack("!Q", _read(connection, stream, 8, wait))[0]
        if not 0 <= length <= limit:
            raise TooLongError
        return _read(connection, stream, length, wait)


def send_bytes(connection: Connection, data: bytes | memoryview, check: Check | None = None) -> None:
    """A message. `check` is called now and then while the peer takes nothing. Raises OSError, and what it raises."""
    if sys.platform == "win32":
        connection.send_bytes(data)
        return
    data = memoryview(data).cast("B")
    head = struct.pack("!i", len(data)) if len(data) <= LONG else struct.pack("!iQ", -1, len(data))
    with _socket(connection) as stream:
        for part in (head, data) if len(data) > PIECE else (head + bytes(data),):
            _write(stream, memoryview(part), check)


def _receive_whole(connection: Connection, limit: int, wait: Wait | None) -> bytes:
    if wait is not None:
        wait(connection)
    try:
        return connection.recv_bytes(limit)
    except OSError as error:
        if connection.closed or not connection.readable:  # multiprocessing closes it for what is over the limit
            raise TooLongError from error
        raise


@contextlib.contextmanager
def _socket(connection: Connection) -> Iterator[socket.socket]:
    with socket.socket(fileno=os.dup(connection.fileno())) as stream:
        yield stream


def _read(connection: Connection, stream: socket.socket, count: int, wait: Wait | None) -> bytearray:
    data = bytearray(count)
    view, done = memoryview(data), 0
    while done < count:
        try:
            got = stream.recv_into(view[done:], min(count - done, PIECE), socket.MSG_DONTWAIT)
        except BlockingIOError:
            wait(connection) if wait is not None else connection.poll(None)
            continue
        if not got:
            raise EOFError
        done += got
    return data


def _write(stream: socket.socket, data: memoryview, check: Check | None) -> None:
    ready = select.poll()
    ready.register(stream, select.POLLOUT)
    while data:
        try:
            data = data[stream.send(data[:PIECE], socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            if not ready.poll(LOOK * 1000) and check is None:
                continue
        if check is not None:
            check()
