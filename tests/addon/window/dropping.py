"""Drags a file into a window, as a file manager does: dropping.py FILE X Y, with X and Y in pixels of the screen.

The source's half of XDND, version 5 (https://www.freedesktop.org/wiki/Specifications/XDND/). A program of its own:
the window's program has to answer meanwhile. Ends with 0 when the drop was taken.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from Xlib import X, display
from Xlib.protocol import event

VERSION, PATIENCE = 5, 20.0  # of the protocol; seconds to wait for each answer
URIS = "text/uri-list"


class Drag:
    """A file on its way into the window at a place."""

    def __init__(self, path: Path, x: int, y: int):
        self.display = display.Display()
        root = self.display.screen().root
        self.source = root.create_window(0, 0, 1, 1, 0, X.CopyFromParent)
        self.uris = f"{path.resolve().as_uri()}\r\n".encode()
        self.place = x << 16 | y
        root.warp_pointer(x, y)
        self.display.sync()
        self.target = self.aware(root)
        self.source.set_selection_owner(self.atom("XdndSelection"), X.CurrentTime)

    def atom(self, name: str) -> int:
        return self.display.intern_atom(name)

    def aware(self, root):
        """The window under the mouse that takes drops."""
        window = root
        while not window.get_full_property(self.atom("XdndAware"), X.AnyPropertyType):
            window = window.query_pointer().child
            if window == X.NONE:
                raise SystemExit("No window there takes files.")
        return window

    def tell(self, message: str, *values: int) -> None:
        data = [self.source.id, *values, *[0] * (4 - len(values))]
        told = event.ClientMessage(window=self.target, client_type=self.atom(message), data=(32, data))
        self.target.send_event(told)
        self.display.flush()

    def answers(self) -> Iterator:
        """Events, until the patience ends; whoever asks for the file's name gets it."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if not self.display.pending_events():
                time.sleep(0.01)
                continue
            answer = self.display.next_event()
            if answer.type == X.SelectionRequest:
                self.give(answer)
            yield answer
        raise SystemExit("The window did not answer.")

    def give(self, request) -> None:
        request.requestor.change_property(request.property, self.atom(URIS), 8, self.uris)
        given = event.SelectionNotify(
            time=request.time, requestor=request.requestor, selection=request.selection, target=request.target,
            property=request.property,
        )  # fmt: skip
        request.requestor.send_event(given)
        self.display.flush()

    def wait(self, message: str) -> int:
        """Until the window says so; returns the flags it sends along."""
        for answer in self.answers():
            if answer.type == X.ClientMessage and answer.client_type == self.atom(message):
                return answer.data[1][1]
        raise AssertionError

    def drop(self) -> bool:
        """Enter the window, stay for a moment, let go. Whether the file was taken."""
        self.tell("XdndEnter", VERSION << 24, self.atom(URIS))
        for _ in range(5):
            self.tell("XdndPosition", 0, self.place, X.CurrentTime, self.atom("XdndActionCopy"))
            accepted = self.wait("XdndStatus") & 1
            time.sleep(0.2)
        if not accepted:
            self.tell("XdndLeave")
            return False
        self.tell("XdndDrop", 0, X.CurrentTime)
        self.wait("XdndFinished")
        return True


if __name__ == "__main__":
    _, name, x, y = sys.argv
    sys.exit(not Drag(Path(name), int(x), int(y)).drop())
