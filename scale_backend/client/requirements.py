"""What the backend's Python must have, and the commands that install it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys

from scale_backend.formats.assets import KINDS

OLDEST_PYTHON = (3, 10)
TORCH = "torch==2.13.0"
CUDA_INDEX = "https://download.pytorch.org/whl/cu130"

# package -> what pip is told, and what needs it
REQUIRED = {
    "torch": (TORCH, "decoding"),
    "numpy": ("numpy>=1.26", "decoding"),
    "safetensors": ("safetensors>=0.4", "garment files"),
    "scipy": ("scipy>=1.11", "decoding"),
    "tyro": ("tyro>=0.9", "the command line"),
    "tqdm": ("tqdm>=4.66", "the command line"),
}
VECTORS = {16: "AVX-512", 8: "AVX2"}  # by their number of floats
OPTIONAL = {
    "llvmlite": (
        "llvmlite>=0.45",
        "decoding on a CPU, faster; about three times as fast on matrix tiles (Intel AMX)",
    ),
    "pymeshlab": ("pymeshlab>=2023.12", "the surface 'poisson', making tracked surfaces"),
    "xatlas": ("xatlas>=0.0.9", "UVs of tracked surfaces, when they are made"),
    "trimesh": ("trimesh>=4.0", "training"),
    "yaml": ("pyyaml>=6", "training"),
    "PIL": ("pillow>=10", "pictures of a training's results"),
    "tensorboard": ("tensorboard>=2.16", "training"),
    "av": ("av>=13", "films of a training's results"),
    "bpy": ("bpy==4.5.15", "simulating training data, tests (Python 3.11 alone)"),
    "smplx": ("smplx>=0.1.28", "tests of the skinning; its licence is non-commercial"),
    "pytorch3d": ("pytorch3d", "a faster nearest-neighbour search in training on a GPU; built from source"),
}
PIP_NAMES = {"yaml": "pyyaml", "PIL": "pillow"}


def install_command(*arguments: str) -> str:
    """The exact command for this Python, as this system's shell takes it."""
    command = [sys.executable, "-m", "pip", "install", *arguments]
    return subprocess.list2cmdline(command) if sys.platform == "win32" else shlex.join(command)


def nvidia_driver() -> dict:
    """What the driver's own tool says: {"gpu", "driver"}, empty where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    try:
        done = subprocess.run(
            [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return {}
    fields = (done.stdout.splitlines() or [""])[0].split(", ")
    return {"gpu": fields[0], "driver": fields[1]} if done.returncode == 0 and len(fields) == 2 else {}


def describe(report: dict, in_blender: bool = False) -> str:
    """The report for people. In Blender: without what its add-on does not need, and without assets, which it brings."""
    python, system, torch = report["python"], report["system"], report["torch"]
    lines = [
        f"scale_backend {report['version']}",
        f"python    {python['version']}  {python['executable']}",
        f"system    {system['name']}, {system['processor']}, {system['cores']} cores",
        f"torch     {torch['version']}, {torch['build']}" if torch["version"] else f"torch     {torch['problem']}",
    ]
    for device in report["devices"]:
        memory = f", {device['memory'] / 2**30:.0f} GiB" if device["memory"] else ""
        problem = f": cannot be used ({device['problem']})" if device["problem"] else ""
        lines.append(f"device    {device['kind']}: {device['name']}{memory}{problem}")
    if report["chosen"]["reason"]:
        lines.append(f"used      {report['chosen']['device'] or 'none'}. {report['chosen']['reason']}")
    if torch["version"]:
        lines.append(f"threads   {report['threads']}; the CPU has {', '.join(report['units']) or 'no wide units'}")
        lines.append(f"precision {', else '.join(report['precisions'])}: the first that keeps a garment's shape")
        own = " and ".join(report["layers"])
        lines.append(f"layers    {f'by code of our own for {own}' if own else 'by torch'}")
    for package in report["packages"]:
        if in_blender and not package["required"] and not package["version"]:
            continue
        state = package["version"] or f"missing; {package['install']}"
        kind = "" if package["required"] else "optional, "
        lines.append(f"package   {package['name']} {state}  ({kind}{package['needed_for']})")
    if not in_blender:
        assets = report["assets"]
        lines.append(f"assets    {assets['folder'] or assets['problem']}")
        lines += [f"          {kind}: {', '.join(assets[kind]) or 'none'}" for kind in KINDS]
    advice = [each for each in report["advice"] if not (in_blender and each == report["assets"]["problem"])]
    if advice:
        lines += ["", "To do:", *(f"- {sentence}" for sentence in advice)]
    lines += ["", "Ready to decode." if report["ok"] else "Not ready to decode."]
    return "\n".join(lines)
