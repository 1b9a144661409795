"""Cloth as Blender simulates it here behaves as cloth does: small pieces of it, at real speed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.simulate.calibrate import PUBLISHED
from training.simulate.fabric_tests import at_rest, cantilever, cusick, flat, shadow_radius
from training.simulate.fabrics import EDGE_LENGTH, FABRICS
from training.simulate.mesh_tools import Array, Mesh
from training.simulate.moving_cloth import Contact, Forces, simulate

COTTON = FABRICS["cotton"]
ALONE = Contact(itself=False)


def sheet(size: int = 8, step: float = 0.02) -> Mesh:
    """A square in a vertical plane, its upper edge at y = 0."""
    x, y = np.meshgrid(np.arange(size + 1) * step, -np.arange(size + 1) * step)
    mesh = flat(np.stack([x.ravel(), y.ravel()], 1) + 1e-4 * np.random.default_rng(1).normal(size=(x.size, 2)))
    return Mesh(mesh.vertices[:, [0, 2, 1]], mesh.triangles)


def run(mesh: Mesh, pinned: Array, frames: int, carried: Array | None = None, **settings) -> Array:
    path = np.broadcast_to(mesh.vertices, (frames, *mesh.vertices.shape)) if carried is None else carried
    return np.stack(list(simulate(mesh, pinned, path, settings.pop("fabric", COTTON), contact=ALONE, **settings)))


def skirt(rings: int = 8, around: int = 40, opening: float = 55.0) -> Mesh:
    """A cone, from a waist of 8 cm radius; it opens by so many degrees from the vertical, and hangs in folds."""
    along = np.arange(rings + 1) * 0.025
    angle = 2 * np.pi * np.arange(around) / around
    radius = 0.08 + along * np.sin(np.radians(opening))
    ring = np.stack([np.sin(angle), np.zeros(around), np.cos(angle)], -1)
    down = np.array([0, -np.cos(np.radians(opening)), 0])
    points = (radius[:, None, None] * ring + along[:, None, None] * down).reshape(-1, 3)
    index = np.arange((rings + 1) * around).reshape(rings + 1, around)
    a, b = index[:-1], np.roll(index[:-1], -1, 1)
    c, d = index[1:], np.roll(index[1:], -1, 1)
    triangles = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    return Mesh(points, triangles)


def test_hung_cloth_is_plumb() -> None:
    mesh = sheet()
    tilted = Mesh(mesh.vertices @ np.array([[1, 0, 0], [0, 0.94, 0.34], [0, -0.34, 0.94]]), mesh.triangles)
    hanging = at_rest(tilted, mesh.vertices[:, 1] > -0.01, COTTON)
    assert np.abs(hanging[:, 2]).max() < 0.002
    length = -hanging[:, 1].min()
    assert length == pytest.approx(0.16, rel=0.03)  # it neither shrinks nor sags


def test_gravity_is_the_direction_it_is_told() -> None:
    mesh = sheet()
    level = Mesh(mesh.vertices[:, [0, 2, 1]], mesh.triangles)
    held = mesh.vertices[:, 1] > -0.01
    up = Forces(gravity=(0.0, 9.81, 0.0))
    frames = run(level, held, 40, forces=up, fabric=replace(COTTON, air_damping=10.0))
    assert frames[-1][:, 1].max() > 0.1  # upside down it hangs the other way
    np.testing.assert_array_equal(frames[0], level.vertices.astype(np.float32))


def test_energy_falls_when_nothing_moves() -> None:
    mesh = sheet()
    level = Mesh(mesh.vertices[:, [0, 2, 1]], mesh.triangles)  # held at one edge, let go
    frames = run(level, mesh.vertices[:, 1] > -0.01, 90)
    velocity = 30 * np.diff(frames, axis=0)
    kinetic = 0.5 * (velocity**2).sum(-1).mean(1)
    height = 0.5 * (frames[1:] + frames[:-1])[..., 1].mean(1)
    total = kinetic + 9.81 * height
    swings = total[:87].reshape(3, 29).max(1)
    assert (np.diff(swings) < 0).all()  # in the worst moment of each second there is less of it
    assert kinetic[-10:].max() < 0.1 * kinetic.max()


def test_a_turning_skirt_opens_with_the_square_of_the_speed() -> None:
    """Cloth leans outward by its centrifugal acceleration over gravity's, speed² times radius."""
    mesh, limp = skirt(), replace(COTTON, bending=0.5)
    held = mesh.vertices[:, 1] > -0.001
    hem = mesh.vertices[:, 1] < mesh.vertices[:, 1].min() + 1e-6
    lean, force, height = [], [], []
    for speed in (0.0, 4.0, 6.0):  # radians a second
        angle = speed * np.arange(75) / 30
        turn = np.array([[[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]] for a in angle])
        ends = run(mesh, held, 75, np.einsum("fab,vb->fva", turn, mesh.vertices), fabric=limp)[-15:, hem]
        radius, drop = np.hypot(ends[..., 0], ends[..., 2]).mean(), -ends[..., 1].mean()
        lean.append((radius - 0.08) / drop)
        force.append(speed**2 * 0.5 * (radius + 0.08) / 9.81)
        height.append(-drop)
    assert height[0] < height[1] < height[2]  # the hem rises
    assert (lean[2] - lean[0]) / (lean[1] - lean[0]) == pytest.approx(force[2] / force[1], rel=0.15)
    assert (lean[2] - lean[0]) / force[2] == pytest.approx(1, abs=0.5)


def test_twice_the_substeps_moves_it_little() -> None:
    mesh = sheet()
    held = mesh.vertices[:, 1] > -0.01
    swing = 0.05 * np.sin(2 * np.pi * np.arange(45) / 30)
    carried = mesh.vertices + swing[:, None, None] * np.array([0, 0, 1.0])
    once, twice = (run(mesh, held, 45, carried, forces=Forces(substeps=count)) for count in (1, 2))
    assert np.linalg.norm(once - twice, axis=-1).mean() < 0.010  # the two-pasts limit of a dress is several times that


@pytest.mark.parametrize("name", FABRICS)
def test_fabrics_bend_as_real_ones(name: str) -> None:
    published = PUBLISHED[name]
    if published.bending_length is not None:
        assert cantilever(FABRICS[name], EDGE_LENGTH) == pytest.approx(published.bending_length, rel=0.06)
    drape = cusick(FABRICS[name], EDGE_LENGTH)
    assert 5 <= drape.folds <= 8
    if published.drape is not None:
        assert drape.coefficient == pytest.approx(published.drape, abs=0.05)


def test_bending_length_is_the_cube_root_of_stiffness() -> None:
    length = cantilever(COTTON, 0.02)
    assert cantilever(replace(COTTON, bending=8 * COTTON.bending), 0.02) / length == pytest.approx(2, rel=0.2)


def test_the_shadow_of_a_flat_disc_is_the_disc() -> None:
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    ring = 0.15 * np.stack([np.cos(angle), np.sin(angle)], 1)
    mesh = flat(np.concatenate([ring, 0.5 * ring, [[0, 0]]]))
    np.testing.assert_allclose(shadow_radius(mesh.vertices, mesh.triangles), 0.15, rtol=0.02)
