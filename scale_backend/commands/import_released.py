"""The commands that make the research release's files work here: `import-body` and `import-checkpoint`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class ImportBody:
    """Make a body of an official SMPL, SMPL-H or SMPL-X file. Nothing in the file is run; chumpy is not needed."""

    source: Annotated[Positional[Path], arg(metavar="FILE")]
    """The official file, .pkl or .npz."""
    template: Path
    """The body's UV template (.obj)."""
    out: Path
    """The body to write (.npz)."""

    def run(self) -> int:
        from scale_backend.released.import_body import import_body

        print(f"{import_body(self.source, self.template, self.out)}: {self.out}")
        return 0


@dataclass(frozen=True)
class ImportCheckpoint:
    """Make a garment of a checkpoint of the SCALE release. Its weights are kept exactly; nothing in it is run."""

    model: Annotated[Positional[Path], arg(metavar="MODEL.pt")]
    """The network (..._model.pt)."""
    latent: Annotated[Positional[Path], arg(metavar="LATENT.pt")]
    """The latent code, saved beside it (..._latent_vecs.pt)."""
    out: Path
    """The garment to write (.safetensors)."""
    body: str = ""
    """The body of its frames: a file made by import-body, or the name of one that ships. Without it, the body in this
    folder, beside the garment, or among those that ship, that has the template's triangles; where there is none, the
    template's surface alone, which is enough for packed frames."""
    template: Path | None = None
    """The UV template (.obj) it was trained with; the body's own UVs without it."""
    valid_pixels: Path | None = None
    """The mask of pixels that carry a patch (.npy); all covered ones without it."""
    face_ids: Path | None = None
    """The triangle of each pixel (.npy, -1: background); found by rasterising without it."""
    points_per_patch: int = 16
    """Points of a patch: a square number. The checkpoint does not say."""
    pq_include_end: bool = True
    """Whether the patch grid reaches the end of its range."""
    pq_min: float = 0.0
    """Start of the patch grid."""
    pq_max: float = 1.0
    """End of the patch grid."""
    latent_index: int = 0
    """Which latent code, where the file holds several."""
    licence: str = "as the checkpoint's"
    """What the garment file says of its licence."""

    def run(self) -> int:
        from scale_backend.released.import_checkpoint import PatchCoordinates, import_checkpoint
        from scale_backend.released.layout import find_body_of, read_body

        body = self.body or find_body_of(self.template, (Path(), self.out.parent)) or self._surface()
        coordinates = PatchCoordinates(self.points_per_patch, self.pq_include_end, self.pq_min, self.pq_max)
        garment = import_checkpoint(
            self.model, self.latent, read_body(body, self.template), self.out, self.valid_pixels, self.face_ids,
            coordinates, self.latent_index, self.licence,
        )  # fmt: skip
        patches, settings = int(garment.layout.mask.sum()), garment.network.settings
        print(
            f"{patches} patches of {settings.points_per_patch} points, a map of {settings.map_size} pixels: {self.out}"
        )
        return 0

    def _surface(self) -> Path:
        """The template's surface as a body file beside the garment."""
        from scale_backend.formats.uv_template import read_uv_template
        from scale_backend.formats.whole_files import write_npz

        assert self.template is not None
        path = self.out.with_name(f"{self.out.stem}-body.npz")
        write_npz(path, read_uv_template(self.template).arrays(), compress=True)
        print(
            f"No body here has the triangles of {self.template.name}: its surface alone is the garment's body, {path}. "
            "That is enough for packed frames. To pose a rig, make a body of the official file with scale-backend "
            "import-body and name it with --body.",
            file=sys.stderr,
        )
        return path
