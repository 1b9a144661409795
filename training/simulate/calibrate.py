"""How stiff each fabric has to be in Blender, found by the laboratory's tests of real cloth.

`python -m training.simulate.calibrate` tests the fabrics as they are and prints the table of docs/fabrics.md; with
`--fit` it searches the bending stiffness that gives the published value at the edge length, and prints that too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .fabric_tests import cantilever, cusick
from .fabrics import EDGE_LENGTH, FABRICS, Fabric

NEAR = 0.03  # of the published value: good enough, measured ones vary by more from bolt to bolt
MOST_TRIES = 8
FENG = "Feng et al. 2022, Learning-Based Bending Stiffness Parameter Estimation by a Drape Tester: median of their cantilever tests of woven and knitted cloth of that weight"  # noqa: E501
WANG = "Wang, O'Brien and Ramamoorthi 2011, Data-Driven Elastic Models for Cloth"


@dataclass(frozen=True)
class Published:
    """What was measured of real cloth. One of bending length and drape is what the fabric is fitted to."""

    weight: float | None  # g/m²
    rigidity: float | None  # N m, bending at rest, mean of warp, weft and bias
    drape: float | None  # Cusick's coefficient
    source: str

    @property
    def bending_length(self) -> float | None:
        """Metres: the cube root of rigidity over weight (Peirce 1930)."""
        if self.weight is None or self.rigidity is None:
            return None
        return (self.rigidity / (1e-3 * self.weight * 9.81)) ** (1 / 3)


PUBLISHED = {
    "silk": Published(65, 3.2e-6, None, f"{FENG} (11 of 58 to 72 g/m²)"),
    "cotton": Published(120, 8.5e-6, None, f"{FENG} (22 of 112 to 129 g/m²)"),
    "jersey": Published(187, 20.7e-6, None, f"{WANG}: interlock of cotton and polyester, for t-shirts"),
    "wool": Published(235, 14.3e-6, None, f"{FENG} (22 of 222 to 250 g/m²); weight: Penava et al. 2014"),
    "denim": Published(324, 78.2e-6, None, f"{WANG}: 11 oz denim"),
    "leather": Published(None, None, 0.586, "Memon et al. 2021, Materials 14(16) 4553: sheep, middle of 0.47 to 0.70"),
}


@dataclass(frozen=True)
class CalibrateSettings:
    """Test the fabrics as a laboratory would, and fit their bending stiffness."""

    fabrics: tuple[str, ...] = tuple(FABRICS)
    edge_length: float = EDGE_LENGTH
    """Metres, of the garments that the fabrics are for."""
    fit: bool = False
    """Search the bending stiffness that gives the published value."""


def fitted(fabric: Fabric, published: Published, edge_length: float) -> Fabric:
    """The fabric with the bending stiffness at which its simulated test gives the published value."""
    for _ in range(MOST_TRIES):
        if (length := published.bending_length) is not None:
            ratio = length / cantilever(fabric, edge_length)
            step = ratio**3  # bending length is the cube root of stiffness
        else:
            ratio = (published.drape or 0) / max(cusick(fabric, edge_length).coefficient, 0.01)
            step = ratio**4  # steeper than it is where cloth is stiff: the search halves its way
        if abs(ratio - 1) < NEAR:
            break
        fabric = replace(fabric, bending=fabric.bending * min(max(step, 0.1), 10))
    return fabric


def row(fabric: Fabric, published: Published, edge_length: float) -> str:
    drape, length = cusick(fabric, edge_length), cantilever(fabric, edge_length)
    wanted = f"{1e2 * published.bending_length:.2f}" if published.bending_length else "–"
    shadow = f"{1e2 * published.drape:.0f}" if published.drape else "–"
    weight = f"{published.weight:.0f}" if published.weight else "–"
    return (
        f"| {fabric.name} | {weight} | {wanted} | {1e2 * length:.2f} | {shadow} | {1e2 * drape.coefficient:.0f} "
        f"| {drape.folds} | {fabric.preset} | {fabric.mass:g} | {fabric.bending:.3g} |"
    )


def run(settings: CalibrateSettings) -> None:
    """Print the table."""
    head = ("fabric", "g/m²", "bending length, cm", "simulated", "drape, %", "simulated", "folds", "from Blender's",
            "mass", "bending")  # fmt: skip
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for name in settings.fabrics:
        fabric = FABRICS[name]
        if settings.fit:
            fabric = fitted(fabric, PUBLISHED[name], settings.edge_length)
        print(row(fabric, PUBLISHED[name], settings.edge_length), flush=True)


if __name__ == "__main__":
    import tyro

    run(tyro.cli(CalibrateSettings))
