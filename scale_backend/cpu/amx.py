"""Matrix tiles (Intel AMX): whether this process may use them."""

from __future__ import annotations

import ctypes
import functools
import platform
import sys

from scale_backend.cpu import llvm_jit
from scale_backend.machine.devices import cpu_flags

NEEDED = {"amx_tile", "amx_bf16", "avx512_bf16", "avx512f", "avx512bw", "avx512dq", "avx512vl"}
ARCH_PRCTL, ASK_FOR_STATE, TILE_DATA = 158, 0x1023, 18  # Linux' call by which a process gets its tiles


@functools.cache
def available() -> bool:
    """Whether this process can compute with tiles, by code that llvmlite compiles. Only Linux lends them so far."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or not set(cpu_flags()) >= NEEDED:
        return False
    if not llvm_jit.available():
        return False
    try:
        return ctypes.CDLL(None, use_errno=True).syscall(ARCH_PRCTL, ASK_FOR_STATE, TILE_DATA) == 0
    except (OSError, AttributeError):  # another C library
        return False
