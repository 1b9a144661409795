"""In a backend under test: messages have two seconds to be whole."""

from scale_backend.client import wire

whole = wire.Deadline.__init__


def hurried(self: wire.Deadline, seconds: float) -> None:
    whole(self, min(seconds, 2.0))


wire.Deadline.__init__ = hurried
