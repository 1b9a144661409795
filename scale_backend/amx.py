"""Matrix tiles (Intel AMX): whether this process may use them, and code for them made ready to run.

llvmlite, which numba brings, compiles the code; where it, Linux or such a CPU is missing, `available` says no.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec

from scale_backend import amx_code
from scale_backend.amx_code import Chain
from scale_backend.devices import cpu_flags

NEEDED = {"amx_tile", "amx_bf16", "avx512_bf16", "avx512f", "avx512bw", "avx512dq", "avx512vl"}
ARCH_PRCTL, ASK_FOR_STATE, TILE_DATA = 158, 0x1023, 18  # Linux' call by which a process gets its tiles
OLDEST_LLVM = 20  # which knows `splat`

compiling = threading.Lock()


@functools.cache
def available() -> bool:
    """Whether this process can compute with tiles."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or not set(cpu_flags()) >= NEEDED:
        return False
    if find_spec("llvmlite") is None:
        return False
    try:
        import llvmlite.binding as llvm

        if llvm.llvm_version_info[0] < OLDEST_LLVM:
            return False
        return ctypes.CDLL(None, use_errno=True).syscall(ARCH_PRCTL, ASK_FOR_STATE, TILE_DATA) == 0
    except (ImportError, OSError, AttributeError):  # a broken llvmlite, or another C library
        return False


def compiled(chain: Chain) -> Callable[..., None]:
    """The code of a chain as a function of addresses and a count. It computes without Python's lock."""
    with compiling:
        return _compiled(chain)


@functools.cache
def _compiled(chain: Chain) -> Callable[..., None]:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(amx_code.module(chain))
    module.verify()
    machine = llvm.Target.from_default_triple().create_target_machine(cpu="sapphirerapids", opt=2)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 6, ctypes.c_int64)(engine.get_function_address("chain"))
    function.engine = engine  # which owns the code
    return function
