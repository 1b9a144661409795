"""Configs of the research release, as they are: their keys, their defaults, and their folders."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# The release's name of a key -> ours. `network.` and `loss.` lead into the nested settings; None: read and not needed.
RELEASE_KEYS: dict[str, str | None] = {
    "data_root": "data", "dataroot": "data", "npoints": "network.points_per_patch", "hsize": "network.hidden",
    "nf": "network.unet_width", "up_mode": "network.up_mode", "pix_feat_dim": "network.features",
    "latent_size": "network.latent", "num_emb_freqs": "network.uv_frequencies",
    "posemb_incl_input": "network.uv_include_input", "pq_include_end": "network.pq_include_end",
    "pqmin": "network.pq_min", "pqmax": "network.pq_max", "img_size": "network.map_size", "scan_npoints": "scan_points",
    "w_rgl": "loss.residual", "w_normal": "loss.normal", "w_m2s": "loss.model_to_scan", "w_s2m": "loss.scan_to_model",
    "batch_size": "batch", "lr": "learning_rate", "val_every": "validate_epochs", "mode": "task",
    "pos_encoding": None, "use_dropout": None,
}  # fmt: skip
# What a config in the release's keys leaves unsaid is as in the release: Adam at a constant rate, nothing averaged.
RELEASE_DEFAULTS = {
    "carrier": "body", "epochs": 500, "batch": 16, "learning_rate": 3e-4, "schedule": "constant", "warm_up": 1,
    "average": 0.0, "clip": 1e9, "precision": "float32", "validate_epochs": 20, "checkpoint_epochs": 100,
    "decay_start": 250, "rise_start": 250, "loss.normal": 1.0, "loss.residual": 2e3, "loss.latent": 1.0,
}  # fmt: skip
ALL_POINTS = 40_000  # of a scan, which the release calls -1
TEMPLATE = Path("assets/template_mesh_uv.obj")
MASKS = Path("assets/uv_masks")


def is_release(content: Iterable[str]) -> bool:
    """Whether keys are those of the release's configs; `mode` alone is ours too."""
    return bool({key for key in content if key in RELEASE_KEYS} - {"mode"})


def our_values(flat: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A config's values under our names, and what there is to say about them."""
    values, notes = {}, []
    for key, value in flat.items():
        target = RELEASE_KEYS.get(key, key)
        if target is not None:
            values[target] = value
    if flat.get("scan_npoints") == -1:
        values["scan_points"] = ALL_POINTS
    points = flat.get("npoints")
    if isinstance(points, int) and points > 0 and math.isqrt(points) ** 2 != points:
        values["network.points_per_patch"] = math.isqrt(points) ** 2
        notes.append(f"npoints: {math.isqrt(points) ** 2} is taken, the next smaller square number to {points}")
    if flat.get("use_dropout"):
        notes.append("use_dropout is left aside: there is no dropout here")
    if not flat.get("pos_encoding", True):
        values["network.uv_frequencies"] = 0
    elif "pos_encoding" in flat and "network.uv_frequencies" not in values:
        values["network.uv_frequencies"] = 6
    return values, notes


def roots(config: Path) -> list[Path]:
    """Folders that may be the release's: the one above `configs/`, the config's own, and the current one."""
    return [config.resolve().parent.parent, config.resolve().parent, Path()]


def find_data(config: Path, data: str) -> Path | None:
    """The folder of packed frames that a config of the release calls by its name alone."""
    places = [root / inside / data for root in roots(config) for inside in ("data/packed", "")]
    return next((place for place in places if place.is_dir()), None)


def find_template(config: Path) -> Path | None:
    """The UV template that comes with the release."""
    return next((root / TEMPLATE for root in roots(config) if (root / TEMPLATE).is_file()), None)


def find_masks(config: Path, size: int) -> tuple[Path | None, Path | None]:
    """The release's files for the pixels that carry a patch, and for the triangle of each pixel."""
    valid, faces = f"idx_smpl_posmap{size}_uniformverts_retrieval.npy", f"uv_mask{size}_with_faceid_smpl.npy"
    found = [next((root / MASKS / name for root in roots(config) if (root / MASKS / name).is_file()), None)
             for name in (valid, faces)]  # fmt: skip
    return found[0], found[1]


def find_checkpoint(config: Path, name: str) -> tuple[Path, Path] | None:
    """A training's newest network in the release's folder `checkpoints/NAME`, and the latent code beside it."""
    for root in roots(config):
        for model in sorted((root / "checkpoints" / name).glob("*_model.pt"), reverse=True):
            latent = model.with_name(model.name.removesuffix("_model.pt") + "_latent_vecs.pt")
            if latent.is_file():
                return model, latent
    return None
