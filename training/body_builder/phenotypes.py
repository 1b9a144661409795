"""Body shapes from a few traits: MakeHuman's targets, each weighted by how near a body is to what it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from training.body_builder.makehuman import Array, MakeHuman

# Each trait runs through its named stations, evenly spaced over the range of values.
STATIONS = {
    "gender": ("male", "female"),
    "age": ("young", "old"),
    "muscle": ("minmuscle", "averagemuscle", "maxmuscle"),
    "weight": ("minweight", "averageweight", "maxweight"),
    "height": ("minheight", "maxheight"),
    "proportions": ("idealproportions", "uncommonproportions"),
    "cupsize": ("mincup", "averagecup", "maxcup"),
    "firmness": ("minfirmness", "averagefirmness", "maxfirmness"),
}
ORIGINS = ("african", "asian", "caucasian")  # mixed by shares, not along a line
RANGES = {trait: (2 / 3, 1.0) if trait == "age" else (0.0, 1.0) for trait in STATIONS}  # adults only
AVERAGE = {trait: 2 / 3 if trait == "age" else 0.5 for trait in STATIONS}
FAMILIES = (  # the traits that a family of targets is made for; its file names join their stations
    ("macrodetails/", ("origin", "gender", "age")),
    ("macrodetails/universal-", ("gender", "age", "muscle", "weight")),
    ("macrodetails/height/", ("gender", "age", "muscle", "weight", "height")),
    ("macrodetails/proportions/", ("gender", "age", "muscle", "weight", "proportions")),
    ("breast/", ("gender", "age", "muscle", "weight", "cupsize", "firmness")),
)


@dataclass(frozen=True)
class PhenotypeSpace:
    """Every adult target with the stations it stands for."""

    stations: tuple[tuple[str, ...], ...]  # [K]
    offsets: Array  # [K, N, 3] metres

    def offset(self, traits: Mapping[str, float], origins: tuple[float, float, float] = (1 / 3,) * 3) -> Array:
        """Where the base mesh moves for these traits [N, 3]; those not given are average."""
        nearness = dict(zip(ORIGINS, origins, strict=True))
        for trait, average in AVERAGE.items():
            nearness |= station_weights(trait, traits.get(trait, average))
        weights = np.array([np.prod([nearness[name] for name in names]) for names in self.stations])
        return np.tensordot(weights, self.offsets, 1)


def read_phenotypes(human: MakeHuman) -> PhenotypeSpace:
    choices = STATIONS | {"origin": ORIGINS}
    stations, offsets = [], []
    for prefix, traits in FAMILIES:
        for names in product(*(choices[trait] for trait in traits)):
            target = prefix + "-".join(names)
            if prefix == "breast/" and not human.has_target(target):  # made for women, and not for every station
                continue
            stations.append(names)
            offsets.append(human.target(target))
    return PhenotypeSpace(tuple(stations), np.stack(offsets))


def station_weights(trait: str, value: float) -> dict[str, float]:
    """Shares of the two stations that a value lies between; the others have none."""
    names, (low, high) = STATIONS[trait], RANGES[trait]
    place = float(np.clip((value - low) / (high - low), 0, 1)) * (len(names) - 1)
    before = min(int(place), len(names) - 2)
    share = place - before
    return {name: max(0.0, 1 - share if i == before else share if i == before + 1 else 0.0)
            for i, name in enumerate(names)}  # fmt: skip
