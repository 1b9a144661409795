"""Rectangles that tile a square: areas by weight, edges on a grid, shapes near what each would like."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import permutations

import numpy as np

from scale_backend.formats.errors import UserError

EXHAUSTIVE = 5  # up to so many pieces every order is tried
SHAPE_COST = 0.15  # squared logarithm of aspect error, against that of area error


def tile_square(areas: Sequence[float], aspects: Sequence[float], size: int) -> list[tuple[int, int, int, int]]:
    """Cut a square of size x size cells into rectangles (u, v, width, height), one for each area.

    Guillotine cuts; among the trees over a few orders of the pieces the one with the least weighted error of area
    and aspect (width / height) is taken. Raises UserError if there are more pieces than fit.
    """
    count, share = len(areas), np.asarray(areas, float) / np.sum(areas)
    if count > size:
        raise UserError(f"{count} panels do not fit a map of {size}x{size} pixels; use fewer panels or a larger map.")
    if count <= EXHAUSTIVE:
        orders = set(permutations(range(count)))
    else:
        shapes = np.asarray(aspects, float)
        keys = (np.arange(count), -share, shapes, -shapes * share)
        orders = {tuple(np.argsort(key, kind="stable").tolist()) for key in keys}
    best = min((_best_tree(order, share, aspects, size) for order in sorted(orders)), key=lambda found: found[0])
    placed = dict(best[1])
    return [placed[i] for i in range(count)]


Piece = tuple[int, tuple[int, int, int, int]]  # its number, and its rectangle
Tree = tuple[float, tuple[Piece, ...]]  # its cost, and its pieces


def _best_tree(
    order: tuple[int, ...], share: np.ndarray, aspects: Sequence[float], size: int
) -> tuple[float, tuple[Piece, ...]]:
    """Least cost and [(piece, rectangle)] over the cut trees that keep the order."""
    before = np.concatenate([[0], np.cumsum(share[list(order)])])

    @cache
    def solve(first: int, last: int, width: int, height: int) -> Tree:
        if last - first == 1:
            piece = order[first]
            area_error = np.log(width * height / size**2 / share[piece])
            shape_error = np.log(width / height / aspects[piece])
            return share[piece] * (area_error**2 + SHAPE_COST * shape_error**2), ((piece, (0, 0, width, height)),)
        best: Tree = (np.inf, ())
        for middle in range(first + 1, last):
            portion = (before[middle] - before[first]) / (before[last] - before[first])
            for upright, length in ((True, width), (False, height)):
                for cut in {int(np.floor(portion * length)), int(np.ceil(portion * length))}:
                    if not 0 < cut < length:
                        continue
                    rest = length - cut
                    one, two = ((cut, height), (rest, height)) if upright else ((width, cut), (width, rest))
                    cost, pieces = solve(first, middle, *one)
                    if cost >= best[0]:
                        continue
                    other_cost, other = solve(middle, last, *two)
                    if cost + other_cost < best[0]:
                        shift = (cut, 0) if upright else (0, cut)
                        moved = tuple((i, (r[0] + shift[0], r[1] + shift[1], *r[2:])) for i, r in other)
                        best = (cost + other_cost, pieces + moved)
        return best

    return solve(0, len(order), size, size)
