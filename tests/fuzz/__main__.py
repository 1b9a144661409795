"""`python -m tests.fuzz MINUTES`: other examples than those of `make test`, for so long; stops at the first failure."""

from __future__ import annotations

import os
import subprocess
import sys
import time


def main(minutes: float) -> int:
    end, rounds = time.monotonic() + 60 * minutes, 0
    environment = {"FUZZ_EXAMPLES": "300", **os.environ, "FUZZ_PROFILE": "other"}
    while time.monotonic() < end:
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", "tests/fuzz"], env=environment)
        if done.returncode:
            print("Keep the file that failed in tests/fuzz/seeds, as NUMBER-READER'S FILE.")
            return done.returncode
        rounds += 1
    print(f"{rounds} rounds of {environment['FUZZ_EXAMPLES']} examples a reader, and no failure")
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0))
