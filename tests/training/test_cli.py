"""`scale-train`: what it says, and how it ends."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from training.cli import COMMANDS, main


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
    assert main(["train", str(tmp_path / "none.yaml")]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("scale-train train: The recipe") and "\n" not in error


def test_usage_needs_no_torch():
    check = "import sys, training.cli; training.cli.main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True).returncode == 0
