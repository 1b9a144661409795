"""Garments that the backend has in memory."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from scale_backend.client.backend import Backend

from .. import messages
from ..backend.process import Launch, get
from ..rig.body_data import BodyData
from . import library

# by backend: one that is gone takes its garments along
_opened: WeakKeyDictionary[Backend, dict[tuple, OpenGarment]] = WeakKeyDictionary()


@dataclass(frozen=True)
class OpenGarment:
    """A garment that the backend has in memory."""

    id: str
    entry: library.Entry
    body: BodyData


def open_garment(entry: library.Entry, launch: Launch | None = None) -> OpenGarment:
    """A garment made ready in the backend; once for each file. Raises BackendError or AddonError."""
    body = entry.body()
    backend = get(launch)
    known = _opened.setdefault(backend, {})
    key = _opening_key(entry)
    if key not in known:
        opened = backend.open_garment(str(entry.path), body_path=str(entry.body_path()))
        known[key] = OpenGarment(opened["id"], entry, body)
    return known[key]


def _opening_key(entry: library.Entry) -> tuple:
    try:
        changed = entry.path.stat().st_mtime_ns
    except OSError:
        raise messages.AddonError(f"There is no garment file {entry.path}; choose another garment.") from None
    return entry.path, changed
