"""`scale-train recipe`: the recipes that ship, to train from or to begin one's own with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from training.config import ConfigError

FOLDER = Path(__file__).with_name("configs")


@dataclass(frozen=True)
class RecipeSettings:
    """Print a recipe that ships: `scale-train recipe dress > mine.yaml` starts one of your own."""

    name: Annotated[str, tyro.conf.arg(metavar="NAME"), tyro.conf.Positional] = ""
    """Which one; without it they are listed."""


def run(settings: RecipeSettings) -> None:
    """Raises ConfigError for a name that is not known."""
    if settings.name:
        print(find_recipe(settings.name).read_text(), end="")
        return
    for name in shipped():
        print(f"{name:<16}{(FOLDER / f'{name}.yaml').read_text().splitlines()[0].removeprefix('# ')}")


def shipped() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find_recipe(name_or_path: str | Path) -> Path:
    """The file of a recipe given by path, or by the name of one that ships. Raises ConfigError."""
    path = Path(name_or_path)
    if path.is_file():
        return path
    if str(name_or_path) in shipped():
        return FOLDER / f"{name_or_path}.yaml"
    raise ConfigError(f"There is no recipe {path}; name a YAML file, or one that ships ({', '.join(shipped())}): "
                      "scale-train recipe NAME > mine.yaml starts one of your own.")  # fmt: skip
