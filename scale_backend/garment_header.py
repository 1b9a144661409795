"""What a garment file says of itself, read from its header alone. Standard library only: Blender imports this."""

from __future__ import annotations

import json
import struct
from pathlib import Path

METADATA_KEY = "scale_clothing"
FORMAT_VERSION = 1
MAX_HEADER = 16 << 20  # bytes
REFINEMENTS = ("mesh", "mesh-x4", "mesh-x16")  # the rest mesh, and with four and sixteen times its triangles


class GarmentError(ValueError):
    """A garment file that cannot be used. The sentence names the file, what is wrong and what to do."""


def surface_kinds(carrier: str, tracked: bool) -> list[str]:
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
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            if length > min(MAX_HEADER, size):
                raise ValueError("header longer than the file")
            header = json.loads(file.read(length).decode())
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
            if 8 + length + max(ends, default=0) != size:
                raise ValueError("shorter than its header says")
    except FileNotFoundError:
        raise GarmentError(f"There is no garment file {path}.") from None
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
        raise GarmentError(
            f"{path.name} is cut short or no garment file ({error}); copy it again or choose another."
        ) from error
    text = header.get("__metadata__", {}).get(METADATA_KEY)
    if text is None:
        raise GarmentError(f"{path.name} is a safetensors file but no garment; choose one made by scale-train.")
    metadata = json.loads(text)
    if metadata.get("format") != FORMAT_VERSION:
        raise GarmentError(
            f"{path.name} has garment format {metadata.get('format')}, this version reads {FORMAT_VERSION}; "
            "update the add-on or train the garment again."
        )
    # by what this version can do, not the one that wrote the file
    tracked = any(name.startswith("tracked.") for name in header)
    return metadata | {"surfaces": surface_kinds(metadata.get("carrier"), tracked)}
