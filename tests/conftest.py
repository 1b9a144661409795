"""For all tests."""

import signal


def pytest_configure() -> None:
    """A test run in a shell's background inherits an ignored SIGINT; the programs under test must not."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a new program's start turns into the default
