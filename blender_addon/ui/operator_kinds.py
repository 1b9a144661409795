"""Kinds of operators: those that tell what goes wrong in a sentence, and those that let Blender be used meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import bpy
from bpy.types import Context, Event, Object, Operator, Timer

from scale_backend.formats.errors import UserError

from .. import messages
from ..clothes import selection
from ..present import present
from ..tasks.background import DecodingThread

Result = set[Literal["RUNNING_MODAL", "CANCELLED", "FINISHED", "PASS_THROUGH", "INTERFACE"]]  # of an operator

if TYPE_CHECKING:  # they are mixed into operators; Blender would want to register what is one itself
    from bpy.types import Operator as Base

    class FilePicker(Operator):
        """Has its user choose a file. Blender's types do not know what ImportHelper's methods give."""

        filepath: str

        def pick(self, context: Context, event: Event) -> Result:
            """Open the file browser."""

else:
    from bpy_extras.io_utils import ImportHelper

    Base = object

    class FilePicker(ImportHelper):
        def pick(self, context, event):
            return ImportHelper.invoke(self, context, event)


TICK = 0.1  # seconds between two looks at what is waited for


class SentenceOperator(Base):
    """Reports what goes wrong as one sentence, which also stays in the panel, and cancels."""

    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: Context) -> Result:
        return self.tell(self.work, context)

    def tell(self, work: Callable[..., str | None], *arguments: object) -> Result:
        try:
            done = work(*arguments)
        except UserError as error:
            return self.fail(error)
        messages.clear()
        messages.redraw_panels()  # Blender does so for operators with an undo step alone
        if done:
            self.report({"INFO"}, done)
        return {"FINISHED"}

    def fail(self, error: Exception) -> Result:
        messages.show_error(str(error))
        self.report({"ERROR"}, str(error))
        return {"CANCELLED"}

    def work(self, context: Context) -> str | None:
        """Do it; returns what to tell. Raises AddonError and BackendError."""
        raise NotImplementedError


class ClothesOperator(SentenceOperator):
    """Works on the clothes of the active object or of the chosen character."""

    def clothes(self, context: Context) -> Object:
        """The clothes that it works on: without any it is greyed out."""
        return present(selection.in_context(context))

    @classmethod
    def poll(cls, context: Context) -> bool:
        if selection.in_context(context) is None:
            cls.poll_message_set("Generate clothes first, or select some")
            return False
        return True


def can_change_objects(cls: type[Base], context: Context) -> bool:
    """For polls: modes in which objects may come, change and go."""
    if context.mode not in ("OBJECT", "POSE"):
        cls.poll_message_set("Switch to Object Mode or Pose Mode first")
        return False
    return True


class Awaiting(Base):
    """Modal until `ended`; Esc gives up. The status bar says what is waited for."""

    awaited = ""  # what the status bar says
    timer: Timer

    def wait(self, context: Context) -> Result:
        self.timer = present(context.window_manager).event_timer_add(TICK, window=context.window)
        present(context.window_manager).modal_handler_add(self)
        self.show(context)
        return {"RUNNING_MODAL"}

    def modal(self, context: Context, event: Event) -> Result:
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
        show_status(f"{self.awaited}   |   Esc: cancel")
        messages.redraw_panels()

    def cancel(self, context: Context) -> None:
        """The waiting is over; also when its window was closed, or another file is loaded."""
        present(context.window_manager).event_timer_remove(self.timer)
        clear_status()
        messages.redraw_panels()

    def ended(self) -> bool:
        raise NotImplementedError

    def end(self, context: Context) -> Result:
        """What is to be done when it has ended; the operator's result."""
        raise NotImplementedError

    def give_up(self) -> None:
        """What Esc does beside ending the operator."""


class Beside(Awaiting, SentenceOperator):
    """Has something done by a thread while Blender goes on; scripts and background wait for it.

    Of a kind of operator that does so one waits at a time.
    """

    def begin(self, context: Context) -> Callable[[], object]:
        """What the thread does; it touches nothing of Blender's. Raises AddonError."""
        raise NotImplementedError

    def use(self, context: Context, result: Any) -> str | None:
        """Go on with what the thread gave; returns what to tell. Raises AddonError and BackendError."""
        raise NotImplementedError

    def work(self, context: Context) -> str | None:
        return self.use(context, self.begin(context)())

    def invoke(self, context: Context, _event: Event) -> Result:
        if bpy.app.background:
            return self.execute(context)
        try:
            work = self.begin(context)
        except UserError as error:
            return self.fail(error)
        self.thread: DecodingThread[object] = DecodingThread()
        self.thread.ask(0, work)
        if self.thread.wait(TICK):  # it was quick
            return self.end(context)
        return self.wait(context)

    def ended(self) -> bool:
        return not self.thread.busy

    def end(self, context: Context) -> Result:
        outcome = self.thread.collect()[0]
        if isinstance(outcome.error, UserError):
            return self.fail(outcome.error)
        if outcome.error is not None:
            raise outcome.error
        return self.tell(self.use, context, outcome.value)


def own_operators() -> Any:
    """This add-on's operators, which Blender's types do not know."""
    return bpy.ops.scale_clothing  # type: ignore[attr-defined]


def keywords_of(operator: Operator) -> dict[str, Any]:
    """The values of an operator's properties. In Blender's types the method gives nothing."""
    keywords: Any = operator.as_keywords()  # type: ignore[func-returns-value]
    return keywords


def show_status(text: str | None) -> None:
    """Say something in the status bar; None gives it back to Blender.

    Of each window: Blender redraws that of the context's window alone, and the preferences' window has none.
    """
    for window in present(bpy.context.window_manager).windows:
        with bpy.context.temp_override(window=window):
            window.workspace.status_text_set(text)


def clear_status() -> None:
    """Give the status bar back to Blender, also in workspaces that the user has left meanwhile."""
    for workspace in bpy.data.workspaces:
        workspace.status_text_set(None)
    show_status(None)


@contextmanager
def waiting(context: Context) -> Iterator[None]:
    """The wait cursor for what may take seconds."""
    if context.window:
        context.window.cursor_set("WAIT")
    try:
        yield
    finally:
        if context.window:
            context.window.cursor_set("DEFAULT")
