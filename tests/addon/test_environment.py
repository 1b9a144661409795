"""Setting up the backend's own environment: real venv, real pip, without a network; torch comes from this checkout."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import site
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import bpy
import pytest

import build_addon
from blender_addon import messages
from blender_addon.backend import environment, packages, process
from blender_addon.backend import settings as backend_settings
from blender_addon.paths import backend_modules
from blender_addon.tasks import folder_lock
from scale_backend.client import requirements


def plan_in(folder: Path) -> environment.Plan:
    """The add-on's own plan, with the wheel of its zip, no wheels beside it, and this checkout's versions."""
    name, content = build_addon.backend_wheel()
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    wheels = folder / "wheels"
    wheels.mkdir(exist_ok=True)
    return environment.Plan(
        folder / "environment",
        backend_modules(),
        folder / name,
        hashlib.sha256(content).hexdigest(),
        wheels,
        locked(folder / "lock", *requirements.REQUIRED, "llvmlite"),
    )


def locked(folder: Path, *names: str) -> packages.Lock:
    """A lock of what is installed here, whose files nobody has at hand."""
    folder.mkdir(exist_ok=True)
    lines = [f"{name}=={metadata.version(name)} --hash=sha256:{'0' * 64}\n" for name in sorted(names)]
    (folder / "any.txt").write_text("".join(lines))
    (folder / "faster.txt").write_text("")
    (folder / "pip.txt").write_text("")
    return packages.Lock(folder)


@pytest.fixture
def own_folder(tmp_path, monkeypatch) -> Path:
    """No backend is set up, and one would go into an empty folder."""
    process.stop()
    monkeypatch.delenv(backend_settings.PYTHON_VARIABLE)
    monkeypatch.setenv(backend_settings.FOLDER_VARIABLE, str(tmp_path / "environment"))
    monkeypatch.setattr(process, "_set_up", None)
    yield tmp_path / "environment"
    process.stop()


def test_set_up_cancelled_failed_continued_used_and_updated(dressed, own_folder, tmp_path, monkeypatch):
    process.stop()
    assert process.status().kind == process.NOT_SET_UP
    plan = plan_in(tmp_path)

    first = process.set_up(plan)
    first.start()
    while not plan.python.exists() and not first.ended.is_set():
        time.sleep(0.02)
    assert process.status().kind == process.SETTING_UP and first.step
    first.cancel(wait=10.0)
    assert first.ended.is_set() and first.cancelled and not first.succeeded
    assert not environment.is_set_up(plan.folder)

    with pytest.raises(messages.AddonError, match=r"pip found no \S+ .* complete the folder of wheels"):
        environment.SetUp(plan).run()
    assert "No matching distribution" in plan.log.read_text()
    made = plan.python.stat().st_ctime_ns

    installed = next(plan.folder.rglob("site-packages"))
    (installed / "checkout.pth").write_text("\n".join(site.getsitepackages()))
    for old in installed.glob("setuptools*"):  # venv's own would hide the newer one that torch asks for
        shutil.rmtree(old)
    third = process.set_up(plan)
    third.run()
    assert third.succeeded and third.fraction == 1.0 and third.report["ok"]
    assert plan.python.stat().st_ctime_ns == made  # went on with what was there
    assert (installed / "scale_backend" / "__init__.py").is_file()  # the bundled wheel
    assert environment.is_set_up(plan.folder) and environment.is_current(plan)

    assert backend_settings.backend_python() == plan.python
    assert bpy.ops.scale_clothing.update() == {"FINISHED"}
    assert process.status().kind == process.READY
    assert process.get().doctor()["python"]["executable"] == str(plan.python)

    process.stop()  # an update of the add-on brings another wheel
    with zipfile.ZipFile(plan.wheel, "a") as wheel:
        wheel.writestr("scale_backend/newer.py", "")
    plan = replace(plan, wheel_sha256=hashlib.sha256(plan.wheel.read_bytes()).hexdigest())
    assert not environment.is_current(plan) and environment.is_set_up(plan.folder)
    monkeypatch.setattr(backend_settings, "environment_plan", lambda *_: plan)
    log = plan.log.read_text()
    assert bpy.ops.scale_clothing.update() == {"FINISHED"}  # the old one serves, and nothing is fetched unasked
    assert plan.log.read_text() == log and not (installed / "scale_backend" / "newer.py").exists()
    assert backend_settings.is_outdated()  # the panel offers to update it
    assert bpy.ops.scale_clothing.set_up_backend() == {"FINISHED"}
    assert environment.is_current(plan) and (installed / "scale_backend" / "newer.py").is_file()
    assert not backend_settings.is_outdated()


def test_what_the_backend_found_is_told(scene, monkeypatch):
    monkeypatch.setattr(messages, "_report", {})
    assert not bpy.ops.scale_clothing.copy_report.poll() and not bpy.ops.scale_clothing.show_report.poll()
    assert bpy.ops.scale_clothing.check_backend() == {"FINISHED"}
    told = requirements.describe(messages.report(), in_blender=True)
    assert os.environ[backend_settings.PYTHON_VARIABLE] in told and told.endswith("Ready to decode.")
    assert "torch" in told and "missing" not in told and "assets" not in told
    assert messages.report()["chosen"]["reason"] == process.get().info["reason"]
    assert bpy.ops.scale_clothing.copy_report.poll() and bpy.ops.scale_clothing.show_report.poll()


def test_without_permission_to_use_the_network(own_folder):
    if bpy.app.online_access:
        pytest.skip("this Blender may use the network")
    with pytest.raises(RuntimeError, match=r"tick Edit > Preferences > System > Allow Online Access, or choose"):
        bpy.ops.scale_clothing.set_up_backend()
    assert not own_folder.exists()


def test_without_a_set_up_there_is_no_log(own_folder):
    with pytest.raises(RuntimeError, match="There is no log: the backend was not set up here"):
        bpy.ops.scale_clothing.show_log()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the system opens files itself")
def test_where_nothing_opens_the_log_its_place_is_told(own_folder, monkeypatch):
    own_folder.mkdir()
    log = own_folder / environment.LOG
    log.write_text("")
    monkeypatch.setenv("PATH", str(own_folder))
    with pytest.raises(RuntimeError, match=f"There is no xdg-open on this computer.*{re.escape(str(log))}"):
        bpy.ops.scale_clothing.show_log()


def test_a_folder_with_other_files_is_left_alone(own_folder):
    own_folder.mkdir()
    (own_folder / "thesis.txt").write_text("mine")
    with pytest.raises(RuntimeError, match=r"holds other files; choose an empty folder"):
        bpy.ops.scale_clothing.set_up_backend(wheels=str(own_folder))
    assert os.listdir(own_folder) == ["thesis.txt"]
    assert process.status().kind == process.NOT_SET_UP


def test_two_blenders_do_not_set_up_the_same_folder(tmp_path):
    plan = plan_in(tmp_path)
    plan.folder.mkdir()
    plan.log.touch()
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDS_LOCK, str(plan.folder / environment.LOCK)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(messages.AddonError, match="Another Blender is setting up"):
        environment.SetUp(plan).run()
    other.kill()  # however it ends, nobody has to wait for a lock that it has left behind
    other.wait(10)
    other.stdin.close(), other.stdout.close()
    with folder_lock.locked(plan.folder / environment.LOCK, "held"):
        pass


HOLDS_LOCK = """
import sys
from pathlib import Path
from blender_addon.tasks.folder_lock import locked
with locked(Path(sys.argv[1]), ""):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_an_update_that_breaks_off_does_not_count_as_set_up(own_folder, tmp_path):
    plan = plan_in(tmp_path)
    subprocess.run([sys.executable, "-m", "venv", str(plan.folder)], check=True)
    plan.log.touch()
    installed = next(plan.folder.rglob("site-packages"))
    (installed / "checkout.pth").write_text("\n".join(site.getsitepackages()))
    for old in installed.glob("setuptools*"):
        shutil.rmtree(old)
    stamp = plan.folder / environment.STAMP
    stamp.write_text("of an older add-on")
    every = (plan.lock.folder / "any.txt").read_text()
    (plan.lock.folder / "any.txt").write_text(f"no-such-package==9 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(messages.AddonError, match="pip found no no-such-package"):
        environment.SetUp(plan).run()
    with zipfile.ZipFile(plan.wheels / "tiny-1.0-py3-none-any.whl", "w") as tiny:
        tiny.writestr("tiny.py", "")
        tiny.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        tiny.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        tiny.writestr("tiny-1.0.dist-info/RECORD", "")
    (plan.lock.folder / "any.txt").write_text(f"tiny==1.0 --hash=sha256:{'0' * 64}\n{every}")
    with pytest.raises(messages.AddonError, match=r"file of tiny is not the one .* SHA-256 differs"):
        environment.SetUp(plan).run()
    assert environment.is_set_up(plan.folder) and not (installed / "tiny.py").exists()
    (plan.lock.folder / "any.txt").write_text(every)
    whole = plan.wheel.read_bytes()
    plan.wheel.write_bytes(whole + b"changed")
    with pytest.raises(messages.AddonError, match=r"file of scale-backend is not the one .* SHA-256 differs"):
        environment.SetUp(plan).run()
    assert environment.is_set_up(plan.folder)  # nothing was changed: the old one serves
    plan.wheel.write_bytes(b"no wheel")
    with pytest.raises(messages.AddonError):
        environment.SetUp(replace(plan, wheel_sha256=hashlib.sha256(b"no wheel").hexdigest())).run()
    assert list(plan.folder.glob(f".{environment.STAMP}*")) == []


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("Retrying after NameResolutionError(...)\nERROR: No matching distribution found for torch", "check the"),
        ("The virtual environment was not created because ensurepip is not\navailable.", "lacks the module venv"),
        ("one\nERROR: something new.\n", "something new; the log says more"),
        ("", "without a message"),
    ],
)
def test_failures_are_explained(output, sentence):
    assert sentence in environment.explain(output)


def test_the_build_of_torch_is_that_of_the_graphics_card(monkeypatch, tmp_path):
    card = tmp_path / "nvidia-smi"
    card.write_text("#!/bin/sh\necho 'NVIDIA RTX, 580.1'\n")
    card.chmod(0o755)
    for path, builds in (("/nowhere", ("cpu", "any", "any")), (f"{tmp_path}:/bin", ("any", "cu130", "any"))):
        monkeypatch.setenv("PATH", path)
        for system, build in zip(("linux", "win32", "darwin"), builds, strict=True):
            with monkeypatch.context() as there:
                there.setattr(packages, "nvidia_driver", dict if path == "/nowhere" else lambda: {"gpu": "RTX"})
                there.setattr(sys, "platform", system)
                assert packages.best_build() == build
    assert requirements.nvidia_driver() == {"gpu": "NVIDIA RTX", "driver": "580.1"}
    for file, build in (("torch-2.13.0-cp311-cp311-win_amd64.whl", "any"), ("torch-2.13.0+cpu-cp311-x.whl", "cpu")):
        (tmp_path / file).touch()
        assert packages.build_in(tmp_path) == build


def test_an_index_that_cannot_be_reached_is_left_out(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = socket.create_connection
        monkeypatch.setattr(socket, "create_connection", lambda where, timeout: connect((where[0], port), timeout))
        monkeypatch.setattr(urllib.request, "getproxies", dict)
        assert environment._reachable("https://127.0.0.1/whl/cpu")
    assert not environment._reachable("https://127.0.0.1/whl/cpu")
    monkeypatch.setattr(urllib.request, "getproxies", lambda: {"https": "http://proxy:3128"})
    assert environment._reachable("https://127.0.0.1/whl/cpu")


STARTS_PIP = """
import os, subprocess, sys
from blender_addon.backend.environment import WATCHED_PIP
pip = subprocess.Popen([sys.executable, "-c", WATCHED_PIP, "download", "--dest", sys.argv[1], "--no-deps",
                        "--index-url", sys.argv[2], "something"], stdin=subprocess.PIPE)
print(pip.pid, flush=True)
sys.stdin.read()
"""


def test_pip_does_not_outlive_its_blender(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        starter = subprocess.Popen(
            [sys.executable, "-c", STARTS_PIP, str(tmp_path), index], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        pip = int(starter.stdout.readline())
        silent.settimeout(30)
        connection, _ = silent.accept()
        with connection:
            os.kill(pip, 0)  # it is at work
            starter.kill()
            starter.wait(10)
            connection.settimeout(30)
            while connection.recv(4096):  # its end closes the connection
                pass


def test_a_set_up_that_crashes_does_not_count_as_done(tmp_path, monkeypatch):
    def crash(_work: environment.SetUp) -> None:
        raise IndexError("pip said nothing")

    monkeypatch.setattr(environment.SetUp, "_steps", crash)
    work = environment.SetUp(plan_in(tmp_path))
    with pytest.raises(messages.AddonError, match="IndexError: pip said nothing; the log says more"):
        work.run()
    assert work.ended.is_set() and not work.succeeded and "pip said nothing" in work.failure


@pytest.mark.skipif(sys.platform == "win32", reason="a user's folders have rights of their own there")
def test_a_folder_that_others_can_write_is_not_set_up(tmp_path):
    folder = tmp_path / "environment"
    python = environment.python_in(folder)
    python.parent.mkdir(parents=True)
    python.touch()
    (folder / environment.STAMP).touch()
    (folder / environment.LOG).touch()
    folder.chmod(0o700)
    assert environment.is_set_up(folder)
    for mode in (0o777, 0o722, 0o720):
        folder.chmod(mode)
        assert not environment.is_set_up(folder)
        with pytest.raises(messages.AddonError, match="can be written by other users; choose another folder"):
            environment.SetUp(environment.Plan(folder, "")).run()
    folder.chmod(0o700)
    if os.getuid() == 0:
        os.chown(folder, 12345, 12345)
        assert not environment.is_set_up(folder)
        assert "belongs to another user" in environment.why_not_ones_own(folder)


def test_a_result_is_baked_by_one_at_a_time_and_the_other_hears_who(tmp_path):
    lock = tmp_path / ".dress.pc2.baking"
    with (
        folder_lock.held(lock, "dress.pc2 is being baked by {who}; wait."),
        pytest.raises(
            messages.AddonError, match=rf"dress.pc2 is being baked by another Blender \(process {os.getpid()} on"
        ),
        folder_lock.held(lock, "dress.pc2 is being baked by {who}; wait."),
    ):
        pass
    assert not lock.exists()
    lock.write_text("left behind by a kill")
    with folder_lock.held(lock, "never"):
        pass
    assert not lock.exists()
