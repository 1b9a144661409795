"""`scale-train posmap`: the positional map of a template, as picture, arrays and points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from scale_backend.formats.errors import UserError
from training.geometry.meshes import MeshError, read_obj


@dataclass(frozen=True)
class PosmapSettings:
    """Draw a template's positional map at any resolution.

    Writes posmapSIZE.png (x, y, z as red, green, blue), maskSIZE.png, maskSIZE.npy (which pixels are covered, row by
    row), posmapSIZE.npz (posmap, mask, triangle, barycentrics) and pointsSIZE.ply.
    """

    out: Path = Path("posmap")
    """Folder for the files."""
    size: int = 32
    """Side of the map, pixels."""
    body: str = "neutral"
    """Body, by name or path, in its rest pose."""
    template: Path | None = None
    """In place of the body: an .obj with UVs."""
    garment: str = ""
    """In place of the body: the surface of a garment."""


@dataclass(frozen=True)
class Template:
    vertices: torch.Tensor  # [V, 3]
    triangles: torch.Tensor  # [T, 3]
    uv: torch.Tensor  # [U, 2]
    uv_triangles: torch.Tensor  # [T, 3]


def run(settings: PosmapSettings) -> Path:
    """Draw; the folder. Raises UserError with one sentence for whatever the user can mend."""
    from scale_backend.formats.point_files import write_points
    from scale_backend.formats.whole_files import write_npz, written_whole
    from scale_backend.geometry.positional_map import positional_map, rasterise
    from training.geometry.surface_distance import vertex_normals
    from training.pictures.splatter import write_picture

    if not 1 <= settings.size <= 4096:
        raise UserError(f"A map of {settings.size} pixels; give 1 to 4096.")
    template = read_template(settings)
    layout = rasterise(template.uv, template.uv_triangles, settings.size)
    mask = layout.mask.numpy()
    if not mask.any():
        raise UserError(f"At {settings.size} pixels no pixel's middle is covered; choose a larger size.")
    drawn = positional_map(template.vertices[None], template.triangles, layout)[0].permute(1, 2, 0).numpy()
    out, size = settings.out, settings.size
    low, high = drawn[mask].min(0), drawn[mask].max(0)
    scaled = np.where(mask[..., None], 255 * (drawn - low) / np.maximum(high - low, 1e-9), 0)
    write_picture(out / f"posmap{size}.png", (scaled + 0.5).astype(np.uint8))
    write_picture(out / f"mask{size}.png", np.repeat(255 * mask[..., None].astype(np.uint8), 3, axis=-1))
    with written_whole(out / f"mask{size}.npy") as beside, open(beside, "wb") as file:
        np.save(file, mask.flatten())
    arrays = {"posmap": drawn, "mask": mask, "triangle": layout.triangle_index.numpy(),
              "barycentrics": layout.barycentrics.numpy()}  # fmt: skip
    write_npz(out / f"posmap{size}.npz", arrays, compress=True)
    faces = template.triangles.numpy()
    normals = vertex_normals(template.vertices.numpy(), faces)[faces[layout.triangle_index.numpy()[mask]]]
    normals = np.einsum("mkc,mk->mc", normals, layout.barycentrics.numpy()[mask])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    write_points(out / f"points{size}.ply", drawn[mask], normals, (scaled[mask] + 0.5).astype(np.uint8))
    print(f"{int(mask.sum())} of {size * size} pixels are covered: {out}")
    return out


def read_template(settings: PosmapSettings) -> Template:
    if settings.template is not None:
        mesh = read_obj(settings.template)
        if mesh.uv is None:
            raise MeshError(f"{settings.template.name} has no UVs; export it with them (lines 'vt' and 'f a/b ...').")
        arrays = (mesh.vertices.astype(np.float32), mesh.triangles, mesh.uv, mesh.uv_triangles)
        return Template(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))
    from scale_backend.geometry.body import load_body

    if settings.garment:
        from scale_backend.formats.assets import find_garment
        from scale_backend.model.garment import load_garment

        garment = load_garment(find_garment(settings.garment))
        if garment.carrier is not None:
            c = garment.carrier
            return Template(c.template, c.triangles, c.uv, c.uv_triangles)
        body = load_body(garment.body_name)
    else:
        body = load_body(settings.body)
    if body.uv is None or body.uv_triangles is None:
        raise UserError(f"The body '{body.name}' has no UVs; give them with --template.")
    return Template(body.template, body.triangles, body.uv, body.uv_triangles)
