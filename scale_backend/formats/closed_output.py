"""What a command line does when nobody reads what it prints any more."""

from __future__ import annotations

import os
import sys

READER_GONE = 141  # the exit code that a shell gives a program which SIGPIPE has ended


def end_quietly() -> int:
    """After a BrokenPipeError: `| head` has seen enough. What Python still wants to write goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return READER_GONE
