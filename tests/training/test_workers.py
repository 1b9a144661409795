"""Child processes end with the process that started them."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.training.test_pairs import write_pair
from training.frames.child_processes import follow_parent

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
    follow_parent()
    started.set()
    time.sleep(60)


def test_a_worker_does_not_outlive_a_killed_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment()) as parent:
        assert parent.stdout.readline() == b"started\n"
        parent.kill()
        parent.communicate(timeout=20)  # ends only once the worker has closed its copy of the pipe


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_packing_leaves_no_process_behind_and_goes_on(tmp_path, number):
    """Stopped by Ctrl-C, which reaches all processes, or killed, which does not."""
    for pair in range(5):
        write_pair(tmp_path / "raw", f"shirt_walk.{pair:05d}", pair)
    command = [sys.executable, "-m", "training.cli", "pack", "raw", "--out", "packed", "--processes", "2", "--points",
               "1000"]  # fmt: skip
    started = {"cwd": tmp_path, "env": environment(), "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **started) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("packed/train/*.npz")) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(process.pid, number) if number == signal.SIGINT else process.kill()
        error = process.communicate(timeout=30)[1]  # ends only once all processes have closed their copy of the pipe
    assert process.returncode == (130 if number == signal.SIGINT else -number), error
    assert "Traceback" not in error
    done = subprocess.run(command, **started)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "packed" / "train").glob("*.npz"))) == 5


def environment() -> dict[str, str]:
    from pathlib import Path

    return os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
