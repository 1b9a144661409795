"""Builds the Blender extension: dist/scale_clothing-<version>.zip.

The zip holds the add-on's modules, tables of bones and lists of packages, its manifest, a pure-Python wheel of
scale_backend (Blender imports the client from it, the backend's own environment the rest) with its hash, and the assets
named below. Only what is named here gets in. The same tree gives the same bytes. Needs the standard library alone;
where the bpy module is installed, the zip is validated by Blender's own tool.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib.util
import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ADDON = ROOT / "blender_addon"
BACKEND = ROOT / "scale_backend"

# What ships. No file derived from SMPL may stand here.
ASSETS = (
    "LICENSE",
    "README.md",
    "bodies/neutral.npz",
    "garments/dress.safetensors",
    "garments/tee-trousers.safetensors",
    "garments/dress-body.safetensors",
    "motions/walk.npz",
    "motions/dance.npz",
    "motions/stretch.npz",
)

# The project's dependencies that the backend needs; the rest serves training.
BACKEND_NEEDS = ("torch", "numpy", "safetensors", "scipy", "tyro", "tqdm")

DATE = (1980, 1, 1, 0, 0, 0)


def version() -> str:
    """The version that scale_backend states: the one place where it is written."""
    return re.search(r'__version__ = "(.+)"', (BACKEND / "__init__.py").read_text())[1]


def backend_wheel() -> tuple[str, bytes]:
    """Name and content of a wheel that holds the package scale_backend and nothing else.

    Its version tells its content: Blender keeps an installed wheel that has the version of the new one.
    """
    files = {path.relative_to(BACKEND.parent).as_posix(): path.read_bytes() for path in modules(BACKEND)}
    content = hashlib.sha256("".join(f"{name} {digest(files[name])}\n" for name in sorted(files)).encode())
    full_version = f"{version()}+{content.hexdigest()[:12]}"
    info = f"scale_backend-{full_version}.dist-info"
    files[f"{info}/licenses/LICENSE"] = (ROOT / "LICENSE").read_bytes()
    files[f"{info}/METADATA"] = "\n".join(
        [
            "Metadata-Version: 2.4",
            "Name: scale-backend",
            f"Version: {full_version}",
            "Summary: Decodes poses into clothes: the torch backend of the SCALE clothing add-on",
            "License-Expression: GPL-3.0-or-later",
            "License-File: LICENSE",
            "Requires-Python: >=3.10",
            *(f"Requires-Dist: {need}" for need in backend_requirements()),
            "",
        ]
    ).encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: build_addon\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = b"[console_scripts]\nscale-backend = scale_backend.cli:main\n"
    record = [f"{name},sha256={digest(content)},{len(content)}" for name, content in sorted(files.items())]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    return f"scale_backend-{full_version}-py3-none-any.whl", zipped(files)


def backend_requirements() -> list[str]:
    """The lines of pyproject.toml's dependencies that name what the backend needs."""
    block = re.search(r"^dependencies = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.S | re.M)[1]
    stated = {re.match(r"[\w-]+", line)[0]: line for line in re.findall(r'"(.+?)"', block)}
    return [stated[name] for name in BACKEND_NEEDS]


def extension() -> bytes:
    """Content of the extension zip."""
    wheel_name, wheel = backend_wheel()
    files = {path.relative_to(ADDON).as_posix(): path.read_bytes() for path in (*modules(ADDON), *tables())}
    files["blender_manifest.toml"] = manifest(wheel_name).encode()
    files["LICENSE"] = (ROOT / "LICENSE").read_bytes()
    files[f"wheels/{wheel_name}"] = wheel
    files["wheels.sha256"] = f"{hashlib.sha256(wheel).hexdigest()}  wheels/{wheel_name}\n".encode()
    for name in set(ASSETS) - set(missing_assets()):
        files[f"assets/{name}"] = (ROOT / "assets" / name).read_bytes()
    return zipped(files)


def missing_assets() -> list[str]:
    """Assets that are named but not in this tree: a garment that is yet to be trained."""
    return [name for name in ASSETS if not (ROOT / "assets" / name).is_file()]


def manifest(wheel_name: str) -> str:
    """The add-on's manifest with the version and the wheel put in."""
    text = (ADDON / "blender_manifest.toml").read_text()
    for key, value in (("version", f'"{version()}"'), ("wheels", f'["./wheels/{wheel_name}"]')):
        text, count = re.subn(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.M)
        if count != 1:
            raise ValueError(f"blender_manifest.toml must have one line '{key} = ...'; it has {count}.")
    return text


def modules(package: Path) -> list[Path]:
    """The Python files of a package, sorted."""
    return sorted(path for path in package.rglob("*.py") if "__pycache__" not in path.parts)


def tables() -> list[Path]:
    """The data that lies beside the add-on's modules: the names of rigs' bones, and what a set-up may install."""
    return [*sorted((ADDON / "backend" / "lock").glob("*.txt")), *sorted((ADDON / "rig" / "families").glob("*.toml"))]


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip of files, the same bytes for the same content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def digest(content: bytes) -> str:
    """A file's hash as a wheel's RECORD has it."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def validator() -> Path | None:
    """Blender's extension tool inside the bpy module, or None where bpy is not installed."""
    found = importlib.util.find_spec("bpy")
    if found is None:
        return None
    tools = Path(found.origin).parent.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py")
    return next(tools, None)


def validate(path: Path) -> None:
    """Let Blender's own tool look at the zip. Raises CalledProcessError."""
    subprocess.run([sys.executable, str(validator()), "validate", str(path)], check=True)


def build(folder: Path = ROOT / "dist") -> Path:
    """Write the extension zip into a folder and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"scale_clothing-{version()}.zip"
    path.write_bytes(extension())
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the Blender extension.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the zip")
    path = build(parser.parse_args().out)
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)", flush=True)
    if missing_assets():
        print(f"Not in this tree, so not in the zip: {', '.join(missing_assets())}", flush=True)
    if validator():
        validate(path)
    else:
        print("Not validated: Blender's tool comes with the bpy module, which is not installed here.")


if __name__ == "__main__":
    main()
