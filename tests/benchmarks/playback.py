"""What a user waits for: the backend's start, frames decoded for a bake, and live frames in Blender.

Everything goes through the client and a real backend process, as in Blender.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from scale_backend.formats.poses import DecodeOptions, Poses
from tests.benchmarks.report import ROOT, Row, seconds


def rows(repeats: int, motion: str = "dance", device: str = "auto") -> list[Row]:
    sent = overhead(repeats)
    return [*decoding(repeats, motion, device), *second_garment(repeats, device), *sent, *live(repeats, motion, sent)]


def decoding(repeats: int, motion_name: str, device: str) -> list[Row]:
    """Start of the backend to the first frame, and frames decoded one by one and as a stream."""
    import numpy as np

    from scale_backend.client.backend import Backend
    from scale_backend.formats.assets import find_motion
    from scale_backend.formats.motion import matrices_from_axis_angle
    from scale_backend.formats.motions import load_motion

    motion = load_motion(find_motion(motion_name))
    rotations = matrices_from_axis_angle(motion.rotations).astype(np.float32)
    translation = motion.translation.astype(np.float32)
    found = []
    for path in garments():
        starts, opens, single, stream = [], [], [], []
        for _ in range(max(2, repeats // 4)):
            begin = time.perf_counter()
            with Backend.start(sys.executable, device=device) as backend:
                garment = backend.open_garment(path)
                surface = garment["surfaces"][0]
                part = garment["parts"][0]
                backend.decode(garment["id"], Poses(rotations[:1], translation[:1]), DecodeOptions(surface, part))
                starts.append(time.perf_counter() - begin)
                opens.append(len(backend.topology(garment["id"], surface, part).patch))
                for frame in range(1, 41):
                    begin = time.perf_counter()
                    place = slice(frame, frame + 1)
                    backend.decode(
                        garment["id"], Poses(rotations[place], translation[place]), DecodeOptions(surface, part)
                    )
                    single.append(time.perf_counter() - begin)
                begin = time.perf_counter()
                for _ in backend.decode_stream(
                    garment["id"], Poses(rotations, translation), DecodeOptions(surface, part)
                ):
                    pass
                stream.append((time.perf_counter() - begin) / len(rotations))
        name = f"{path.stem} ({opens[0]} {'vertices' if surface == 'mesh' else 'points'})"
        found += [
            Row(f"{name}: start of the backend to the first frame", statistics.median(starts), "s", "3"),
            Row(f"{name}: one frame through the client", 1e3 * statistics.median(single), "ms"),
            Row(f"{name}: a frame of a bake through the client", 1e3 * statistics.median(stream), "ms"),
        ]
    return found


def second_garment(repeats: int, device: str) -> list[Row]:
    """Opening a garment and its first frame in a backend that has decoded another one."""
    import numpy as np

    from scale_backend.client.backend import Backend

    pose = np.tile(np.eye(3, dtype=np.float32), (1, 24, 1, 1))
    first, second = garments()[-2:]
    times = []
    for _ in range(max(2, repeats // 4)):
        with Backend.start(sys.executable, device=device) as backend:
            for path in (first, second):
                begin = time.perf_counter()
                garment = backend.open_garment(path)
                surface, part = garment["surfaces"][0], garment["parts"][0]
                backend.topology(garment["id"], surface, part)
                backend.decode(garment["id"], Poses(pose), DecodeOptions(surface, part))
                took = time.perf_counter() - begin
            times.append(took)
    return [Row(f"second garment ({second.stem}): open to first frame", statistics.median(times), "s", "0.3")]


def overhead(repeats: int) -> list[Row]:
    """A pose to a process and 16,000 points and normals back, as the client and the backend do it; nothing decoded."""
    import threading
    from multiprocessing.connection import Pipe

    import numpy as np

    from scale_backend.client.protocol import receive_message, send_message

    here, there = Pipe()
    pose = {"rotations": np.zeros((1, 24, 3, 3), np.float32), "translation": np.zeros((1, 3), np.float32)}
    reply = {name: np.zeros((1, 16000, 3), np.float32) for name in ("points", "normals")}

    def answer() -> None:
        while receive_message(there)[0]["goes_on"]:
            send_message(there, {}, reply)

    other = threading.Thread(target=answer, daemon=True)
    other.start()

    def ask() -> None:
        send_message(here, {"goes_on": True}, pose)
        receive_message(here)

    took = seconds(ask, 20 * repeats)
    send_message(here, {"goes_on": False})
    other.join(10)
    return [Row("send a pose, receive 16,000 points and normals", 1e3 * took, "ms")]


def live(repeats: int, motion: str, sent: list[Row]) -> list[Row]:
    """Blender's frame_set with the sample character, dressed and bare; and what the add-on takes of it."""
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
        bpy.ops.scale_clothing.apply_motion(motion=motion)
        bare = frame_time(scene)
        found = [Row("Blender's frame_set, bare", 1e3 * bare, "ms")]
        for path in garments():
            scene.scale_clothing.garment = path.stem
            bpy.ops.scale_clothing.generate()
            took = frame_time(scene)
            note = f"{1 / took:.0f} frames a second"
            found.append(Row(f"Blender's frame_set, {path.stem} live", 1e3 * took, "ms", "", note))
            (worn,) = (obj for obj in scene.objects if obj.scale_clothing.is_clothes)
            worn.scale_clothing.normals = "DECODED"
            shaded = 1e3 * frame_time(scene)
            worn.scale_clothing.normals = "FACES"
            found.append(Row(f"Blender's frame_set, {path.stem} live, decoded normals", shaded, "ms"))
        scene.scale_clothing.garment, scene.scale_clothing.surface = "dress", "POINTS"
        bpy.ops.scale_clothing.generate()
        return [*found, *rig_to_scene(repeats, sent)]


def rig_to_scene(repeats: int, sent: list[Row]) -> list[Row]:
    """Reading the rig and writing the mesh, by the add-on that is installed; with what was measured of sending."""
    import bpy

    mesh, request, selection = (
        import_module(f"bl_ext.user_default.scale_clothing.clothes.{name}") for name in ("mesh", "request", "selection")
    )
    (worn,) = selection.all_clothes()
    graph = bpy.context.evaluated_depsgraph_get()
    decoded = request.present_request(worn, graph).decode()
    found = [
        Row("read the rig's pose", 1e3 * seconds(lambda: request.present_request(worn, graph), 20 * repeats), "ms"),
        Row(f"write {len(decoded.points)} points and normals", 1e3 * seconds(lambda: mesh.put(worn, decoded),
                                                                             20 * repeats), "ms"),
    ]  # fmt: skip
    return [*found, Row("rig to scene, beyond decoding", sum(row.value for row in [*sent, *found]), "ms", "1")]


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
