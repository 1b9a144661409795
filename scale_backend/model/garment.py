"""Garment files: one trained model, its carrier and UV layout in one .safetensors file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from scale_backend.coarse.correction import Correction, feature_count
from scale_backend.coarse.sheet import CoarseSettings, CoarseSheet
from scale_backend.formats.errors import UserError
from scale_backend.formats.foreign_file import quoted
from scale_backend.formats.garment_header import (
    FORMAT_VERSION,
    METADATA_KEY,
    GarmentError,
    checked_metadata,
    garment_metadata,
    surface_kinds,
    window_of,
)
from scale_backend.formats.whole_files import written_whole
from scale_backend.formats.window import Window
from scale_backend.geometry.body import Body
from scale_backend.geometry.carrier import Carrier, body_carrier
from scale_backend.geometry.positional_map import UVLayout
from scale_backend.model.network import NetworkSettings, ScaleNetwork
from scale_backend.model.tracked_surface import TrackedSurface
from scale_backend.settling.sweeps import Settling

MODES = ("patch", "continuous")


LARGEST = 1000.0  # metres from the origin that a carrier may be
MOST_POINTS = 1 << 22
Expected = tuple[str, bool, tuple[str | int, ...]]
KINDS = {
    "float": lambda value: value.is_floating_point(),
    "int": lambda value: not value.is_floating_point() and value.dtype != torch.bool,
    "bool": lambda value: value.dtype == torch.bool,
    "uint8": lambda value: value.dtype == torch.uint8,
}
# kind of number, whether it must be there, shape; a letter is the same number wherever it stands
LAYOUT: dict[str, Expected] = {
    "triangle_index": ("int", True, ("H", "H")), "barycentrics": ("float", True, ("H", "H", 3)),
    "chosen": ("bool", False, ("H", "H")),
}  # fmt: skip
CARRIER: dict[str, Expected] = {
    "template": ("float", True, ("V", 3)), "triangles": ("int", True, ("T", 3)),
    "blend_weights": ("float", True, ("V", "J")), "shape_components": ("float", True, ("V", 3, "S")),
    "uv": ("float", True, ("U", 2)), "uv_triangles": ("int", True, ("T", 3)), "region": ("uint8", False, ("V",)),
}  # fmt: skip
COARSE: dict[str, Expected] = {
    "template": ("float", True, ("C", 3)), "triangles": ("int", True, ("K", 3)),
    "blend_weights": ("float", True, ("C", "J")), "shape_components": ("float", True, ("C", 3, "S")),
    "held": ("float", True, ("C",)), "index": ("int", True, ("V", "N")), "weights": ("float", True, ("V", "N")),
}  # fmt: skip
CORRECTION: dict[str, Expected] = {
    "first": ("float", True, ("G", "I")), "first_bias": ("float", True, ("G",)), "fabric": ("float", True, ("G", "K")),
    "second": ("float", True, ("G", "G")), "second_bias": ("float", True, ("G",)),
    "last": ("float", True, ("O", "G")), "last_bias": ("float", True, ("O",)),
}  # fmt: skip
MOST_COARSE = 1 << 14  # vertices


@dataclass(frozen=True)
class Garment:
    """A trained model with all that decoding needs but the body."""

    name: str
    network: ScaleNetwork
    layout: UVLayout
    mode: str  # "patch" or "continuous"
    body_name: str
    body_vertices: int
    body_digest: str
    carrier: Carrier | None = None  # None: the body is the carrier
    cloth: Tensor | None = None  # [P N] bool: which points are cloth; None: all
    tracked: dict[str, TrackedSurface] = field(default_factory=dict)  # by part; of garments on the body
    preview: bytes = b""  # PNG
    title: str = ""
    description: str = ""
    licence: str = ""
    author: str = ""
    training: dict = field(default_factory=dict)
    window: Window = field(default_factory=Window)  # what the network sees beside the pose
    fabrics: tuple[str, ...] = ()  # that it was trained on, a latent code each; empty: one that has no name
    settling: tuple[Settling, ...] = ()  # how each fabric gets its length back; empty: the network's answer stays
    pins: Tensor | None = None  # [V] bool: what held on to the body in the simulation that it learned from
    coarse: CoarseSheet | None = None  # what falls through the window, where the network was trained beside it
    coarse_settings: CoarseSettings = field(default_factory=CoarseSettings)

    @property
    def format(self) -> int:
        """The oldest that says all there is."""
        if self.window.coarse:
            return FORMAT_VERSION
        return 2 if self.window != Window() or self.fabrics or self.settling else 1

    def carrier_on(self, body: Body) -> Carrier:
        """The carrier, once the body is known to be the right one. Raises GarmentError."""
        if body.digest != self.body_digest:
            raise GarmentError(
                f"The garment '{self.name}' is made for the body '{self.body_name}' ({self.body_vertices} vertices), "
                f"not for '{body.name}' ({len(body.template)} vertices); choose that body or another garment."
            )
        return self.carrier if self.carrier is not None else body_carrier(body)

    def metadata(self) -> dict:
        garment_surface = self.carrier is not None
        regions = () if self.carrier is None else self.carrier.region_names
        return {
            "format": self.format,
            "name": self.name,
            "title": self.title or self.name,
            "description": self.description,
            "licence": self.licence,
            "author": self.author,
            "body": {"name": self.body_name, "vertices": self.body_vertices, "digest": self.body_digest},
            "carrier": "garment" if garment_surface else "body",
            "mode": self.mode,
            "network": asdict(self.network.settings),
            "patches": int(self.layout.mask.sum()),
            "points_per_patch": self.network.settings.points_per_patch,
            "surfaces": surface_kinds("garment" if garment_surface else "body", bool(self.tracked)),
            "parts": ["clothes"] if garment_surface or self.cloth is None else ["clothes", "whole body"],
            "region_names": list(regions),
            "training": self.training,
            **self._of_motion(),
        }

    def _of_motion(self) -> dict:
        """What format 2 knows."""
        if self.format == 1:
            return {}
        settling = [asdict(settling) for settling in self.settling]
        window = asdict(self.window) | {"lags": list(self.window.lags)}  # as JSON will have it
        of_motion = {"window": window, "fabrics": list(self.fabrics), "settling": settling}
        if self.coarse is None:
            window.pop("coarse")
            return of_motion
        return of_motion | {"coarse": asdict(self.coarse_settings)}


def save_garment(path: str | Path, garment: Garment, exact: bool = False) -> None:
    """Write the file; beside first, then renamed. Weights of two and more dimensions are kept in 16 bits, or as they
    are where they must be exact. Raises OSError, GarmentError."""
    from safetensors.torch import save

    tensors = {f"network.{k}": v if exact else _compact(v) for k, v in garment.network.state_dict().items()}
    tensors |= {f"layout.{k}": v for k, v in garment.layout.__dict__.items() if v is not None}
    if garment.carrier is not None:
        parts = {k: getattr(garment.carrier, k) for k in CARRIER}
        tensors |= {f"carrier.{k}": v for k, v in parts.items() if v is not None}
    if garment.cloth is not None:
        tensors["cloth"] = garment.cloth
    if garment.coarse is not None:
        tensors |= {f"coarse.{k}": getattr(garment.coarse, k) for k in COARSE}
        if garment.coarse.correction is not None:
            parts = garment.coarse.correction.tensors()
            tensors |= {f"correction.{k}": v if exact else _compact(v) for k, v in parts.items()}
    if garment.pins is not None:
        tensors["pins"] = garment.pins
    for part, surface in garment.tracked.items():
        tensors |= {f"tracked.{part}.{k}": v for k, v in surface.tensors().items()}
    if garment.preview:
        tensors["preview"] = torch.frombuffer(bytearray(garment.preview), dtype=torch.uint8)
    try:
        metadata = {METADATA_KEY: json.dumps(checked_metadata(garment.metadata()), allow_nan=False)}
    except ValueError as error:  # else nobody could read it
        raise GarmentError(f"The garment '{quoted(garment.name)}' cannot be written: {error}; rename it.") from error
    with written_whole(Path(path)) as beside:
        # not safetensors' own writer: its errors are not the system's, and only the owner may read its files
        beside.write_bytes(save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata))


def _compact(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() and value.dim() > 1 else value


def load_garment(path: str | Path) -> Garment:
    """Read and check a garment file. Raises GarmentError."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = Path(path)
    metadata = garment_metadata(path)
    try:
        # read, not mapped: a garment copied over this file must not change under a decoder, nor be locked by it
        tensors = load(path.read_bytes())
        return _assemble(metadata, tensors)
    except (SafetensorError, OSError, RuntimeError, KeyError, TypeError, ValueError, UserError) as error:
        reason = " ".join(str(error).split())[:200]
        raise GarmentError(f"{path.name} does not hold a usable garment ({reason}); train or copy it again.") from error


def _assemble(metadata: dict, tensors: dict[str, Tensor]) -> Garment:
    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    for name, value in tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"{name} holds numbers that are not finite")
    settings = NetworkSettings(**metadata["network"])
    numbers = sum(value.numel() for name, value in tensors.items() if name.startswith("network."))
    if 4000 * settings.unet_width**2 + 8 * settings.hidden**2 > numbers:  # fewer than any network of these sizes has
        raise ValueError(f"it holds {numbers} weights, fewer than its network's settings say")
    # not on the meta device: that imports torch._dynamo, over a second where the weights' values take 35 ms
    network = ScaleNetwork(settings)
    weights = {k: v.float() if v.is_floating_point() else v for k, v in part("network.").items()}
    network.load_state_dict(weights, assign=True)
    network.eval().requires_grad_(False)
    if metadata["mode"] not in MODES:
        raise ValueError(f"unknown mode {metadata['mode']}")
    layout = UVLayout(**_checked(part("layout."), LAYOUT, {"H": settings.map_size}))
    if layout.chosen is not None and (layout.chosen & (layout.triangle_index < 0)).any():
        raise ValueError("the UV layout has patches where there is no surface")
    if layout.triangle_index.min() < -1 or not layout.mask.any():
        raise ValueError("the UV layout has no patches, or some that are nowhere")
    carrier = None
    if metadata["carrier"] == "garment":
        names = tuple(metadata.get("region_names", ()))
        carrier = Carrier("garment", **_checked(part("carrier."), CARRIER, {}), region_names=names)
        _check_indices("triangles", carrier.triangles, len(carrier.template))
        _check_indices("uv_triangles", carrier.uv_triangles, len(carrier.uv))
        _check_indices("layout", layout.triangle_index.clamp_min(0), len(carrier.triangles))
        if carrier.region is not None:
            _check_indices("region", carrier.region, max(len(names), 1))
        sums = carrier.blend_weights.double().sum(1)
        if (sums - 1).abs().max() > 1e-2 or carrier.blend_weights.min() < -1e-2:
            raise ValueError("the carrier's weights are no shares of one")
        if carrier.template.abs().max() > LARGEST:
            raise ValueError(f"the carrier is larger than {LARGEST:.0f} m")
    cloth = tensors.get("cloth")
    points = int(layout.mask.sum()) * settings.points_per_patch
    if points > MOST_POINTS:  # a small file can say so
        raise ValueError(f"it has {points} points, over {MOST_POINTS}")
    if cloth is not None and (cloth.shape != (points,) or cloth.dtype != torch.bool):
        raise ValueError("there is not one cloth flag for each point")
    pins = tensors.get("pins")
    if pins is not None and (carrier is None or pins.shape != carrier.template.shape[:1] or pins.dtype != torch.bool):
        raise ValueError("there is not one pin's flag for each vertex")
    tracked = {}
    for name in metadata["parts"]:
        if surface := part(f"tracked.{name}."):
            tracked[name] = TrackedSurface.from_tensors(surface)
            tracked[name].check(points)
    window = window_of(metadata)
    if window.channels != settings.inputs:
        raise ValueError(f"its window has {window.channels} channels, its network {settings.inputs}")
    if window.lags and (carrier is None):
        raise ValueError("a garment on the body knows the pose alone")
    fabrics, settling = tuple(metadata.get("fabrics", ())), metadata.get("settling", [])
    coarse = _coarse(part("coarse."), carrier) if window.coarse else None
    if coarse is not None and (correction := part("correction.")):
        coarse = replace(coarse, correction=_correction(correction, coarse, len(window.lags), len(fabrics)))
    if max(1, len(fabrics)) != settings.codes or (settling and len(settling) != settings.codes):
        raise ValueError(f"its network has {settings.codes} codes for {len(fabrics)} fabrics")
    preview = bytes(tensors["preview"].flatten().to(torch.uint8).numpy()) if "preview" in tensors else b""
    body = metadata["body"]
    return Garment(
        name=metadata["name"], network=network, layout=layout, mode=metadata["mode"], body_name=body["name"],
        body_vertices=body["vertices"], body_digest=body["digest"], carrier=carrier, cloth=cloth,
        tracked=tracked, preview=preview,
        **{k: metadata[k] for k in ("title", "description", "licence", "author", "training") if k in metadata},
        window=window, fabrics=fabrics, settling=tuple(Settling(**settings) for settings in settling),
        pins=pins, coarse=coarse, coarse_settings=CoarseSettings(**metadata.get("coarse", {})),
    )  # fmt: skip


def _coarse(tensors: dict[str, Tensor], carrier: Carrier | None) -> CoarseSheet:
    """Raises ValueError."""
    if carrier is None:
        raise ValueError("a garment on the body has no coarse cloth")
    sizes = dict(zip(("V", "J"), carrier.blend_weights.shape, strict=True)) | {"S": carrier.shape_components.shape[-1]}
    sheet = CoarseSheet(correction=None, **_checked(tensors, COARSE, sizes))
    count = len(sheet.template)
    if count > MOST_COARSE or sheet.template.abs().max() > LARGEST:
        raise ValueError(f"its coarse cloth has over {MOST_COARSE} vertices, or is larger than {LARGEST:.0f} m")
    _check_indices("triangles of the coarse cloth", sheet.triangles, count)
    _check_indices("places on the coarse cloth", sheet.index, count)
    if sheet.held.min() < 0 or sheet.held.max() > 1:
        raise ValueError("what holds the coarse cloth is no share of one")
    for weights in (sheet.blend_weights, sheet.weights):
        if (weights.double().sum(1) - 1).abs().max() > 1e-2 or weights.min() < -1e-2:
            raise ValueError("weights of the coarse cloth are no shares of one")
    return sheet


def _correction(tensors: dict[str, Tensor], sheet: CoarseSheet, lags: int, fabrics: int) -> Correction:
    """Raises ValueError."""
    joints, shapes = sheet.blend_weights.shape[1], sheet.shape_components.shape[-1]
    count = len(sheet.template)
    sizes = {"I": feature_count(lags, joints, shapes, count), "K": max(1, fabrics), "O": 3 * count}
    return Correction(**_checked(tensors, CORRECTION, sizes))


def _checked(tensors: dict[str, Tensor], expected: dict[str, Expected], sizes: dict[str, int]) -> dict[str, Tensor]:
    """Tensors of the kinds and shapes that are expected, as float32 and int64. Raises ValueError."""
    others = tensors.keys() - expected.keys()
    if others:
        raise ValueError(f"it also holds {quoted(min(others))}")
    checked = {}
    for name, (kind, is_needed, shape) in expected.items():
        if name not in tensors:
            if is_needed:
                raise ValueError(f"it lacks {name}")
            continue
        value = tensors[name]
        known = tuple(sizes.setdefault(each, n) if isinstance(each, str) else each
                      for each, n in zip(shape, value.shape, strict=False))  # fmt: skip
        if len(known) != len(shape) or value.shape != known or not value.numel():
            raise ValueError(f"{name} has the shape {list(value.shape)}")
        if not KINDS[kind](value):
            raise ValueError(f"{name} holds {str(value.dtype).removeprefix('torch.')}")
        checked[name] = value.float() if kind == "float" else value.long() if kind == "int" else value
    return checked


def _check_indices(name: str, indices: Tensor, count: int) -> None:
    if indices.numel() == 0 or int(indices.min()) < 0 or int(indices.max()) >= count:
        raise ValueError(f"{name} point outside their array of {count}")
