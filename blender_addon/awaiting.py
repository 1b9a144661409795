"""Operators that wait for what goes on beside Blender, which can be used meanwhile."""

from __future__ import annotations

from bpy.types import Context, Event

from . import messages

TICK = 0.1  # seconds between two looks


class Awaiting:
    """Modal until `ended`; Esc gives up. The status bar says what is waited for."""

    awaited = ""  # what the status bar says

    def wait(self, context: Context) -> set[str]:
        self.timer = context.window_manager.event_timer_add(TICK, window=context.window)
        context.window_manager.modal_handler_add(self)
        self.show(context)
        return {"RUNNING_MODAL"}

    def modal(self, context: Context, event: Event) -> set[str]:
        if event.type == "ESC" and event.value == "PRESS":
            self.give_up()
            self.cancel(context)
            return {"CANCELLED"}
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        if not self.ended():
            self.show(context)
            return {"PASS_THROUGH"}
        self.cancel(context)
        return self.end(context)

    def show(self, context: Context) -> None:
        context.workspace.status_text_set(f"{self.awaited}   |   Esc: cancel")
        messages.redraw_panels()

    def cancel(self, context: Context) -> None:
        """The waiting is over; also when its window was closed, or another file is loaded."""
        context.window_manager.event_timer_remove(self.timer)
        if context.workspace is not None:
            context.workspace.status_text_set(None)
        messages.redraw_panels()

    def ended(self) -> bool:
        raise NotImplementedError

    def end(self, context: Context) -> set[str]:
        """What is to be done when it has ended; the operator's result."""
        raise NotImplementedError

    def give_up(self) -> None:
        """What Esc does beside ending the operator."""
