"""Simulation processes end with the process that started them."""

import subprocess
import sys

from training.simulate.workers import leave_with_parent

PARENT = """
import multiprocessing, time
from tests.training.test_workers import stay

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    context.Process(target=stay, args=(started,), daemon=True).start()
    assert started.wait(30)
    print("started", flush=True)
    time.sleep(60)
"""


def stay(started) -> None:
    import time

    leave_with_parent()
    started.set()
    time.sleep(60)


def test_a_worker_does_not_outlive_a_killed_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment()) as parent:
        assert parent.stdout.readline() == b"started\n"
        parent.kill()
        parent.communicate(timeout=20)  # ends only once the worker has closed its copy of the pipe


def environment() -> dict[str, str]:
    import os
    from pathlib import Path

    return os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
