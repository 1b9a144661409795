"""Makes anew what a set-up of the backend may install: blender_addon/backend/lock (`make lock`).

uv resolves the packages for all systems and Pythons at once, and writes each file's SHA-256 as the package index states
it. For the builds of torch that only torch's own index has, the index is asked; where it cannot be reached, or has no
hash, what torch-index.sha256 says is kept, for the same version of torch. Then uv tries each list for each system.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from importlib import metadata
from pathlib import Path

from blender_addon.backend.packages import ANY, CPU, CUDA, TORCH_INDEX, Lock
from build_addon import backend_requirements
from scale_backend.client.requirements import OPTIONAL, TORCH

OLDEST = "3.11"  # of the Pythons that Blender brings, from 4.2 on
PYTHONS = (OLDEST, "3.12", "3.13", "3.14")
OLDEST_MACOS = "14.0"  # that torch has wheels for
LINUX = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")
SYSTEMS = {ANY: (*LINUX, "macos", "windows"), CPU: LINUX, CUDA: ("windows",)}
WANTED = {CPU: re.compile(r"manylinux_\d+_\d+_(x86_64|aarch64)\.whl$"), CUDA: re.compile(r"win_amd64\.whl$")}
TORCH_FILES = Lock().folder / "torch-index.sha256"
RESOLVE = ("pip", "compile", "--quiet", "--universal", "--generate-hashes", "--only-binary", ":all:", "--no-header",
           "--no-annotate", "--python-version", OLDEST)  # fmt: skip
HEADER = "# Made by `make lock`. Each file that may be installed, with its SHA-256.\n"


def uv(*arguments: str, **options) -> str:
    """What uv prints. Raises CalledProcessError."""
    command = [sys.executable, "-m", "uv", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def resolved(*requirements: str, within: str = "") -> str:
    """A list of all that is needed, with hashes; at the versions of another list where that has them."""
    with tempfile.TemporaryDirectory() as folder:
        limit = Path(folder) / "within.txt"
        limit.write_text(within)
        return uv(*RESOLVE, "--constraint", str(limit), "-", input="\n".join(requirements))


def torch_files(build: str) -> dict[str, str]:
    """Files of this version of torch in torch's own index, and their SHA-256."""
    version = f"{TORCH.partition('==')[2]}+{build}"
    lines = (line.split() for line in TORCH_FILES.read_text().splitlines())
    kept = {name: sha256 for sha256, name in lines if name.startswith(f"torch-{version}-")}
    try:
        with urllib.request.urlopen(f"{TORCH_INDEX}{build}/torch/", timeout=20) as page:
            links = re.findall(r'href="([^"#]+)#sha256=([0-9a-f]{64})"', page.read().decode())
    except OSError as error:
        print(f"torch's own index cannot be reached ({error}); the hashes in {TORCH_FILES.name} are kept")
        links = []
    listed = {urllib.parse.unquote(link.rpartition("/")[2]): sha256 for link, sha256 in links}
    pythons = tuple(f"torch-{version}-cp{python.replace('.', '')}-cp{python.replace('.', '')}-" for python in PYTHONS)
    found = {name: hashed for name, hashed in (kept | listed).items() if WANTED[build].search(name)}
    return {name: sha256 for name, sha256 in sorted(found.items()) if name.startswith(pythons)}


def torch_of(build: str, files: dict[str, str]) -> str:
    """The lines of a list for one build of torch."""
    if not files:
        raise SystemExit(f"No hashes of {TORCH}+{build}: run this where {TORCH_INDEX} can be reached.")
    return " \\\n".join([f"{TORCH}+{build}", *(f"    --hash=sha256:{sha256}" for sha256 in files.values())]) + "\n"


def plain_needs() -> list[str]:
    """What torch needs without CUDA: as the build that is installed here says."""
    if not metadata.version("torch").endswith(f"+{CPU}"):
        raise SystemExit("Run this in an environment with torch's build for the CPU, which `make setup` makes.")
    return [line for line in metadata.requires("torch") or () if "extra ==" not in line]


def written(name: str, content: str) -> None:
    (Lock().folder / f"{name}.txt").write_text(HEADER + content)
    print(f"{name}.txt: {len(re.findall('^[a-z]', content, re.M))} packages", flush=True)


def check(build: str) -> None:
    """Have uv look for each file of a list, on each system and Python. Raises CalledProcessError."""
    content = Lock().packages(build).read_text()
    if build != ANY:  # torch's own index may be out of reach
        content = re.sub(r"^torch==.*?(?=^\S|\Z)", "", content, flags=re.S | re.M)
    with tempfile.TemporaryDirectory() as folder:
        tried = Path(folder) / "tried.txt"
        tried.write_text(content)
        for system, python in itertools.product(SYSTEMS[build], PYTHONS):
            uv("pip", "install", "--quiet", "--dry-run", "--require-hashes", "--only-binary", ":all:",
               "--target", f"{folder}/{system}-{python}", "--python-platform", system, "--python-version", python,
               "--requirement", str(tried), env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": OLDEST_MACOS})  # fmt: skip
    print(f"{build}.txt: there are wheels for {', '.join(SYSTEMS[build])} and Python {', '.join(PYTHONS)}", flush=True)


def main() -> None:
    needs = backend_requirements()
    all_packages = resolved(*needs)
    written(ANY, all_packages)
    plain = resolved(*(need for need in needs if need != TORCH), *plain_needs(), within=without_hashes(all_packages))
    files = {build: torch_files(build) for build in (CPU, CUDA)}
    for build, found in files.items():
        written(build, plain + torch_of(build, found))
    TORCH_FILES.write_text("".join(f"{sha}  {name}\n" for found in files.values() for name, sha in found.items()))
    written("faster", resolved(OPTIONAL["llvmlite"][0]))
    written("pip", resolved("pip"))
    for build in SYSTEMS:
        check(build)


def without_hashes(content: str) -> str:
    """The versions of a list alone."""
    return "\n".join(line.removesuffix("\\") for line in content.splitlines() if not line.startswith(" "))


if __name__ == "__main__":
    main()
