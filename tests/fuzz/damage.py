"""Damage to files, as hypothesis draws it: cuts, flips, numbers put in, parts doubled or taken out, texts replaced."""

from __future__ import annotations

import json
import struct
from typing import NamedTuple

from hypothesis import strategies

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
WORDS = (
    b"[",
    b"{",
    b"nan",
    b".inf",
    b"1e999",
    b"..",
    b"\0",
    b"-1",
    b"/",
    b"\xff\xfe",
    b"O",
    b"<f8",
    b"&a [*a]",
    b"9" * 40,
)


class Blow(NamedTuple):
    """One damage: of a kind, at a share of the file, with a number."""

    kind: str
    place: float
    number: int


KINDS = ("flip", "set", "cut", "drop", "double", "word", "zeros", "size")
blows = strategies.lists(
    strategies.builds(
        Blow, strategies.sampled_from(KINDS), strategies.floats(0, 1), strategies.integers(0, (1 << 16) - 1)
    ),
    min_size=1, max_size=4,
)  # fmt: skip


def damaged(data: bytes, done: list[Blow]) -> bytes:
    """The file after some blows. Half of them fall on the first kilobyte, where headers are."""
    for kind, place, number in done:
        reach = min(len(data), 1024) if number & 1 else len(data)
        at = int(place * max(reach - 1, 0))
        piece = 1 + number % 64
        match kind:
            case "flip" if data:
                data = data[:at] + bytes([data[at] ^ (1 << number % 8)]) + data[at + 1 :]
            case "set":
                data = data[:at] + bytes([number % 256]) + data[at + 1 :]
            case "cut":
                data = data[:at]
            case "drop":
                data = data[:at] + data[at + piece :]
            case "double":
                data = data[:at] + data[at : at + piece] * 2 + data[at + piece :]
            case "word":
                word = WORDS[number % len(WORDS)]
                data = data[:at] + word + data[at + len(word) :]
            case "zeros":
                data = data[:at] + bytes(piece) + data[at + piece :]
            case "size":
                size = struct.pack("<Q", INTERESTING[number % len(INTERESTING)])[: (2, 4, 8)[number % 3]]
                data = data[:at] + size + data[at + len(size) :]
    return data


numbers = strategies.one_of(
    strategies.integers(-5, 5),
    strategies.sampled_from([*INTERESTING, -(1 << 63), 10**30, 10**400]),
    strategies.floats(),
)
texts = strategies.one_of(
    strategies.sampled_from(["", "..", "../up", "a\0", "\ud800", "nan", "x" * 3000, "mesh", "clothes"]),
    strategies.text(max_size=12),
)
values = strategies.recursive(
    strategies.one_of(strategies.none(), strategies.booleans(), numbers, texts),
    lambda inner: strategies.one_of(
        strategies.lists(inner, max_size=4),
        strategies.builds(lambda value: [value] * 1000, numbers),
        strategies.dictionaries(texts, inner, max_size=4),
    ),
    max_leaves=8,
)


def rewritten_header(data: bytes, path: tuple[int, ...], value: object) -> bytes:
    """A garment file in whose header one value, found by going down the path, is another."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    described = header["__metadata__"]
    described["scale_clothing"] = json.loads(described["scale_clothing"])
    _put(header, path, value)
    described = header.get("__metadata__")
    if isinstance(described, dict) and not isinstance(described.get("scale_clothing"), str):
        described["scale_clothing"] = json.dumps(described.get("scale_clothing"))
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def _put(tree: object, path: tuple[int, ...], value: object) -> None:
    for depth, step in enumerate(path):
        keys = list(tree) if isinstance(tree, dict) else range(len(tree))
        if not keys:
            return
        key = keys[step % len(keys)]
        if depth == len(path) - 1 or not isinstance(tree[key], dict | list):
            tree[key] = value
            return
        tree = tree[key]
