"""Working ahead: a thread takes from an iterator, so that whoever uses what it gives need not wait for it. No bpy."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

ROOM = 2  # items that may wait to be used
LOOK = 0.1  # seconds between two looks whether they are still wanted
END = 10.0  # seconds for the item that is being made

Item = TypeVar("Item")


@contextlib.contextmanager
def ahead(source: Generator[Item, None, None], patience: float | None) -> Iterator[Iterator[Item | None]]:
    """The items of a generator, which a thread runs ahead. What it raises is raised here.

    patience: seconds after which None comes in an item's place, to do something else and ask again; None waits.
    """
    items: queue.Queue[tuple[Item | None, bool, BaseException | None]] = queue.Queue(ROOM)
    unwanted = threading.Event()

    def put(item: Item | None, is_last: bool = False, error: BaseException | None = None) -> None:
        while not unwanted.is_set():
            with contextlib.suppress(queue.Full):
                items.put((item, is_last, error), timeout=LOOK)
                return

    def run() -> None:
        try:
            with contextlib.closing(source):
                for item in source:
                    put(item)
                    if unwanted.is_set():
                        return
            put(None, is_last=True)
        except Exception as error:
            put(None, is_last=True, error=error)

    def taken() -> Iterator[Item | None]:
        while True:
            try:
                item, is_last, error = items.get(timeout=patience)
            except queue.Empty:
                yield None
                continue
            if error is not None:
                raise error
            if is_last:
                return
            yield item

    thread = threading.Thread(target=run, name="scale-ahead", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        unwanted.set()
        thread.join(END)  # a thread that still works when Blender ends can hang it
