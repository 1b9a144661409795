"""The garments that are open in a backend: those used least recently go when there are many."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.errors import UserError
from scale_backend.formats.foreign_file import quoted
from scale_backend.formats.wearer import Wearer
from scale_backend.geometry.body import Body, load_body
from scale_backend.machine.cores import Cores
from scale_backend.model.garment import load_garment

MOST = 16  # garments in memory, some 20 MB each
VERSIONS = 2  # of a file that is written again and again
MOST_FITS = 64  # to wearers; about a megabyte each
MOST_BODIES = 8
MOST_KNOWN = 1000  # garments that are loaded again when somebody asks for them


class NotOpenError(UserError):
    """The client names a garment that is not open here: of a backend before, or dropped to make room."""


class Shelf:
    """Decoders by the ids that clients have. Its methods may be called from any thread; `lock` is the caller's."""

    def __init__(self, lock: threading.Lock, make: Callable[[Path, Body], Decoder]):
        self.lock = lock  # loading takes memory and cores as decoding does: one at a time
        self._make = make
        self._decoders: OrderedDict[str, Decoder] = OrderedDict()  # the least recently used first
        self._fits: OrderedDict[str, Decoder] = OrderedDict()
        self._bodies: OrderedDict[tuple, Body] = OrderedDict()
        self._known: OrderedDict[str, tuple[Path, Path]] = OrderedDict()  # files of garment and body

    def __len__(self) -> int:
        return len(self._decoders) + len(self._fits)

    def open(self, garment_file: Path, body_file: Path) -> tuple[str, Decoder]:
        """Load a garment, unless it is here and its files have not changed since. Raises UserError, OSError."""
        key = _key(garment_file, body_file)
        with self.lock:
            self._known[key] = garment_file, body_file
            self._known.move_to_end(key)
            _keep_newest(self._known, MOST_KNOWN)
            return key, self._loaded(key)

    def decoder(self, key: object) -> Decoder:
        """What an id stands for; loaded again where it had to go. Raises NotOpenError."""
        with self.lock:
            if isinstance(key, str) and key in self._fits:
                self._fits.move_to_end(key)
                base = key.partition("-")[0]
                if base in self._decoders:
                    self._decoders.move_to_end(base)
                return self._fits[key]
            if not isinstance(key, str) or not self._is_the_same(key):
                raise NotOpenError(
                    f"The garment '{quoted(key)}' is not open in this backend, which was started or has changed since; "
                    "open its file again."
                )
            return self._loaded(key)

    def keep_fit(self, key: str, fitted: Decoder) -> None:
        with self.lock:
            self._fits[key] = fitted
            self._fits.move_to_end(key)
            _keep_newest(self._fits, MOST_FITS)

    def fit_of(self, key: object, wearer: Wearer) -> tuple[str, Decoder | None]:
        """The id of a garment on a wearer, and what is there of it."""
        worn = f"{key}-{wearer.digest}"
        with self.lock:
            return worn, self._fits.get(worn)

    def _is_the_same(self, key: str) -> bool:
        """Whether an id is known, and its files are still those that were opened, or in memory."""
        if key in self._decoders:
            return True
        try:
            return key in self._known and _key(*self._known[key]) == key
        except OSError:
            return False

    def _loaded(self, key: str) -> Decoder:
        if key not in self._decoders:
            garment_file, body_file = self._known[key]
            self._decoders[key] = self._make(garment_file, self._body(body_file))
        self._decoders.move_to_end(key)
        versions = [other for other in self._decoders if self._known.get(other, ("",))[0] == self._known[key][0]]
        for old in [*versions[:-VERSIONS], *list(self._decoders)[:-MOST]]:
            self._decoders.pop(old, None)
            for fit in [fit for fit in self._fits if fit.startswith(f"{old}-")]:  # they hold its weights
                del self._fits[fit]
        return self._decoders[key]

    def _body(self, path: Path) -> Body:
        stamp = _stamp(path)
        if stamp not in self._bodies:
            self._bodies[stamp] = load_body(path)
        self._bodies.move_to_end(stamp)
        _keep_newest(self._bodies, MOST_BODIES)
        return self._bodies[stamp]


def load_decoder(garment_file: Path, body: Body, device: str, precision: str, cores: Cores) -> Decoder:
    """A garment on a body, ready to decode. Raises UserError."""
    return Decoder(load_garment(garment_file), body, device, precision, cores)


def _keep_newest(kept: OrderedDict, most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)


def _key(garment_file: Path, body_file: Path) -> str:
    return hashlib.sha256(repr((_stamp(garment_file), _stamp(body_file))).encode()).hexdigest()[:16]


def _stamp(path: Path) -> tuple:
    """Changes when the file does."""
    status = path.stat()
    return str(path.resolve()), status.st_mtime_ns, status.st_size
