"""What a user waits for: the backend's start, frames decoded for a bake, and live frames in Blender (`make bench`).

Everything goes through the client and a real backend process, as in Blender. Prints a table and writes it as JSON.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Settings:
    """Benchmark of starting, baking and playing the garments that ship."""

    out: Path = ROOT / "out" / "bench" / "playback.json"
    motion: str = "dance"
    repeats: int = 5  # of each measurement; the median is shown
    device: str = "auto"


def main() -> None:
    settings = tyro.cli(Settings)
    rows = [*decoding(settings), *live(settings)]
    report = {"machine": machine(), "rows": rows}
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    settings.out.write_text(json.dumps(report, indent=1) + "\n")
    print(", ".join(f"{key}: {value}" for key, value in report["machine"].items()))
    width = max(len(row["what"]) for row in rows)
    for row in rows:
        print(f"{row['what']:<{width}}  {row['value']:>10.2f} {row['unit']}")
    print(settings.out)


def decoding(settings: Settings) -> list[dict]:
    """Start of the backend to the first frame, and frames decoded one by one and as a stream."""
    import numpy as np

    from scale_backend.assets import find_motion
    from scale_backend.client import Backend
    from scale_backend.motion import load_motion, matrices_from_axis_angle

    motion = load_motion(find_motion(settings.motion))
    rotations = matrices_from_axis_angle(motion.rotations).astype(np.float32)
    translation = motion.translation.astype(np.float32)
    rows = []
    for path in garments():
        starts, opens, single, stream = [], [], [], []
        for _ in range(settings.repeats):
            begin = time.perf_counter()
            with Backend.start(sys.executable, device=settings.device) as backend:
                garment = backend.open_garment(path)
                surface = garment["surfaces"][0]
                part = garment["parts"][0]
                backend.decode(garment["id"], rotations[:1], translation[:1], surface=surface, part=part)
                starts.append(time.perf_counter() - begin)
                opens.append(len(backend.topology(garment["id"], surface, part)["patch"]))
                for frame in range(1, 41):
                    begin = time.perf_counter()
                    place = slice(frame, frame + 1)
                    backend.decode(garment["id"], rotations[place], translation[place], surface=surface, part=part)
                    single.append(time.perf_counter() - begin)
                begin = time.perf_counter()
                for _ in backend.decode_stream(garment["id"], rotations, translation, surface=surface, part=part):
                    pass
                stream.append((time.perf_counter() - begin) / len(rotations))
        name = f"{path.stem} ({opens[0]} {'vertices' if surface == 'mesh' else 'points'})"
        rows += [
            row(f"{name}: start of the backend to the first frame", statistics.median(starts), "s"),
            row(f"{name}: one frame", 1e3 * statistics.median(single), "ms"),
            row(f"{name}: a frame of a bake", 1e3 * statistics.median(stream), "ms"),
        ]
    return rows


def live(settings: Settings) -> list[dict]:
    """Blender's frame_set with the sample character, dressed and bare."""
    with tempfile.TemporaryDirectory(prefix="scale-bench-") as folder:
        os.environ["BLENDER_USER_RESOURCES"] = folder  # read when bpy is imported
        os.environ["SCALE_BACKEND_PYTHON"] = sys.executable
        import bpy

        import build_addon

        package = build_addon.build(Path(folder))
        bpy.ops.extensions.package_install_files(filepath=str(package), repo="user_default", enable_on_install=True)
        bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
        scene = bpy.context.scene
        bpy.ops.scale_clothing.add_character()
        bpy.ops.scale_clothing.apply_motion(motion=settings.motion)
        rows = [row("Blender's frame_set, bare", 1e3 * frame_time(scene), "ms")]
        for path in garments():
            scene.scale_clothing.garment = path.stem
            bpy.ops.scale_clothing.generate()
            rows.append(row(f"Blender's frame_set, {path.stem} live", 1e3 * frame_time(scene), "ms"))
    return rows


def frame_time(scene) -> float:
    """Median seconds of going to the next frame, over 100 frames."""
    times = []
    for frame in range(scene.frame_start, scene.frame_start + 100):
        begin = time.perf_counter()
        scene.frame_set(frame)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def garments() -> list[Path]:
    return sorted((ROOT / "assets" / "garments").glob("*.safetensors"))


def row(what: str, value: float, unit: str) -> dict:
    return {"what": what, "value": value, "unit": unit}


def machine() -> dict[str, str]:
    from importlib.metadata import version

    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        model = next((line.split(": ")[1] for line in info.read_text().splitlines() if "model name" in line), model)
    return {"cpu": model, "cores": str(os.cpu_count()), "torch": version("torch"), "python": platform.python_version()}


if __name__ == "__main__":
    main()
