"""What a garment file says of itself, read from its header alone. Standard library only: Blender imports this."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from scale_backend.formats.errors import UserError
from scale_backend.formats.window import Window

METADATA_KEY = "scale_clothing"
FORMAT_VERSION = 2  # which this version writes for a garment that knows of motion, gravity, shape or fabrics
FORMATS = (1, 2)  # that it reads; 1: the pose alone, in one fabric
MAX_HEADER = 16 << 20  # bytes
REFINEMENTS = ("mesh", "mesh-x4", "mesh-x16")  # the rest mesh, and with four and sixteen times its triangles
NORMALS = ("faces", "decoded")  # of a surface with faces: its own, or what the network gives at its vertices


class GarmentError(UserError):
    """A garment file that cannot be used. The sentence names the file, what is wrong and what to do."""


def surface_kinds(carrier: str | None, tracked: bool) -> list[str]:
    """What a garment on a carrier ("garment" or "body") can be shown as, the default first.

    `tracked` where its file holds the tracked surface; `poisson` needs a library that the backend may not have.
    """
    if carrier == "garment":
        return [*REFINEMENTS, "points"]
    return [*(["tracked"] if tracked else []), "points", "patches", "poisson"]


def garment_summary(path: str | Path) -> dict:
    """The metadata of a .safetensors garment. Raises GarmentError; also when the file is cut short."""
    path = Path(path)
    try:
        header, _ = _read_header(path)
        text = header.get("__metadata__", {}).get(METADATA_KEY)
        metadata = None if text is None else _checked(json.loads(text))
    except FileNotFoundError:
        raise GarmentError(f"There is no garment file {path}.") from None
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
        raise GarmentError(
            f"{path.name} is cut short or no garment file ({error}); copy it again or choose another."
        ) from error
    if metadata is None:
        raise GarmentError(f"{path.name} is a safetensors file but no garment; choose one made by scale-train.")
    if metadata.get("format") not in FORMATS:
        raise GarmentError(
            f"{path.name} has garment format {metadata.get('format')}, this version reads {FORMAT_VERSION}; "
            "update the add-on or train the garment again."
        )
    # by what this version can do, not the one that wrote the file
    tracked = any(name.startswith("tracked.") for name in header)
    return metadata | {"surfaces": surface_kinds(metadata.get("carrier"), tracked)}


def garment_tensors(path: str | Path, *names: str) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Those of the named tensors that a garment file has: type as safetensors calls it, shape, bytes.

    Raises OSError and ValueError for a file that is not whole.
    """
    path = Path(path)
    header, start = _read_header(path)
    found = {}
    with open(path, "rb") as file:
        for name in names:
            if name in header:
                first, last = header[name]["data_offsets"]
                file.seek(start + first)
                found[name] = header[name]["dtype"], tuple(header[name]["shape"]), file.read(last - first)
    return found


def _read_header(path: Path) -> tuple[dict, int]:
    """The header of a safetensors file that is as long as it says, and where its tensors begin."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        if length > min(MAX_HEADER, size):
            raise ValueError("header longer than the file")
        header = json.loads(file.read(length).decode())
    ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    if 8 + length + max(ends, default=0) != size:
        raise ValueError("shorter than its header says")
    return header, 8 + length


def _checked(metadata: object) -> dict:
    """What menus and panels show must be of the right kind. Raises ValueError."""
    if not isinstance(metadata, dict):
        raise ValueError("its description is none")
    if metadata.get("format") not in FORMATS:
        return metadata  # another version's: the caller says so
    for name in ("name", "title", "description", "licence", "author"):
        if not isinstance(metadata.get(name, ""), str):
            raise ValueError(f"its {name} is no text")
    if not isinstance(metadata.get("body"), dict) or not isinstance(metadata["body"].get("name"), str):
        raise ValueError("it does not name its body")
    fabrics = metadata.get("fabrics", [])
    if not isinstance(fabrics, list) or not all(isinstance(fabric, str) for fabric in fabrics):
        raise ValueError("its fabrics are no list of names")
    window_of(metadata)
    return metadata


def window_of(metadata: dict) -> Window:
    """What a garment sees beside the pose. Raises ValueError, TypeError or AttributeError for what is no window."""
    stated = metadata.get("window") or {}
    lags = tuple(float(lag) for lag in stated.get("lags", ()))
    return Window(lags, bool(stated.get("gravity")), bool(stated.get("shape")))
