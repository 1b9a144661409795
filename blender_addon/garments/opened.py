"""Garments that the backend has in memory."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from scale_backend.client.backend import Backend, BackendError
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.formats.topology import Topology
from scale_backend.formats.wearer import Wearer, WearerReport

from .. import messages
from ..backend.process import Launch, get, has_died
from ..rig.body_data import BodyData
from . import library

Result = TypeVar("Result")

# the ids of what is open, by backend: one that is gone takes its garments along
_ids: WeakKeyDictionary[Backend, dict[tuple, str]] = WeakKeyDictionary()
# and of what is fitted to wearers, by the garment's id and the wearer's digest
_fits: WeakKeyDictionary[Backend, dict[tuple[str, str], tuple[str, WearerReport]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class OpenGarment:
    """A garment that the backend has in memory. Its methods may be called in any thread; they raise BackendError."""

    backend: Backend
    id: str
    entry: library.Entry
    body: BodyData
    wearer: Wearer | None = None  # who wears it; None: its own body

    def worn_by(self, wearer: Wearer | None) -> OpenGarment:
        """The garment on a wearer: fitted on first use, which takes some seconds. None: on its own body."""
        if wearer is None:
            return self
        fits, key = _fits.setdefault(self.backend, {}), (self.id, wearer.digest)
        if key not in fits:
            fits[key] = self.backend.fit(self.id, wearer)
        return replace(self, id=fits[key][0], wearer=wearer)

    def topology(self, options: DecodeOptions) -> Topology:
        """What stays from frame to frame; read-only arrays."""
        return self.backend.topology(self.id, options.surface, options.part)

    def decode(self, poses: Poses, options: DecodeOptions) -> tuple[np.ndarray, np.ndarray]:  # 2 x [F, M, 3]
        """Points in metres and unit normals, SMPL's axes."""
        return self.backend.decode(self.id, poses, options)

    def stream(
        self, poses: Poses, options: DecodeOptions, batch: int
    ) -> Generator[tuple[int, np.ndarray, np.ndarray], None, None]:  # first frame, points and normals [B, M, 3]
        return self.backend.decode_stream(self.id, poses, options, batch)

    def meshes(
        self, poses: Poses, options: DecodeOptions
    ) -> Generator[
        tuple[int, dict[str, np.ndarray]], None, None
    ]:  # frame; points, normals [V, 3], triangles [T, 3], patch [V]
        """For surfaces whose topology is another in every frame."""
        return self.backend.decode_meshes(self.id, poses, options)

    def colors(self, poses: Poses, options: DecodeOptions) -> np.ndarray | None:  # [F, M, 3] in 0..1, sRGB
        """None for a garment without colours."""
        return self.backend.decode_colors(self.id, poses, options) if self.entry.has_colors else None


def open_garment(entry: library.Entry, launch: Launch | None = None) -> OpenGarment:
    """A garment made ready in the backend, which is started if need be; once for each file.

    launch: for other threads than the main one. Raises BackendError or AddonError.
    """
    backend = get(launch)
    try:
        return _open_in(backend, entry)
    except BackendError:
        if not has_died(backend):
            raise
        return _open_in(get(launch), entry)


def _open_in(backend: Backend, entry: library.Entry) -> OpenGarment:
    body = entry.body()
    ids, key = _ids.setdefault(backend, {}), _opening_key(entry)
    if key not in ids:
        ids[key] = backend.open_garment(str(entry.path), body_path=str(entry.body_path()))["id"]
    return OpenGarment(backend, ids[key], entry, body)


def report_of(entry: library.Entry, wearer: Wearer) -> WearerReport | None:
    """How well a garment was fitted to a wearer; None where that has not been done yet."""
    opening = _opening_key(entry)
    for backend, ids in _ids.items():
        fit = _fits.get(backend, {}).get((ids.get(opening, ""), wearer.digest))
        if fit is not None:
            return fit[1]
    return None


def renewed(garment: OpenGarment, error: BackendError, launch: Launch | None = None) -> OpenGarment:
    """The garment opened again where the backend has died on the way, or no longer has it. Raises `error` where
    neither is so, BackendError and AddonError."""
    if not has_died(garment.backend):
        if error.kind != "not open":
            raise error
        known = _ids.get(garment.backend, {}).pop(_opening_key(garment.entry), "")
        fits = _fits.get(garment.backend, {})
        for key in [key for key in fits if key[0] == known]:
            del fits[key]
    return open_garment(garment.entry, launch).worn_by(garment.wearer)


def with_garment(entry: library.Entry, work: Callable[[OpenGarment], Result], launch: Launch | None = None) -> Result:
    """Work with a garment; once more where the backend dies on the way. Raises BackendError or AddonError."""
    garment = open_garment(entry, launch)
    try:
        return work(garment)
    except BackendError as error:
        return work(renewed(garment, error, launch))


def _opening_key(entry: library.Entry) -> tuple:
    try:
        changed = entry.path.stat().st_mtime_ns
    except OSError:
        raise messages.AddonError(f"There is no garment file {entry.path}; choose another garment.") from None
    return entry.path, changed
