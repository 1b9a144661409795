"""Garments that the backend has in memory."""

from __future__ import annotations

from dataclasses import dataclass

from scale_backend.client.backend import Backend

from .. import messages, paths
from ..backend.process import Launch, get
from ..rig.body_data import BodyData, read_body
from . import library

_opened: dict[tuple, OpenGarment] = {}


@dataclass(frozen=True)
class OpenGarment:
    """A garment that the backend has in memory."""

    id: str
    entry: library.Entry
    body: BodyData


def body_of(entry: library.Entry) -> BodyData:
    """The body that a garment is made for. Raises AddonError."""
    if entry.summary is None:
        raise messages.AddonError(entry.problem)
    return read_body(paths.body_file(entry.summary["body"]["name"]))


def open_garment(entry: library.Entry, launch: Launch | None = None) -> OpenGarment:
    """A garment made ready in the backend; once for each file. Raises BackendError or AddonError."""
    body = body_of(entry)
    backend = get(launch)
    key = _opening_key(backend, entry)
    if key not in _opened:
        body_path = paths.body_file(entry.summary["body"]["name"])
        opened = backend.open_garment(str(entry.path), body_path=str(body_path))
        _opened[key] = OpenGarment(opened["id"], entry, body)
    return _opened[key]


def _opening_key(backend: Backend, entry: library.Entry) -> tuple:
    try:
        changed = entry.path.stat().st_mtime_ns
    except OSError:
        raise messages.AddonError(f"There is no garment file {entry.path}; choose another garment.") from None
    return backend.address, entry.path, changed  # of this backend: another has to open it again
