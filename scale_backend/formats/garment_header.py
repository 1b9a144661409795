"""What a garment file says of itself, read from its header alone. Standard library only: Blender imports this."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TypeGuard

from scale_backend.formats.errors import UserError
from scale_backend.formats.foreign_file import quoted
from scale_backend.formats.strict_json import strict_json
from scale_backend.formats.window import Window

METADATA_KEY = "scale_clothing"
FORMAT_VERSION = 3  # the newest: 2 knows of motion, gravity, shape and fabrics, 3 of coarse cloth
FORMATS = (1, 2, 3)  # that it reads; 1: the pose alone, in one fabric
MAX_HEADER = 16 << 20  # bytes
REFINEMENTS = ("mesh", "mesh-x4", "mesh-x16")  # the rest mesh, and with four and sixteen times its triangles
NORMALS = ("faces", "decoded")  # of a surface with faces: its own, or what the network gives at its vertices
BODY_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # stands in the name of a file
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9 ._+()-]{0,99}")  # the same
DIGEST = re.compile(r"[0-9a-f]{64}")
PARTS = ("clothes", "whole body")
MOST_TENSORS = 10_000
MOST_PARTS = 256  # regions, fabrics
LONGEST, LONGEST_LINE = 20_000, 500  # letters of a description, and of what stands in one line
TYPES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}  # fmt: skip -- bytes of a number


class GarmentError(UserError):
    """A garment file that cannot be used. The sentence names the file, what is wrong and what to do."""


def surface_kinds(carrier: str | None, tracked: bool) -> list[str]:
    """What a garment on a carrier ("garment" or "body") can be shown as, the default first.

    `tracked` where its file holds the tracked surface; `poisson` needs a library that the backend may not have.
    """
    if carrier == "garment":
        return [*REFINEMENTS, "points"]
    return [*(["tracked"] if tracked else []), "points", "patches", "poisson"]


def garment_metadata(path: str | Path) -> dict:
    """The metadata of a .safetensors garment. Raises GarmentError; also when the file is cut short."""
    path = Path(path)
    name = quoted(path.name)
    try:
        header, _ = _read_header(path)
        text = header.get("__metadata__", {}).get(METADATA_KEY)
        metadata = None if text is None else checked_metadata(_parsed(text))
    except FileNotFoundError:
        raise GarmentError(f"There is no garment file {path}.") from None
    except (OSError, ValueError, MemoryError) as error:
        reason = (error.strerror or quoted(error)) if isinstance(error, OSError) else quoted(error, 200)
        raise GarmentError(
            f"{name} is cut short or no garment file ({reason}); copy it again or choose another."
        ) from error
    if metadata is None:
        raise GarmentError(f"{name} is a safetensors file but no garment; choose one made by scale-train.")
    if metadata.get("format") not in FORMATS:
        raise GarmentError(
            f"{name} has garment format {quoted(metadata.get('format'))}, this version reads {FORMAT_VERSION}; "
            "update the add-on or train the garment again."
        )
    # by what this version can do, not the one that wrote the file
    tracked = any(name.startswith("tracked.") for name in header)
    return metadata | {"surfaces": surface_kinds(metadata["carrier"], tracked)}


def garment_tensors(path: str | Path, *names: str) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Those of the named tensors that a garment file has: type as safetensors calls it, shape, bytes.

    Raises OSError and ValueError for a file that is not whole.
    """
    path = Path(path)
    header, start = _read_header(path)
    tensors = {}
    with open(path, "rb") as file:
        for name in names:
            if name in header:
                first, last = header[name]["data_offsets"]
                file.seek(start + first)
                tensors[name] = header[name]["dtype"], tuple(header[name]["shape"]), file.read(last - first)
    return tensors


def _read_header(path: Path) -> tuple[dict, int]:
    """The header of a safetensors file that is as long as it says, and where its tensors begin.

    Raises OSError, ValueError.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length + 8 > size:
            raise ValueError("its header is longer than the file")
        if length > MAX_HEADER:
            raise ValueError("its header is too long")
        header = _parsed(file.read(length).decode())
    if not isinstance(header, dict) or len(header) > MOST_TENSORS:
        raise ValueError("its header is none")
    if not isinstance(header.get("__metadata__", {}), dict):
        raise ValueError("its description is none")
    ends = [_tensor_end(name, entry, size) for name, entry in header.items() if name != "__metadata__"]
    if 8 + length + max(ends, default=0) != size:
        raise ValueError("it is not as long as its header says")
    return header, 8 + length


def _parsed(text: object) -> object:
    """JSON. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError("its description is no text")
    return strict_json(text)


def _tensor_end(name: str, entry: object, size: int) -> int:
    """Where a tensor ends, counted from the first. Raises ValueError."""
    if not isinstance(entry, dict):
        raise ValueError(f"its tensor '{quoted(name)}' is not described")
    dtype, shape, place = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in TYPES:
        raise ValueError(f"its tensor '{quoted(name)}' is of the type '{quoted(dtype)}'")
    if not _is_sizes(shape) or len(shape) > 8 or not _is_sizes(place) or len(place) != 2:
        raise ValueError(f"its tensor '{quoted(name)}' has no shape or place")
    if max([*shape, *place], default=0) > size or math.prod(shape) * TYPES[dtype] != place[1] - place[0]:
        raise ValueError(f"its tensor '{quoted(name)}' has another size than its shape")
    return place[1]


def _is_sizes(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)


def checked_metadata(metadata: object) -> dict:
    """A garment's description, each field of the kind and size that whoever shows or uses it relies on.

    Raises ValueError.
    """
    if not isinstance(metadata, dict):
        raise ValueError("its description is none")
    if metadata.get("format") not in FORMATS or type(metadata["format"]) is not int:
        if isinstance(metadata.get("format"), int | str):
            return {"format": metadata["format"]} if metadata["format"] not in FORMATS else _refuse("format")
        return _refuse("format")
    for field, check in FIELDS.items():
        if field in metadata:
            if not check(metadata[field]):
                _refuse(field)
        elif field not in OPTIONAL:
            raise ValueError(f"it does not say its {field}")
    window_of(metadata)
    return metadata


def _refuse(field: str) -> dict:
    raise ValueError(f"its {field.replace('_', ' ')} cannot be used")


def _is_line(value: object) -> bool:
    return _is_text(value) and len(value) <= LONGEST_LINE and "\n" not in value


def _is_text(value: object) -> TypeGuard[str]:
    """Letters that can be shown and stored: no half of a pair, no control characters but ends of lines."""
    return (
        isinstance(value, str)
        and len(value) <= LONGEST
        and not any("\ud800" <= letter <= "\udfff" or (letter < " " and letter not in "\n\t") for letter in value)
    )


def _is_lines(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and len(value) <= MOST_PARTS and all(map(_is_line, value))


def _is_count(value: object) -> bool:
    return type(value) is int and 0 < value < 1 << 31


def _is_body(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and BODY_NAME.fullmatch(value["name"]) is not None
        and _is_count(value.get("vertices"))
        and isinstance(value.get("digest"), str)
        and DIGEST.fullmatch(value["digest"]) is not None
    )


def _is_settings(value: object) -> bool:
    """Names with a number, a truth or a short text each."""
    return (
        isinstance(value, dict)
        and len(value) <= MOST_PARTS
        and all(_is_line(name) for name in value)
        and all(_is_line(each) or (type(each) in (int, bool, float) and abs(each) < 1e9) for each in value.values())
    )


def _is_parts(value: object) -> bool:
    return isinstance(value, list) and 0 < len(value) <= len(PARTS) and all(each in PARTS for each in value)


def _is_window(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("lags", []), list)
        and len(value.get("lags", [])) <= MOST_PARTS
        and all(type(lag) in (int, float) for lag in value.get("lags", []))
        and all(type(value.get(name, False)) is bool for name in ("gravity", "shape", "coarse"))
    )


FIELDS: dict[str, Callable[[object], bool]] = {
    "name": lambda value: isinstance(value, str) and NAME.fullmatch(value) is not None,
    "title": _is_line,
    "description": _is_text,
    "licence": _is_line,
    "author": _is_line,
    "body": _is_body,
    "carrier": lambda value: value in ("garment", "body"),
    "mode": lambda value: value in ("patch", "continuous"),
    "network": _is_settings,
    "patches": _is_count,
    "points_per_patch": _is_count,
    "parts": _is_parts,
    "region_names": _is_lines,
    "training": lambda value: isinstance(value, dict),
    "window": _is_window,
    "fabrics": lambda value: _is_lines(value) and all(value) and len(set(value)) == len(value),
    "coarse": _is_settings,
    "settling": lambda value: isinstance(value, list) and len(value) <= MOST_PARTS and all(map(_is_settings, value)),
}
OPTIONAL = ("title", "description", "licence", "author", "window", "fabrics", "settling", "coarse", "training",
            "patches", "points_per_patch", "region_names")  # fmt: skip


def window_of(metadata: dict) -> Window:
    """What a garment sees beside the pose. Raises ValueError."""
    stated = metadata.get("window") or {}
    lags = tuple(float(lag) for lag in stated.get("lags", ()))
    return Window(lags, bool(stated.get("gravity")), bool(stated.get("shape")), bool(stated.get("coarse")))
