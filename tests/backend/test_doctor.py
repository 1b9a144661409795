"""What the doctor finds in this Python, in one that has nothing, and in broken ones."""

import json
import os
import re
import shlex
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
import torch

import scale_backend
from scale_backend import doctor
from scale_backend.client import requirements
from scale_backend.client.backend import examine_python
from scale_backend.machine.devices import DeviceError, choose_device, found_devices, matrix_units

PACKAGES = Path(scale_backend.__file__).parent.parent
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for a program")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "scale_backend.doctor", *arguments],
        env={**os.environ, "PYTHONPATH": str(PACKAGES), **environment}, capture_output=True, text=True,
    )  # fmt: skip


def test_this_python_can_decode():
    report = doctor.examine()
    assert report["ok"] and report["python"]["supported"]
    assert report["torch"] == {"version": torch.__version__, "build": report["torch"]["build"], "problem": ""}
    assert report["chosen"]["device"] in {d["kind"] for d in report["devices"] if not d["problem"]}
    assert report["chosen"]["reason"].endswith(".")
    assert report["threads"] == torch.get_num_threads()
    assert report["assets"]["bodies"] == ["neutral"]
    assert json.loads(json.dumps(report)) == report


def test_every_finding_is_printed():
    report = doctor.examine("cpu")
    text = requirements.describe(report)
    for package in report["packages"]:
        assert re.search(rf"package +{package['name']} ", text)
        assert (package["version"] or package["install"]) in text
    for expected in (sys.executable, torch.__version__, "used      cpu. The CPU was asked for.", "Ready to decode."):
        assert expected in text


def test_json_is_what_it_prints():
    done = run("--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["python"]["executable"] == sys.executable


def test_requirements_are_the_projects():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11 and up
    project = tomllib.loads((PACKAGES / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    declared = {requirement.split(";")[0].strip() for requirement in declared}
    named = {requirement for requirement, _ in (requirements.REQUIRED | requirements.OPTIONAL).values()}
    assert named <= declared
    assert set(project["dependencies"]) <= named


def test_install_commands_are_exact():
    command = requirements.install_command("numpy>=1.26", "torch==2.13.0")
    if sys.platform != "win32":
        assert shlex.split(command) == [sys.executable, "-m", "pip", "install", "numpy>=1.26", "torch==2.13.0"]


def test_a_torch_that_does_not_load_is_a_finding(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.13: cannot open shared object file')\n")
    done = run("--json", PYTHONPATH=f"{tmp_path}{os.pathsep}{PACKAGES}")
    report = json.loads(done.stdout)
    assert done.returncode == 1 and not report["ok"]
    assert report["torch"]["problem"] == "torch does not load: libcudart.so.13: cannot open shared object file"
    assert any("--force-reinstall torch==2.13.0" in sentence for sentence in report["advice"])
    text = run(PYTHONPATH=f"{tmp_path}{os.pathsep}{PACKAGES}").stdout
    assert "Not ready to decode." in text and "libcudart" in text


def test_missing_assets_are_a_finding(tmp_path):
    report = json.loads(run("--json", SCALE_ASSETS=str(tmp_path / "nothing")).stdout)
    assert report["ok"] and str(tmp_path / "nothing") in report["assets"]["problem"]
    assert report["assets"]["problem"] in report["advice"]
    told = requirements.describe(report), requirements.describe(report, in_blender=True)  # whose add-on brings them
    assert [text.count(report["assets"]["problem"]) for text in told] == [2, 0] and "To do" not in told[1]


@posix_only
@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch can use CUDA")
def test_a_gpu_that_torch_cannot_use_is_told(tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA GeForce RTX 4090, 580.82.07'\n")
    tool.chmod(0o755)
    report = json.loads(run("--json", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}").stdout)
    assert report["nvidia"] == {"gpu": "NVIDIA GeForce RTX 4090", "driver": "580.82.07"}
    advice = [sentence for sentence in report["advice"] if "RTX 4090" in sentence]
    assert advice and "--index-url https://download.pytorch.org/whl/cu" in advice[0]
    assert report["chosen"]["device"] == "cpu"


@posix_only
def test_a_driver_tool_that_fails_is_no_gpu(tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\necho 'NVIDIA-SMI has failed because it could not communicate with the driver'\nexit 9\n"
    )
    tool.chmod(0o755)
    report = json.loads(run("--json", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}").stdout)
    assert report["nvidia"] == {} and report["ok"]


def test_auto_takes_the_best_device_that_computes():
    choice = choose_device("auto")
    assert choice.kind == next(d.kind for d in found_devices() if not d.problem)
    assert choose_device("cpu").kind == "cpu"


def test_devices_that_are_missing_are_refused():
    kinds = {d.kind for d in found_devices()}
    for kind in {"cuda", "mps"} - kinds:
        with pytest.raises(DeviceError, match=r"cannot be used: .*Choose the device 'cpu' or 'auto'"):
            choose_device(kind)
    with pytest.raises(DeviceError, match="There is no device 'tpu'"):
        choose_device("tpu")


@pytest.mark.skipif(sys.platform != "linux", reason="compared with Linux's own list")
def test_units_of_this_processor():
    flags = Path("/proc/cpuinfo").read_text()
    assert ("amx_bf16" in matrix_units()) == ("amx_bf16" in flags)
    assert ("avx512" in matrix_units()) == ("avx512f" in flags)


def test_a_program_that_is_no_python_is_told(tmp_path):
    from scale_backend.client.backend import BackendStartError

    with pytest.raises(BackendStartError, match=r"could not be started|could not examine itself"):
        examine_python(tmp_path)
