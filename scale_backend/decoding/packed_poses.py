"""Poses as packed frames hold them, SCALE's data format: the positional map and the posed body are in the file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scale_backend.formats.arrays_file import ArraysFile
from scale_backend.formats.foreign_file import ForeignFileError
from scale_backend.formats.joints import JOINT_NAMES
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.formats.poses import DecodeOptions, Poses

if TYPE_CHECKING:
    from scale_backend.decoding.decoder import Decoder

LARGEST_FILE = 1 << 30  # bytes


@dataclass(frozen=True)
class PackedPose:
    """What decoding needs of a packed frame; its scan may be missing. Normalised space: pelvis at the origin."""

    name: str  # <outfit>_<sequence>.<frame>
    positional_map: np.ndarray  # [H, W, 3]
    body_vertices: np.ndarray  # [V, 3]
    pose: np.ndarray | None  # [J, 3] axis-angle; not in files of the release
    root: np.ndarray | None  # [4, 4] to where the scan stood; not in files of the release

    def in_place(self, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [M, 3] x 2
        """The normalisation undone, where the file tells how."""
        if self.root is None:
            return points, normals
        turn = self.root[:3, :3].T
        return points @ turn + self.root[:3, 3], normals @ turn


def packed_files(folder: Path, every: int = 1) -> list[Path]:
    """A folder's packed frames, or those of its split `test`; every Nth. Raises ForeignFileError."""
    if not folder.is_dir():
        raise ForeignFileError(f"There is no folder {folder}; name one that holds packed frames.")
    files = sorted(folder.glob("*.npz")) or sorted((folder / "test").glob("*.npz"))
    if not files:
        raise ForeignFileError(f"{folder} holds no packed frames (.npz), nor does a folder test in it.")
    return files[::every]


def frame_name(path: Path) -> str:
    """The name that stands in the file, else the file's. Raises ForeignFileError."""
    return Path(str(_arrays(path, ("scan_name",)).get("scan_name", path.stem))).name or path.stem


def read_packed_pose(path: Path, size: int) -> PackedPose:
    """Raises ForeignFileError for a file that lacks something, or has a map of another size."""
    key = f"posmap{size}"
    arrays = _arrays(path, (key, "body_verts", "pose", "root"))
    missing = [name for name in (key, "body_verts") if name not in arrays]
    if missing:
        raise ForeignFileError(f"{path.name} lacks {' and '.join(missing)}, which the garment needs; pack it again.")
    shapes = {key: (size, size, 3), "body_verts": (None, 3), "pose": (None, 3), "root": (4, 4)}
    for name, array in arrays.items():
        expected = shapes[name]
        fits = array.ndim == len(expected) and all(e in (None, n) for e, n in zip(expected, array.shape, strict=True))
        if not fits or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise ForeignFileError(f"'{name}' in {path.name} has another shape than {expected}, or is not finite.")
        arrays[name] = np.ascontiguousarray(array, np.float32)
    if "pose" in arrays and len(arrays["pose"]) not in JOINT_NAMES:
        raise ForeignFileError(f"{path.name} has a pose of {len(arrays['pose'])} joints, not 24, 52 or 55; pack it "
                               "again.")  # fmt: skip
    return PackedPose(frame_name(path), arrays[key], arrays["body_verts"], arrays.get("pose"), arrays.get("root"))


def _arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    try:
        with ArraysFile(path, LARGEST_FILE) as file:
            return {name: file[name] for name in names if name in file}
    except ForeignFileError as error:
        raise ForeignFileError(f"{path.name} cannot be read as a packed frame; pack it again.") from error


def decode_packed(
    decoder: Decoder, pose: PackedPose, options: DecodeOptions
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:  # points, normals, colours [M, 3]; None without colours
    """A garment on a packed frame, in normalised space. On the body's carrier everything comes from the file; a
    garment's own surface is posed by the frame's pose. Raises ForeignFileError."""
    import torch

    from scale_backend.decoding.colors import decode_colors, pixel_colors
    from scale_backend.decoding.frames import decode_pixels
    from scale_backend.geometry.packed_body import what_differs

    model = decoder.model
    colored = model.network.settings.colors
    if model.carrier.kind == "garment":
        if pose.pose is None:
            raise ForeignFileError(
                f"The frame {pose.name} does not say its pose, which a garment on its own surface needs; pack it "
                "again with scale-train pack."
            )
        rotations = torch.from_numpy(matrices_from_axis_angle(pose.pose).astype(np.float32))[None].clone()
        rotations[:, 0] = torch.eye(3)
        pelvis = -model.body.mean_joints[:1].cpu()
        points, directions = decoder.decode(Poses(rotations.numpy(), pelvis.numpy()), replace(options, push_out=False))
        colors = decode_colors(decoder, rotations, options) if colored else None
        return points[0].numpy(), directions[0].numpy(), None if colors is None else colors[0].numpy()
    places, vertices = torch.from_numpy(pose.positional_map), torch.from_numpy(pose.body_vertices)
    if differs := what_differs(model.host_carrier, model.garment.layout, places, vertices):
        raise ForeignFileError(
            f"The frame {pose.name} {differs}: it was packed on another body than '{model.body.name}'; name the right "
            "body with --body."
        )
    with torch.inference_mode():
        prepared = decoder.prepare(options.surface, options.part, options.normals)
        body = torch.from_numpy(pose.body_vertices)[None].to(model.device)
        places = torch.from_numpy(pose.positional_map).flatten(0, 1)[None].to(model.device)
        pixels = model.pixel_features(places)
        points, directions = decode_pixels(model, prepared, pixels, places, body)
        colors = pixel_colors(model, prepared, pixels) if colored else None
    return points[0].cpu().numpy(), directions[0].cpu().numpy(), None if colors is None else colors[0].cpu().numpy()
