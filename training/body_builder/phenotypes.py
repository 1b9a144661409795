"""Body shapes from a few traits: MakeHuman's targets, each weighted by how near a body is to what it stands for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    stations, offsets = [], []
    for target, names in _adult_targets():
        if target.startswith("breast/") and not human.has_target(target):  # not made for every station
            continue
        stations.append(names)
        offsets.append(human.target(target))
    return PhenotypeSpace(tuple(stations), np.stack(offsets))


def _adult_targets() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names of the target files, each with the stations it is made for."""
    for gender, age in product(STATIONS["gender"], STATIONS["age"]):
        for origin in ORIGINS:
            names: tuple[str, ...] = (origin, gender, age)
            yield "macrodetails/" + "-".join(names), names
        for build in product(STATIONS["muscle"], STATIONS["weight"]):
            names = (gender, age, *build)
            figure = "-".join(names)
            yield f"macrodetails/universal-{figure}", names
            for trait in ("height", "proportions"):
                for station in STATIONS[trait]:
                    yield f"macrodetails/{trait}/{figure}-{station}", (*names, station)
            if gender == "female":
                for cup, firmness in product(STATIONS["cupsize"], STATIONS["firmness"]):
                    yield f"breast/{figure}-{cup}-{firmness}", (*names, cup, firmness)


def station_weights(trait: str, value: float) -> dict[str, float]:
    """Shares of the two stations that a value lies between; the others have none."""
    names = STATIONS[trait]
    places = np.linspace(*RANGES[trait], len(names))
    value = float(np.clip(value, places[0], places[-1]))
    after = min(max(int(np.searchsorted(places, value)), 1), len(names) - 1)
    share = (value - places[after - 1]) / (places[after] - places[after - 1])
    return dict.fromkeys(names, 0.0) | {names[after - 1]: 1 - share, names[after]: share}
