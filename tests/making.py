"""Small garments made in the tests: real files of the real format, with random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from scale_backend.coarse.correction import Correction, feature_count
from scale_backend.coarse.sheet import CoarseSettings, CoarseSheet
from scale_backend.formats.window import Window
from scale_backend.geometry.body import Body, load_body
from scale_backend.geometry.carrier import Carrier
from scale_backend.geometry.positional_map import rasterise
from scale_backend.model.garment import Garment, save_garment
from scale_backend.model.network import NetworkSettings, ScaleNetwork
from scale_backend.settling.sweeps import Settling


def random_network(settings: NetworkSettings, seed: int = 0, size: float = 0.01) -> ScaleNetwork:
    """Random weights, batch norms that have seen data, residuals of about `size` (zero outputs test nothing)."""
    torch.manual_seed(seed)
    network = ScaleNetwork(settings)
    with torch.no_grad():
        for branch in (network.mlp.residual, network.mlp.normal):
            branch[-1].conv.weight.normal_(0, size / settings.hidden**0.5)
            branch[-1].conv.bias.normal_(0, size)
        if settings.colors:
            network.mlp.color[-1].conv.weight.normal_(0, 2 / settings.hidden**0.5)
        for up in network.unet.ups[:-1]:
            up.bn.conv_gamma.weight.normal_(0, 0.05)
            up.bn.conv_beta.weight.normal_(0, 0.05)
        network.train()
        for _ in range(3):
            features = network.pose_features(
                torch.randn(4, settings.inputs, settings.map_size, settings.map_size) * 0.3
            )
            rows = features.flatten(2).transpose(1, 2)
            decode = network.decode_colored if settings.colors else network.decode
            decode(rows, torch.rand(rows.shape[1], 2), torch.rand(rows.shape[1], 2))
    return network.eval().requires_grad_(False)


def skirt_carrier(body: Body, columns: int = 32, rows: int = 12) -> Carrier:
    """A skirt: a closed ring of vertices round the hips, hanging to the knees, front and back one UV island each."""
    angle = torch.arange(columns) / columns * 2 * torch.pi
    height = torch.linspace(-0.28, -0.70, rows)
    radius = torch.linspace(0.20, 0.30, rows)
    ring = torch.stack([angle.sin(), torch.zeros(columns), angle.cos()], 1)
    template = ring[None] * radius[:, None, None] + torch.tensor([0.0, 1.0, 0.0]) * height[:, None, None]
    template = template.flatten(0, 1)
    triangles, uv_triangles = [], []
    half = columns // 2
    for r in range(rows - 1):
        for c in range(columns):
            island, local = divmod(c, half)

            def vertex(dr: int, dc: int, r: int = r, c: int = c) -> int:
                return (r + dr) * columns + (c + dc) % columns

            def corner(dr: int, dc: int, r: int = r, island: int = island, local: int = local) -> int:
                return (island * rows + r + dr) * (half + 1) + local + dc

            triangles += [[vertex(0, 0), vertex(1, 0), vertex(0, 1)], [vertex(0, 1), vertex(1, 0), vertex(1, 1)]]
            uv_triangles += [[corner(0, 0), corner(1, 0), corner(0, 1)], [corner(0, 1), corner(1, 0), corner(1, 1)]]
    v, u = torch.meshgrid(torch.linspace(1, 0, rows), torch.linspace(0, 0.5, half + 1), indexing="ij")
    uv = torch.cat([torch.stack([u + 0.5 * island, v], -1).flatten(0, 1) for island in (0, 1)])
    distance = torch.cdist(template, body.template)
    nearest = distance.topk(32, largest=False).indices
    return Carrier(
        "garment", template, torch.tensor(triangles), body.blend_weights[nearest].mean(1),
        body.shape_components[nearest].mean(1), uv, torch.tensor(uv_triangles),
        (template[:, 1] < -0.5).to(torch.uint8), ("upper", "lower"),
    )  # fmt: skip


def make_garment(kind: str = "garment", seed: int = 0, **settings) -> Garment:
    """A garment with random weights on the embedded body: kind "garment" (a skirt) or "body" (patch mode)."""
    body = load_body("neutral")
    network = random_network(NetworkSettings(**{"unet_width": 8, "hidden": 64} | settings), seed)
    size = network.settings.map_size
    carrier = skirt_carrier(body) if kind == "garment" else None
    source = carrier if carrier is not None else body
    layout = rasterise(source.uv, source.uv_triangles, size)
    cloth = None
    if carrier is None:
        points = int(layout.mask.sum()) * network.settings.points_per_patch
        cloth = torch.arange(points) % 3 > 0
    return Garment(
        name=f"test-{kind}", network=network, layout=layout, mode="continuous" if carrier is not None else "patch",
        body_name=body.name, body_vertices=len(body.template), body_digest=body.digest, carrier=carrier, cloth=cloth,
        title=f"Test {kind}", description="Random weights, for tests.", licence="CC0-1.0", author="tests",
    )  # fmt: skip


def make_moving_garment(window: Window) -> Garment:
    """A skirt of cotton or denim that sees a window of moments; what moved, and the fabric, are plain to see."""
    garment = make_garment(inputs=window.channels, codes=2)
    with torch.no_grad():
        garment.network.latent.mul_(30)
        garment.network.mlp.residual[-1].conv.weight.mul_(8)
        garment.network.unet.downs[0].conv.weight[:, 3:].mul_(30)
    settling = (Settling(sweeps=6, smoothed=4),) * 2
    made = replace(garment, window=window, fabrics=("cotton", "denim"), settling=settling)
    if not window.coarse:
        return made
    sheet = coarse_skirt(made.carrier_on(load_body("neutral")))
    sheet = replace(sheet, correction=random_correction(sheet, len(window.lags), fabrics=2))
    return replace(made, coarse=sheet, coarse_settings=CoarseSettings(seconds=max(window.lags)))


def random_correction(sheet: CoarseSheet, lags: int, fabrics: int, hidden: int = 16) -> Correction:
    """Of some centimetres."""
    torch.manual_seed(1)
    count = len(sheet.template)
    inputs = feature_count(lags, sheet.blend_weights.shape[1], sheet.shape_components.shape[-1], count)
    return Correction(
        torch.randn(hidden, inputs) / inputs**0.5, torch.randn(hidden), torch.randn(hidden, fabrics),
        torch.randn(hidden, hidden) / hidden**0.5, torch.randn(hidden),
        0.03 * torch.randn(3 * count, hidden) / hidden**0.5, torch.zeros(3 * count),
    )  # fmt: skip


def coarse_skirt(carrier: Carrier) -> CoarseSheet:
    """A skirt of fewer vertices, held at its upper border."""
    coarse = skirt_carrier(load_body("neutral"), columns=16, rows=6)
    near = torch.cdist(carrier.template, coarse.template).topk(4, largest=False)
    weights = 1 / (near.values + 1e-3)
    return CoarseSheet(
        coarse.template, coarse.triangles, coarse.blend_weights, coarse.shape_components,
        (torch.arange(len(coarse.template)) < 16).float(), near.indices, weights / weights.sum(1, keepdim=True),
    )  # fmt: skip


def write_garment(path: Path, kind: str = "garment", seed: int = 0, **settings) -> Path:
    save_garment(path, make_garment(kind, seed, **settings))
    return path
