"""The commands `serve`, `doctor` and `info`: their options, and what each does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from scale_backend.commands.options import DeviceName, PrecisionName


@dataclass(frozen=True)
class Serve:
    """Serve Blender's add-on over a local socket. The add-on starts this; it reads its key from standard input."""

    device: DeviceName = "auto"
    """Where to decode."""
    threads: int = 0
    """CPU threads; 0 takes torch's own choice."""
    precision: PrecisionName = "auto"
    """Number format of the network; auto: the fastest that does not change the clothes, or the environment variable
    SCALE_BACKEND_PRECISION."""

    def run(self) -> int:
        from scale_backend.service.server import serve

        return serve(self.device, self.threads, self.precision)


@dataclass(frozen=True)
class Doctor:
    """Show what is installed, which device would be used and why, and what to do about what is missing."""

    json: bool = False
    """Print the report as JSON."""
    device: DeviceName = "auto"
    """The device that would be asked for."""

    def run(self) -> int:
        from scale_backend.doctor import print_report

        return print_report(self.json, self.device)


@dataclass(frozen=True)
class Info:
    """Show what a garment file holds."""

    garment: Annotated[Positional[str], arg(metavar="GARMENT")]
    """A garment file, or the name of one that ships."""

    def run(self) -> int:
        import json

        from scale_backend.formats.assets import find_garment
        from scale_backend.formats.garment_header import garment_metadata

        print(json.dumps(garment_metadata(find_garment(self.garment)), indent=1))
        return 0
