"""The lock: what a set-up of the backend may install, each file by its hash."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile

import pytest
from packaging.requirements import Requirement

import build_addon
from blender_addon.backend import packages
from scale_backend.client.requirements import OPTIONAL, REQUIRED

BUILDS = (packages.ANY, packages.CPU, packages.CUDA)
LOCK = packages.Lock()


def entries(content: str) -> list[tuple[Requirement, list[str]]]:
    """The requirements of a list and their hashes; nothing else may stand in it."""
    found = []
    for line in re.sub(r"\s*\\\n\s+", " ", content).splitlines():
        if not line.startswith("#"):
            requirement, *hashes = line.split(" --hash=sha256:")
            assert all(re.fullmatch("[0-9a-f]{64}", each) for each in hashes), line
            found.append((Requirement(requirement), hashes))
    return found


def versions(content: str) -> set[tuple[str, str]]:
    return {(found.name, str(found.specifier)) for found, _ in entries(content)}


@pytest.mark.parametrize("path", sorted(LOCK.folder.glob("*.txt")), ids=lambda path: path.stem)
def test_each_package_has_one_version_and_hashes(path):
    for requirement, hashes in entries(path.read_text()):
        assert re.fullmatch(r"==[\w.+]+", str(requirement.specifier)) and hashes, requirement


@pytest.mark.parametrize("build", BUILDS)
def test_the_lock_holds_what_the_backend_needs(build):
    found = [each for each, _ in entries(LOCK.packages(build).read_text())]
    for needed in (Requirement(needed) for needed, _ in REQUIRED.values()):
        mine = [each for each in found if each.name == needed.name]
        assert mine and all(needed.specifier.contains(str(each.specifier)[2:]) for each in mine), needed
    torch = next(str(each.specifier) for each in found if each.name == "torch")
    assert torch.endswith(f"+{build}") or (build == packages.ANY and "+" not in torch)
    gpu = {each.name for each in found if each.name.startswith(("nvidia", "cuda", "triton"))}
    assert bool(gpu) == (build == packages.ANY)
    (faster, _), *_ = entries(LOCK.faster.read_text())
    assert Requirement(OPTIONAL["llvmlite"][0]).specifier.contains(str(faster.specifier)[2:])


def test_the_builds_differ_in_torch_alone():
    every = versions(LOCK.packages(packages.ANY).read_text())
    for build in (packages.CPU, packages.CUDA):
        assert {name for name, _ in versions(LOCK.packages(build).read_text()) - every} == {"torch"}


def test_the_zip_has_the_lock_and_the_hash_of_its_wheel():
    with zipfile.ZipFile(io.BytesIO(build_addon.extension())) as package:
        for path in LOCK.folder.glob("*.txt"):
            assert package.read(f"backend/lock/{path.name}") == path.read_bytes()
        sha256, name = package.read("wheels.sha256").decode().split()
        assert hashlib.sha256(package.read(name)).hexdigest() == sha256
