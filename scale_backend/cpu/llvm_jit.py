"""Code for LLVM made ready to run by llvmlite, a wheel that brings LLVM with it: no compiler on the user's machine."""

from __future__ import annotations

import ctypes
import functools
import platform
import threading
from collections.abc import Callable, Sequence
from importlib.util import find_spec

from scale_backend.cpu import tile_code, vector_code
from scale_backend.cpu.chain import BRANCHES
from scale_backend.cpu.tile_code import TileChain
from scale_backend.cpu.vector_code import SingleLayers, VectorChain

OLDEST_LLVM = 20  # which knows `splat`
NEEDED = {16: {"avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"}, 8: {"avx2", "fma"}}

compiling = threading.Lock()


@functools.cache
def available() -> bool:
    """Whether there is an llvmlite that is new enough."""
    if find_spec("llvmlite") is None:
        return False
    try:
        import llvmlite.binding as llvm

        return llvm.llvm_version_info[0] >= OLDEST_LLVM
    except (ImportError, OSError, AttributeError):  # a broken one
        return False


@functools.cache
def vector_lanes() -> int:
    """How many floats a vector has for which there is code: 16 (AVX-512), 8 (AVX2) or, without code, 0."""
    if platform.machine() not in ("x86_64", "AMD64") or not available():
        return 0
    import llvmlite.binding as llvm

    features = {name for name, there in llvm.get_host_cpu_features().items() if there}
    return next((lanes for lanes, needed in NEEDED.items() if features >= needed), 0)


def compiled(chain: TileChain | VectorChain) -> dict[int, Callable[..., None]]:
    """The code of a chain: functions of seven addresses and a count, by their number of branches.

    They compute without Python's lock.
    """
    with compiling:
        return _compiled(chain)


@functools.cache
def _compiled(chain: TileChain | VectorChain) -> dict[int, Callable[..., None]]:
    tiles = isinstance(chain, TileChain)
    text = (tile_code if tiles else vector_code).module(chain)
    names = [f"chain{branches}" for branches in BRANCHES]
    compiled = functions(text, names, [ctypes.c_void_p] * 7 + [ctypes.c_int64], "sapphirerapids" if tiles else "")
    return dict(zip(BRANCHES, compiled, strict=True))


def linear(lanes: int) -> dict[str, Callable[..., None]]:
    """Single layers, by their activation: functions of four addresses and three counts. Without Python's lock too."""
    with compiling:
        return _linear(lanes)


@functools.cache
def _linear(lanes: int) -> dict[str, Callable[..., None]]:
    names = SingleLayers.activations
    kinds = [ctypes.c_void_p] * 4 + [ctypes.c_int64] * 3
    compiled = functions(vector_code.layers_module(SingleLayers(lanes)), names, kinds, "")
    return dict(zip(names, compiled, strict=True))


def functions(text: str, names: Sequence[str], arguments: Sequence[type], cpu: str) -> list[Callable[..., None]]:
    """Compiled for a CPU, by default this one."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(text)
    module.verify()
    cpu = cpu or llvm.get_host_cpu_name()
    machine = llvm.Target.from_default_triple().create_target_machine(cpu=cpu, opt=2)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(None, *arguments)
    compiled = [kind(engine.get_function_address(name)) for name in names]
    for function in compiled:
        function.engine = engine  # type: ignore[attr-defined]  # it owns the code, and must live as long
    return list(compiled)
