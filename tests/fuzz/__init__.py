"""Damaged files and malformed messages, made by hypothesis. `make fuzz MINUTES=30` tries other ones for longer."""

import os

from hypothesis import settings

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))  # of each reader
settings.register_profile("same", derandomize=True)  # the same ones in every `make test`
settings.register_profile("other")
settings.load_profile(os.environ.get("FUZZ_PROFILE", "same"))
