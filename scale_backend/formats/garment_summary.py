"""What a garment file says of itself, with names: for whoever chooses a garment, shows it, or asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scale_backend.formats.garment_header import garment_metadata, window_of
from scale_backend.formats.window import Window


@dataclass(frozen=True)
class GarmentSummary:
    """A garment without its network's weights."""

    name: str
    title: str
    description: str
    licence: str  # empty: not stated; so are the author's and the description
    author: str
    body_name: str  # of the body it was trained on
    body_digest: str
    surfaces: tuple[str, ...]  # what it can be shown as, the default first
    parts: tuple[str, ...]
    region_names: tuple[str, ...]  # of the carrier's regions, by number
    patches: int | None  # None: not stated
    points_per_patch: int | None
    network: dict[str, Any]  # NetworkSettings
    window: Window  # what the network sees beside the pose
    fabrics: tuple[str, ...]  # that it can be made of; empty: one that has no name
    training: dict[str, Any]  # how it was trained, with errors on held-out poses; from elsewhere, so anything

    @property
    def has_colors(self) -> bool:
        """Whether it was trained on coloured scans."""
        return bool(self.network.get("colors"))

    @classmethod
    def of(cls, metadata: dict[str, Any]) -> GarmentSummary:
        """From `garment_metadata`."""
        return cls(
            name=metadata["name"],
            title=metadata.get("title") or "",
            description=metadata.get("description") or "",
            licence=metadata.get("licence") or "",
            author=metadata.get("author") or "",
            body_name=metadata["body"]["name"],
            body_digest=metadata["body"]["digest"],
            surfaces=tuple(metadata["surfaces"]),
            parts=tuple(metadata["parts"]),
            region_names=tuple(metadata.get("region_names", ())),
            patches=metadata.get("patches"),
            points_per_patch=metadata.get("points_per_patch"),
            network=metadata["network"],
            window=window_of(metadata),
            fabrics=tuple(metadata.get("fabrics", ())),
            training=metadata.get("training", {}),
        )


def garment_summary(path: str | Path) -> GarmentSummary:
    """The summary of a .safetensors garment, from its header alone. Raises GarmentError; also for one cut short."""
    return GarmentSummary.of(garment_metadata(path))
