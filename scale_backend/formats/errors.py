"""The errors that are written for the user."""

from __future__ import annotations


class UserError(Exception):
    """What the user can put right. The message is a sentence that says what is wrong and what to do.

    Both command lines, the backend's sessions and the add-on show the sentence; any other exception is a fault of the
    code and shows its traceback.
    """
