"""Examine this Python: is everything there that decoding needs, what will be used, and what to do about the rest.

Runs where torch is missing too: `python -m scale_backend.doctor [--json]` needs nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib import metadata, util

from scale_backend import __version__
from scale_backend.client.requirements import (
    CUDA_INDEX,
    OLDEST_PYTHON,
    OPTIONAL,
    PIP_NAMES,
    REQUIRED,
    TORCH,
    VECTORS,
    describe,
    install_command,
    nvidia_driver,
)
from scale_backend.formats.assets import KINDS, asset_folder
from scale_backend.machine import devices


def examine(device: str = "auto", threads: int = 0) -> dict:
    """Everything that can be said, as JSON can hold it.

    device: the one that is asked for. threads: those that decode, where a running backend knows them.
    """
    packages = [_package(name, *REQUIRED[name], True) for name in REQUIRED]
    packages += [_package(name, *OPTIONAL[name], False) for name in OPTIONAL]
    report = {
        "version": __version__,
        "python": {
            "version": platform.python_version(),
            "executable": sys.executable,
            "supported": sys.version_info[:2] >= OLDEST_PYTHON,
        },
        "system": {
            "name": platform.platform(),
            "machine": platform.machine(),
            "processor": devices.processor_name(),
            "cores": os.cpu_count(),
        },
        "nvidia": nvidia_driver(),
        **_examine_torch(device, threads),
        "packages": packages,
        "assets": _assets(),
    }
    report["advice"] = _advice(report)
    complete = all(p["version"] for p in packages if p["required"])
    usable = not report["torch"]["problem"] and bool(report["chosen"]["device"])
    report["ok"] = complete and usable and report["python"]["supported"]
    return report


def _examine_torch(device: str, threads: int) -> dict:
    """Version, devices, threads; a torch that is missing or broken is a finding, not an error."""
    nothing = {"devices": [], "chosen": {"device": "", "name": "", "reason": ""}, "threads": 0, "units": [],
               "precisions": [], "layers": []}  # fmt: skip
    try:
        import torch
    except Exception as error:  # a broken build fails to load in many ways: missing libraries, wrong numpy
        absent = util.find_spec("torch") is None
        problem = "torch is not installed" if absent else f"torch does not load: {str(error).splitlines()[0]}"
        return {"torch": {"version": "", "build": "", "problem": problem}, **nothing}
    if torch.version.cuda:
        build = f"CUDA {torch.version.cuda}"
    elif torch.version.hip:
        build = f"ROCm {torch.version.hip}"
    else:
        build = "Metal" if torch.backends.mps.is_built() else "CPU only"
    from scale_backend.cpu import amx, llvm_jit
    from scale_backend.inference.precision import fast_precisions

    lanes = llvm_jit.vector_lanes()
    try:
        choice = devices.choose_device(device)
        chosen = {"device": choice.kind, "name": choice.name, "reason": choice.reason}
    except devices.DeviceError as error:
        chosen = {"device": "", "name": "", "reason": str(error)}
    return {
        "torch": {"version": torch.__version__, "build": build, "problem": ""},
        "devices": [
            {"kind": d.kind, "name": d.name, "memory": d.memory, "problem": d.problem} for d in devices.found_devices()
        ],
        "chosen": chosen,
        "threads": threads or torch.get_num_threads(),
        "units": devices.matrix_units(),
        "precisions": list(fast_precisions(chosen["device"])),
        "layers": ["matrix tiles"] * amx.available() + [VECTORS[lanes]] * bool(lanes),
    }


def _package(name: str, requirement: str, needed_for: str, required: bool) -> dict:
    version = ""
    if util.find_spec(name) is not None:
        try:
            version = metadata.version(PIP_NAMES.get(name, name))
        except metadata.PackageNotFoundError:  # on the path, but not installed by pip
            version = "unknown version"
    return {
        "name": name,
        "version": version,
        "needed_for": needed_for,
        "required": required,
        "install": install_command(requirement),
    }


def _assets() -> dict:
    try:
        folder = asset_folder()
    except FileNotFoundError as error:
        return {"folder": "", "problem": str(error), **{kind: [] for kind in KINDS}}
    found = {kind: sorted(p.stem for p in (folder / kind).glob(f"*{suffix}")) for kind, suffix in KINDS.items()}
    return {"folder": str(folder), "problem": "", **found}


def _advice(report: dict) -> list[str]:
    """What to do, most urgent first."""
    advice = []
    if not report["python"]["supported"]:
        needed = ".".join(map(str, OLDEST_PYTHON))
        advice.append(f"Python {report['python']['version']} is too old: use {needed} or newer.")
    missing = [p for p in report["packages"] if p["required"] and not p["version"]]
    if missing:
        requirements = [REQUIRED[p["name"]][0] for p in missing]
        names = ", ".join(p["name"] for p in missing)
        advice.append(f"Missing: {names}. Install with: {install_command(*requirements)}")
    if report["torch"]["problem"].startswith("torch does not load"):
        advice.append(f"{report['torch']['problem']}. Install it again: {install_command('--force-reinstall', TORCH)}")
    if report["nvidia"] and report["torch"]["version"] and not any(d["kind"] == "cuda" for d in report["devices"]):
        gpu = report["nvidia"]["gpu"]
        if report["torch"]["build"].startswith("CUDA"):
            advice.append(f"{gpu} is there, but torch cannot reach it: update the NVIDIA driver "
                          f"({report['nvidia']['driver']} is installed).")  # fmt: skip
        else:
            command = install_command("--force-reinstall", TORCH, "--index-url", CUDA_INDEX)
            advice.append(f"{gpu} is there, but torch was built without CUDA. To use it: {command} (for an older "
                          "driver choose another CUDA at https://pytorch.org/get-started/locally)")  # fmt: skip
    advice += [f"{d['name']} fails: {d['problem']}." for d in report["devices"] if d["problem"]]
    if report["torch"]["version"] and not report["chosen"]["device"]:
        advice.append(report["chosen"]["reason"])
    if report["assets"]["problem"]:
        advice.append(report["assets"]["problem"])
    elif not report["assets"]["garments"]:
        advice.append(f"No garments in {report['assets']['folder']}: train one with scale-train, or copy one there.")
    return advice


def print_report(as_json: bool, device: str = "auto") -> int:
    """Exit code 0 when this Python can decode, else 1."""
    report = examine(device)
    print(json.dumps(report, indent=1) if as_json else describe(report))
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(print_report("--json" in sys.argv[1:]))
