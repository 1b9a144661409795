"""`scale-train`: what it says, and how it ends."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from training.cli import COMMANDS, main
from training.recipes import find_recipe, shipped


def test_usage_names_every_command(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in COMMANDS)
    assert main([]) == 2


def test_a_misspelt_command_is_helped(capsys):
    assert main(["trian"]) == 2
    assert "did you mean train?" in capsys.readouterr().err


@pytest.mark.parametrize("name", [n for n in COMMANDS if n != "simulate"])
def test_every_command_has_settings_and_run(name):
    module_name, settings_name, _ = COMMANDS[name]
    module = import_module(module_name)
    assert hasattr(module, settings_name) and callable(module.run)


def test_a_mistake_is_one_sentence_and_a_failing_exit(capsys, tmp_path):
    assert main(["train", str(tmp_path / "none.yaml")]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("scale-train train: There is no recipe") and "\n" not in error


def test_recipes_that_ship_are_listed_and_printed(capsys):
    assert main(["recipe"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in shipped())
    assert main(["recipe", "dress"]) == 0
    assert capsys.readouterr().out == find_recipe("dress").read_text()
    assert main(["recipe", "dres"]) == 2
    assert "There is no recipe dres; name a YAML file, or one that ships (dress" in capsys.readouterr().err


def test_help_says_what_is_wanted(capsys):
    for command, name in (("evaluate", "GARMENT"), ("test", "GARMENT"), ("train", "RECIPE"), ("check", "FOLDER")):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        printed = capsys.readouterr().out
        assert ended.value.code == 0 and name in printed and " STR" not in printed.splitlines()[0]


def test_a_reader_who_has_seen_enough_is_no_mistake():
    command = [sys.executable, "-m", "training.cli", "train", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait(60) == 141


def test_usage_needs_no_torch():
    check = "import sys, training.cli; training.cli.main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True).returncode == 0
