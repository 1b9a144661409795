"""Where bodies, garments and motions that ship are found."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

KINDS = {"bodies": ".npz", "garments": ".safetensors", "motions": ".npz"}
ONE = {"bodies": "body", "garments": "garment", "motions": "motion"}


def asset_folder() -> Path:
    """The assets folder: SCALE_ASSETS if set, else `assets/` beside the package, as in a checkout and inside the
    installed add-on, else the one that pip has put into the environment.

    Raises FileNotFoundError.
    """
    named = os.environ.get("SCALE_ASSETS")
    beside = Path(__file__).resolve().parents[2] / "assets"
    candidates = [Path(named)] if named else [beside, Path(sysconfig.get_path("data")) / "share/scale-clothing/assets"]
    for folder in candidates:
        if (folder / "bodies").is_dir():
            return folder
    raise FileNotFoundError(
        f"No assets folder at {candidates[0]}; set SCALE_ASSETS to the folder that holds bodies/ and garments/."
    )


def find_asset(kind: str, name_or_path: str | Path) -> Path:
    """The file of an asset given by name ("dress") or by path. Raises FileNotFoundError."""
    path = Path(name_or_path).expanduser()
    if path.suffix == KINDS[kind] or path.is_file():
        if path.is_file():
            return path
        raise FileNotFoundError(f"There is no file {path}.")
    folder = asset_folder() / kind
    shipped = folder / f"{name_or_path}{KINDS[kind]}"
    if shipped.is_file():
        return shipped
    names = ", ".join(sorted(p.stem for p in folder.glob(f"*{KINDS[kind]}"))) or "none"
    raise FileNotFoundError(
        f"There is no {ONE[kind]} '{name_or_path}'; give the path of a file ({KINDS[kind]}), or a name: {names}."
    )


def find_body(name_or_path: str | Path, beside: Path | None = None) -> Path:
    """A body by name or path. beside: a garment's file, beside which a body of that name may be too."""
    if beside is not None and Path(name_or_path).name == str(name_or_path):
        for kind in (".npz", ".obj"):
            own = beside.parent / f"{name_or_path}{kind}"
            if own.is_file() and not (asset_folder() / "bodies" / f"{name_or_path}.npz").is_file():
                return own
    return find_asset("bodies", name_or_path)


def find_garment(name_or_path: str | Path) -> Path:
    return find_asset("garments", name_or_path)


def find_motion(name_or_path: str | Path) -> Path:
    return find_asset("motions", name_or_path)
