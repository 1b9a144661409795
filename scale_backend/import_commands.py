"""The commands that make the research release's files work here: `import-body` and `import-checkpoint`."""

from __future__ import annotations

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
        from scale_backend.import_body import import_body

        print(f"{import_body(self.source, self.template, self.out)}: {self.out}")
        return 0
