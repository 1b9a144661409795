"""The command `track`: give a garment on the body a surface whose topology stays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Track:
    """Add the surface `tracked` to a garment on the body: reconstructed once, bound to its points, with UVs.

    This needs pymeshlab and xatlas; using the garment does not."""

    garment: Annotated[Positional[str], arg(metavar="GARMENT")]
    """A garment file, or the name of one that ships."""
    out: Path | None = None
    """The garment to write (.safetensors); the same file without it."""
    body: str = ""
    """A body file, for a garment whose body does not ship."""

    def run(self) -> int:
        from scale_backend.formats.assets import find_body, find_garment
        from scale_backend.geometry.body import load_body
        from scale_backend.model.garment import load_garment, save_garment
        from scale_backend.reconstruction.tracking import with_tracked_surfaces

        path = find_garment(self.garment)
        garment = load_garment(path)
        tracked = with_tracked_surfaces(garment, load_body(find_body(self.body or garment.body_name)))
        save_garment(self.out or path, tracked)
        for part, surface in tracked.tracked.items():
            print(f"{part}: {len(surface.index)} vertices, {len(surface.triangles)} triangles")
        print(self.out or path)
        return 0
