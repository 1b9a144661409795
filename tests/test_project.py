"""The project as a whole: what ships, what may import what, and what must not be in the tree."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import build_addon
from scale_backend import cli as backend_cli
from scale_backend.client.requirements import OPTIONAL
from training import cli as training_cli

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "scipy", "trimesh", "safetensors", "bpy", "tyro", "tqdm", "tensorboard")


def tracked(*patterns: str) -> list[Path]:
    """The tracked files that match, and are there."""
    names = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in names.stdout.split("\0") if name and (ROOT / name).is_file()]


def imports(path: Path) -> list[str]:
    """The modules that a file imports absolutely, also inside functions; `from a import b` counts as a and a.b."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def importers(package: str, *forbidden: str) -> list[str]:
    """The lines 'file imports module' of a package for modules of the forbidden top-level packages."""
    return [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for module in imports(path)
        if module.split(".")[0] in forbidden
    ]


@pytest.fixture(scope="module")
def addon_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_addon.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    name, content = build_addon.backend_wheel()
    path = tmp_path_factory.mktemp("wheel") / name
    path.write_bytes(content)
    return path


# What may import what.


def test_backend_imports_neither_of_the_other_packages() -> None:
    assert importers("scale_backend", "training", "blender_addon", "bpy", "mathutils") == []


def test_bpy_is_imported_only_where_training_simulates() -> None:
    outside = [line for line in importers("training", "bpy", "mathutils") if not line.startswith("training/simulate/")]
    assert outside == []
    assert importers("training", "blender_addon") == []


def test_addon_imports_only_numpy_bpy_and_the_client_side() -> None:
    heavy = ("training", "torch", "scipy", "trimesh", "safetensors", "tyro", "tqdm", "tensorboard")
    assert importers("blender_addon", *heavy) == []


def client_side() -> set[str]:
    """The modules of scale_backend that the add-on imports."""
    modules = {
        module
        for path in (ROOT / "blender_addon").rglob("*.py")
        for module in imports(path)
        if module.startswith("scale_backend.") and (ROOT / f"{module.replace('.', '/')}.py").is_file()
    }
    used_inside = ("client.backend", "client.protocol", "formats.motion", "formats.garment_header")
    return modules | {f"scale_backend.{name}" for name in used_inside}


def test_client_side_runs_from_the_wheel_without_torch(wheel: Path) -> None:
    block = "".join(f"sys.modules[{name!r}] = None\n" for name in HEAVY)
    program = f"import sys\n{block}sys.path.insert(0, {str(wheel)!r})\n"
    program += "".join(f"import {module}\n" for module in sorted(client_side()))
    program += "import scale_backend\nprint(scale_backend.__file__)\n"
    ran = subprocess.run([sys.executable, "-c", program], cwd=wheel.parent, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert str(wheel) in ran.stdout


def floors(package: str) -> dict[str, int]:
    """The floor of each folder and top module of a package, as docs/architecture.md has them from the ground up."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page.partition(f"### {package}, from the ground up")[2].partition("\n#")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    names = ((number, name) for number, row in enumerate(rows) for name in re.findall(r"`([\w.]+)/?`", row))
    return {name.removesuffix(".py"): number for number, name in names}


def own_imports(path: Path) -> set[str]:
    """The folders and top modules of its own package that a module imports, also inside functions."""
    inside = path.relative_to(ROOT).with_suffix("").parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = (*(inside[: -node.level] if node.level else ()), *(node.module.split(".") if node.module else ()))
            found |= {(*base, alias.name) for alias in node.names}
    return {parts[1] for parts in found if parts[0] == inside[0] and len(parts) > 1}


@pytest.mark.parametrize("package", ["blender_addon", "scale_backend", "training"])
def test_imports_run_downwards_by_the_floors_of_the_architecture_page(package: str) -> None:
    levels = floors(package)
    upwards = []
    for path in sorted((ROOT / package).rglob("*.py")):
        here = path.relative_to(ROOT / package).parts[0].removesuffix(".py")
        assert here in levels or here == "__init__", f"docs/architecture.md does not name {package}/{here}"
        above = {name for name in own_imports(path) if levels.get(name, -1) > levels.get(here, len(levels))}
        upwards += [f"{path.relative_to(ROOT)} imports {name}" for name in sorted(above)]
    assert upwards == []


def test_wheel_requires_what_the_backend_imports() -> None:
    modules = {module.split(".")[0] for path in (ROOT / "scale_backend").rglob("*.py") for module in imports(path)}
    required = modules - set(sys.stdlib_module_names) - {"scale_backend"} - set(OPTIONAL)
    assert required == set(build_addon.BACKEND_NEEDS)


# What ships.


def test_zip_holds_what_is_named_and_nothing_else(addon_zip: Path) -> None:
    names = set(zipfile.ZipFile(addon_zip).namelist())
    modules = {name for name in names if re.fullmatch(r"[\w/]+\.py", name)}
    wheel_name, _ = build_addon.backend_wheel()
    tables = {path.relative_to(build_addon.ADDON).as_posix() for path in build_addon.tables()}
    assets = {f"assets/{name}" for name in build_addon.ASSETS}
    assert tables and tables <= names
    assert assets - {f"assets/{name}" for name in build_addon.missing_assets()} <= names
    stated = {"blender_manifest.toml", "LICENSE", f"wheels/{wheel_name}", "wheels.sha256"}
    assert names - modules - assets - tables == stated
    assert "__init__.py" in modules


def test_everything_named_is_there() -> None:
    assert build_addon.missing_assets() == []


def test_zip_passes_blenders_own_validation(addon_zip: Path) -> None:
    build_addon.validate(addon_zip)


def test_same_tree_gives_the_same_zip() -> None:
    assert build_addon.extension() == build_addon.extension()


def test_wheel_is_pure_and_its_record_is_right(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = next(name.split("/")[0] for name in names if name.endswith(".dist-info/RECORD"))
        record = dict(line.split(",")[:2] for line in archive.read(f"{info}/RECORD").decode().splitlines())
        assert set(record) == names
        for name, hashed in record.items():
            assert hashed in ("", f"sha256={build_addon.digest(archive.read(name))}")
    code = {name for name in names if not name.startswith(info)}
    assert all(name.startswith("scale_backend/") and name.endswith(".py") for name in code)


def test_pip_installs_the_wheel(wheel: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(tmp_path), str(wheel)]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "scale_backend" / "__init__.py").is_file()
    assert (tmp_path / "bin" / "scale-backend").is_file()


def test_no_pickle_in_what_ships(addon_zip: Path) -> None:
    for name in zipfile.ZipFile(addon_zip).namelist():
        assert not name.endswith((".pkl", ".pt", ".pth", ".ckpt"))
        if name.endswith(".npz"):
            arrays = zipfile.ZipFile(io.BytesIO(zipfile.ZipFile(addon_zip).read(name)))
            assert all(b"'|O'" not in arrays.read(array)[:128] for array in arrays.namelist()), name


def test_every_asset_that_ships_is_described() -> None:
    described = (ROOT / "assets" / "README.md").read_text()
    assert [name for name in build_addon.ASSETS if name != "README.md" and f"`{name}`" not in described] == []


# What the pages say.


def pages() -> list[Path]:
    """README and the other pages for people who read."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors(page: Path) -> set[str]:
    """What a link may name after # on a page: its headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_is_short_and_names_what_to_try() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 120
    assert re.search(r"^make demo\b", text, re.MULTILINE) and re.search(r"^make test\b", text, re.MULTILINE)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_page_is_short_and_its_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    assert len(text.splitlines()) < 200
    if f"({page.relative_to(ROOT).as_posix()})" in (ROOT / "README.md").read_text():
        assert re.search(r"^# .+\n\nThis page is for ", text), "the first sentence does not say for whom it is"
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def commands(text: str) -> list[str]:
    """What a page shows as code: lines of blocks and spans between backticks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [*(line.strip() for block in blocks for line in block.splitlines()), *re.findall(r"`([^`\n]+)`", rest)]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_page_names_commands_options_and_files_that_there_are(page: Path, capsys: pytest.CaptureFixture) -> None:
    shown = commands(page.read_text())
    for line in shown:
        if found := re.search(r"\b(scale-backend|scale-train) ([a-z][a-z-]*)(.*)", line):
            program, command, rest = found.groups()
            assert option_names(program, command, capsys) >= set(re.findall(r"--[a-z][a-z-]+", rest)), line
    folders = "blender_addon|scale_backend|training|tests|demo|docs|assets"
    files = [name for name in shown if re.fullmatch(rf"(?:{folders})/[\w./-]+", name)]
    assert [name for name in files if not (ROOT / name).exists()] == []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {line.split()[1] for line in shown if re.match(r"make [a-z]", line)} <= targets


def option_names(program: str, command: str, capsys: pytest.CaptureFixture) -> set[str]:
    """The options of a command, from its help. Fails for a command that there is not."""
    main = {"scale-backend": backend_cli.main, "scale-train": training_cli.main}[program]
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0, f"{program} has no command {command}"
    return set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))


# What must not be in the tree.


def test_no_paths_of_one_machine() -> None:
    machine = re.compile(rb"(?<![\w.~])/" + rb"(work|root|farm|home/[a-z]+)/")
    text = [path for path in tracked() if path.suffix in {".py", ".md", ".toml", ".yaml", ".sh", ".json", ".obj", ""}]
    assert [str(path.relative_to(ROOT)) for path in text if machine.search(path.read_bytes())] == []


def test_large_files_are_assets() -> None:
    large = [path for path in tracked() if path.stat().st_size > 3 << 20]
    assert [path for path in large if (ROOT / "assets") not in path.parents] == []


def test_no_module_is_long() -> None:
    modules = tracked("*.py")
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in modules}
    assert {str(path): lines for path, lines in lengths.items() if lines > 400} == {}


def test_page_on_code_for_processors_is_short_and_names_files_that_there_are() -> None:
    folder = ROOT / "scale_backend" / "cpu"
    text = (folder / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    named = set(re.findall(r"`([\w/]+\.py)`", text))
    known = [name for name in named if any((base / name).is_file() for base in (folder, folder.parent, ROOT))]
    assert named and named - set(known) == set()
    assert {path.name for path in folder.glob("*.py")} - {"__init__.py"} <= named


def test_licence_is_the_gpl() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "GNU GENERAL PUBLIC LICENSE" in text and "Version 3, 29 June 2007" in text
    assert "CC0 1.0 Universal" in (ROOT / "assets" / "LICENSE").read_text()


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff_is_content(command: list[str]) -> None:
    """Types, which take longer, are looked at once: by `make lint`, which CI runs too."""
    ran = subprocess.run([sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


def test_version_is_written_in_one_place(addon_zip: Path) -> None:
    manifest = zipfile.ZipFile(addon_zip).read("blender_manifest.toml").decode()
    assert f'version = "{build_addon.version()}"' in manifest
    assert addon_zip.name == f"scale_clothing-{build_addon.version()}.zip"
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()
