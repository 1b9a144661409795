"""Clothes on other people's bodies, in poses of the held-out dance and of the walk: how deep in their skin, how far
from where they belong, how stretched. Prints a table and writes it as JSON; with --pictures, each in three poses."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor

from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.assets import find_garment, find_motion
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.formats.poses import Poses
from scale_backend.formats.wearer import Wearer
from scale_backend.geometry.body import Body, joint_transforms, load_body, skin
from scale_backend.model.garment import load_garment
from scale_backend.wearer.fit import fit
from scale_backend.wearer.mesh import triangle_normals
from tests import strangers
from tests.benchmarks.report import ROOT, draw, show_columns

DEEP = 0.002  # metres in the skin
STRETCHED = 1.6  # of a triangle's area on the garment's own body, in the wearer's size
SAMPLE = "sample character"  # the garment's own body, for comparison
DRAWN = (0, 5, 15)  # poses in a picture

PEOPLE: dict[str, Callable[[Body], Wearer]] = {
    **{
        f"MakeHuman {person}, {rig}": lambda body, rig=rig, person=person: strangers.makehuman(body, rig, person)
        for rig, person in (
            ("mixamo", "woman"),
            ("mixamo", "child"),
            ("game_engine", "base"),
            ("game_engine", "heavy"),
            ("rigify_human", "man"),
            ("rigify_human", "thin"),
        )
    },
    **{
        f"GarmentCode {person}": lambda body, person=person: strangers.garmentcode(body, person)
        for person in ("all", "female", "male")
    },
    "stylised": strangers.stylised,
    "like official SMPL, one": strangers.like_official,
    "like official SMPL, another": lambda body: strangers.like_official(body, 1),
}


@dataclass(frozen=True)
class Settings:
    """Table of wearers."""

    garments: tuple[str, ...] = ("dress", "tee-trousers")
    people: tuple[str, ...] = ()
    """Only those whose names contain one of these."""
    frames: int = 12
    """Of each motion, evenly spaced."""
    out: Path = ROOT / "out" / "bench" / "wearers.json"
    pictures: Path | None = None
    """A folder for a picture of each body (front, side, back of three poses)."""


def poses(frames: int) -> Tensor:  # [2 F, 24, 3, 3] of the dance and of the walk, upright
    found = []
    for motion in ("dance", "walk"):
        with np.load(find_motion(motion)) as content:
            chosen = np.linspace(0, len(content["poses"]) - 1, frames).round().astype(int)
            found.append(matrices_from_axis_angle(content["poses"][chosen].reshape(frames, -1, 3)))
    rotations = torch.from_numpy(np.concatenate(found)).float()
    rotations[:, 0] = torch.eye(3)
    return rotations


@dataclass(frozen=True)
class Dressed:
    """Clothes and the body in them, F poses; and what is known of the fit."""

    points: np.ndarray  # [F, M, 3]
    triangles: np.ndarray  # [T, 3]
    bodies: np.ndarray  # [F, V, 3]
    body_triangles: np.ndarray
    size: float
    figures: dict[str, float]


@torch.inference_mode()
def dress(decoder: Decoder, rotations: Tensor, wearer: Wearer | None) -> Dressed:
    body, triangles = decoder.model.body, decoder.topology().triangles
    if wearer is None:
        points, seconds = _timed(decoder, rotations)
        transforms = joint_transforms(body, rotations)
        bodies = skin(body.template[None], body.blend_weights, transforms)
        return Dressed(points, triangles, bodies.numpy(), body.triangles.numpy(), 1.0, {"ms a frame": 1000 * seconds})
    fitted = fit(body, decoder.model.host_carrier, wearer)
    points, seconds = _timed(decoder.worn(fitted), rotations)
    transforms = fitted.joint_transforms(rotations, torch.zeros(len(rotations), 3))[:, :22]
    bodies = skin(torch.from_numpy(wearer.vertices)[None], torch.from_numpy(wearer.weights), transforms)
    away = strangers.borders(body, decoder.model.host_carrier, fitted, wearer)
    figures = {
        "fit s": fitted.report.seconds,
        "gap mm": 1000 * fitted.report.gap,
        "border mm": 1000 * max(away.values()) / fitted.report.size,
        "ms a frame": 1000 * seconds,
    }
    return Dressed(points, triangles, bodies.numpy(), wearer.triangles, fitted.report.size, figures)


def _timed(decoder: Decoder, rotations: Tensor) -> tuple[np.ndarray, float]:
    """Points, and seconds a frame, one at a time as in live use."""
    decoder.decode(Poses(rotations[:1]))
    begin = time.perf_counter()
    points = [decoder.decode(Poses(rotations[number : number + 1]))[0] for number in range(len(rotations))]
    return torch.cat(points).numpy(), (time.perf_counter() - begin) / len(rotations)


def figures(dressed: Dressed, rest: np.ndarray) -> dict[str, float]:  # [V, 3] the garment's surface on its own body
    deep = np.array(
        [
            strangers.depths(points, body, dressed.body_triangles)
            for points, body in zip(dressed.points, dressed.bodies, strict=True)
        ]
    )
    area = [np.linalg.norm(triangle_normals(x.astype(np.float64), dressed.triangles), axis=-1) for x in dressed.points]
    own = np.linalg.norm(triangle_normals(rest.astype(np.float64), dressed.triangles), axis=-1)
    stretch = np.array(area) / own / dressed.size**2
    return {
        "size": dressed.size,
        "deep %": 100 * float((deep > DEEP).mean()),
        "worst pose %": 100 * float((deep > DEEP).mean(1).max()),
        "stretched %": 100 * float((stretch > STRETCHED).mean()),
        "most": float(stretch.max()),
        **dressed.figures,
    }


def picture(path: Path, dressed: Dressed) -> None:
    arrays = {}
    for number, pose in enumerate(DRAWN):
        arrays[f"body{number}"], arrays[f"cloth{number}"] = dressed.bodies[pose], dressed.points[pose]
    arrays |= {"body_triangles": dressed.body_triangles, "cloth_triangles": dressed.triangles}
    draw("wearer_views", path, arrays)


def main() -> None:
    settings = tyro.cli(Settings)
    body, rotations, rows = load_body(), poses(settings.frames), []
    people = {SAMPLE: None} | {
        name: make for name, make in PEOPLE.items() if not settings.people or any(p in name for p in settings.people)
    }
    for garment in settings.garments:
        decoder = Decoder(load_garment(find_garment(garment)), body)
        rest = decoder.model.host_carrier.template.numpy()
        for name, make in people.items():
            dressed = dress(decoder, rotations, None if make is None else make(body))
            rows.append({"garment": garment, "who": name} | figures(dressed, rest))
            settings.out.parent.mkdir(parents=True, exist_ok=True)
            settings.out.write_text(json.dumps(rows, indent=1) + "\n")
            if settings.pictures is not None:
                picture(settings.pictures / f"{garment}, {name}.png", dressed)
    show_columns(rows, ("garment", "who"), 13)


if __name__ == "__main__":
    main()
