"""Figures of decoded points against scans: those that SCALE reports (Ma et al. 2021, table 1), and plain units."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.geometry.nearest import nearest

RELEASE_WEIGHTS = {"m2s": 1e4, "s2m": 1e4, "normal": 1.0}
MILLIMETRES = 1e3


@dataclass
class ScanFigures:
    """A row a frame."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        name: str,
        points: Tensor,  # [M, 3] decoded
        normals: Tensor,  # [M, 3] unit
        scan: Tensor,  # [n, 3]
        scan_normals: Tensor,  # [n, 3] unit
        workers: int = 1,
    ) -> None:
        squared, index = nearest(points, scan, workers)
        back = nearest(scan, points, workers)[0]
        true = scan_normals[index]
        angle = torch.rad2deg((normals * true).sum(-1).clamp(-1, 1).arccos())
        row = {
            "m2s": RELEASE_WEIGHTS["m2s"] * ((scan[index] - points) * true).sum(-1).square().mean(),
            "s2m": RELEASE_WEIGHTS["s2m"] * back.mean(),
            "normal": RELEASE_WEIGHTS["normal"] * (normals - true).abs().mean(),
            "to_scan_mm": MILLIMETRES * squared.sqrt().mean(),
            "from_scan_mm": MILLIMETRES * back.sqrt().mean(),
            "normal_degrees": angle.mean(),
        }
        row["chamfer"] = row["m2s"] + row["s2m"]
        self.rows.append({"frame": name} | {key: float(value) for key, value in row.items()})

    def mean(self) -> dict[str, float]:
        """Over frames: m2s, s2m, chamfer and normal with the release's weights; millimetres; degrees."""
        names = ("m2s", "s2m", "chamfer", "normal", "to_scan_mm", "from_scan_mm", "normal_degrees")
        return {name: float(np.mean([row[name] for row in self.rows])) for name in names}
