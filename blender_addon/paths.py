"""Where the add-on finds its assets and the backend's code, installed or in a checkout."""

from __future__ import annotations

import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

import bpy

from .messages import AddonError

PACKAGE = __package__


def asset_folder() -> Path:
    """The folder with bodies/, garments/ and motions/: inside the extension, or the checkout's."""
    inside = Path(__file__).resolve().parent / "assets"
    if inside.is_dir():
        return inside
    from scale_backend.formats import assets

    return assets.asset_folder()


def body_file(name: str) -> Path:
    """The file of a body by name. Raises AddonError."""
    path = asset_folder() / "bodies" / f"{name}.npz"
    if not path.is_file():
        raise AddonError(
            f"The body '{name}' is not there: put {name}.npz into {path.parent}, or choose another garment."
        )
    return path


def user_folder(name: str) -> Path:
    """A folder of ours among the user's Blender files; it outlives updates of the add-on."""
    if PACKAGE.startswith("bl_ext."):
        return Path(bpy.utils.extension_path_user(PACKAGE, path=name, create=True))
    return Path(bpy.utils.user_resource("DATAFILES", path=f"scale_clothing/{name}", create=True))


def backend_wheel() -> Path | None:
    """The backend's wheel inside the extension; None in a checkout."""
    return next((Path(__file__).resolve().parent / "wheels").glob("scale_backend-*.whl"), None)


def backend_wheel_sha256() -> str:
    """What the wheel's hash was when the extension was built; empty in a checkout."""
    stated = Path(__file__).resolve().parent / "wheels.sha256"
    return stated.read_text().split()[0] if stated.is_file() else ""


@cache
def backend_modules() -> str:
    """A folder that holds the package scale_backend and nothing else, for the backend's PYTHONPATH.

    The folder in which Blender keeps an extension's wheels also holds other extensions', built for Blender's Python:
    they must not be found by the backend's. So the package is copied out of it.
    """
    import scale_backend

    package = Path(scale_backend.__file__).resolve().parent
    if package.parent.name != "site-packages":
        return str(package.parent)
    stamp = max(int(file.stat().st_mtime) for file in package.rglob("*.py"))
    folder = user_folder("backend") / f"{scale_backend.__version__}-{stamp}"
    if not (folder / "scale_backend").is_dir():
        beside = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
        shutil.copytree(package, beside / "scale_backend", ignore=shutil.ignore_patterns("__pycache__"))
        try:
            beside.rename(folder)
        except OSError:  # another Blender was faster
            shutil.rmtree(beside, ignore_errors=True)
            if not (folder / "scale_backend").is_dir():
                raise
    return str(folder)


def open_outside(path: Path) -> None:
    """Open a file or folder in the program that the system has for it. Raises AddonError where there is none."""
    if sys.platform.startswith("linux") and shutil.which("xdg-open") is None:  # of which Blender says nothing
        raise AddonError(f"There is no xdg-open on this computer to open it with; look at {path}")
    bpy.ops.wm.path_open(filepath=str(path))
