"""UV templates: an .obj that gives a body's triangles their places in the UV square."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scale_backend.formats.foreign_file import ForeignFileError, check_size, quoted

LARGEST_FILE = 256 << 20  # bytes


@dataclass(frozen=True)
class UVTemplate:
    """A body's surface at rest with its UVs. Face order is the body's."""

    name: str
    vertices: np.ndarray  # [V, 3] float32 metres
    triangles: np.ndarray  # [T, 3] int64 into the body's vertices
    uv: np.ndarray  # [U, 2] float32; a vertex on a seam has several
    uv_triangles: np.ndarray  # [T, 3] int64 into uv

    @property
    def vertex_count(self) -> int:
        return len(self.vertices)

    def arrays(self) -> dict[str, np.ndarray]:
        """Those of a body file that is a surface alone."""
        return {"v_template": self.vertices, "f": self.triangles.astype(np.uint32), "vt": self.uv,
                "ft": self.uv_triangles.astype(np.uint32)}  # fmt: skip

    def fits(self, triangles: np.ndarray) -> bool:  # [T, 3]
        """Whether these are the template's."""
        return np.array_equal(triangles, self.triangles)

    def check_triangles(self, triangles: np.ndarray, vertex_count: int, body: str) -> None:  # [T, 3]
        """Raises ForeignFileError where the template is another body's."""
        if vertex_count != self.vertex_count or len(triangles) != len(self.triangles):
            raise ForeignFileError(
                f"{self.name} has {self.vertex_count} vertices and {len(self.triangles)} faces, the body '{body}' "
                f"{vertex_count} and {len(triangles)}; choose the UV template of that body."
            )
        differ = (triangles != self.triangles).any(1)
        if differ.any():
            raise ForeignFileError(
                f"{int(differ.sum())} faces of {self.name} are not those of the body '{body}' (first: "
                f"{int(differ.argmax())}); choose the UV template of that body, with its faces in the same order."
            )


def read_uv_template(path: str | Path) -> UVTemplate:
    """An .obj with `v`, `vt` and `f a/b c/d e/f` lines. Raises ForeignFileError, OSError."""
    path = Path(path)
    check_size(path, LARGEST_FILE)
    vertices, uv, faces, number, bare = [], [], [], 0, False
    try:
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):  # noqa: B007 -- an error names it
            words = line.split()
            match words[:1]:
                case ["v"]:
                    vertices.append((float(words[1]), float(words[2]), float(words[3])))
                case ["vt"]:
                    uv.append((float(words[1]), float(words[2])))
                case ["f"]:
                    if len(words) != 4:
                        raise ValueError(f"a face of {len(words) - 1} corners")
                    if not all("/" in corner.split("//")[0] for corner in words[1:]):
                        bare = True
                        break
                    faces.append([[int(index) for index in corner.split("/")[:2]] for corner in words[1:]])
        number = 0
        corners = np.array(faces, np.int64).reshape(-1, 3, 2) - 1
    except (ValueError, IndexError, OverflowError) as error:
        where = f", line {number}" if number else ""
        raise ForeignFileError(
            f"{path.name} is no UV template ({quoted(error)}{where}); an .obj of triangles with UVs is needed (f a/b "
            "c/d e/f)."
        ) from error
    if bare or (vertices and not uv):
        raise ForeignFileError(
            f"{path.name} is a mesh without UVs; choose the body's UV template (in the research release "
            "assets/template_mesh_uv.obj), or export the mesh with its UVs."
        )
    coordinates = np.array(uv, np.float32).reshape(-1, 2)
    for indices, count, kind in ((corners[..., 0], len(vertices), "vertex"), (corners[..., 1], len(uv), "UV")):
        if not indices.size or indices.min() < 0 or indices.max() >= count:
            raise ForeignFileError(f"{path.name} has faces with a {kind} that is not in the file; export it again.")
    if not (np.isfinite(coordinates).all() and coordinates.min() >= -1e-4 and coordinates.max() <= 1 + 1e-4):
        raise ForeignFileError(
            f"{path.name} has UVs outside the unit square; one square is all a positional map shows."
        )
    places = np.array(vertices, np.float32).reshape(-1, 3)
    if not np.isfinite(places).all():
        raise ForeignFileError(f"{path.name} has vertices that are not finite; export it again.")
    return UVTemplate(path.name, places, corners[..., 0], coordinates, corners[..., 1])
