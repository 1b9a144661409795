"""softplus in place, as code of our own, for layers that torch multiplies.

torch's own costs more than the matrix products between it: it takes an exponential and a logarithm from a library, a
number at a time, for bfloat16 too.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from scale_backend.cpu import llvm_jit
from scale_backend.cpu.activations import ACTIVATIONS
from scale_backend.cpu.code import Code, declarations
from scale_backend.cpu.vector_code import UNITS

SIZES = {torch.float32: 4, torch.bfloat16: 2}  # bytes of what there is code for
PORTABLE = 4  # floats of a vector where this CPU's own are not known
HALF = 0x8000  # half of bfloat16's last digit, in a float32's bits


def softplus_(x: Tensor) -> Tensor:  # contiguous, bfloat16 or float32, on the CPU
    """softplus in place. Needs llvmlite."""
    lanes = llvm_jit.vector_lanes() or PORTABLE
    values = x.view(-1)
    whole = len(values) - len(values) % lanes
    if whole:
        compiled(lanes)[x.dtype](values.data_ptr(), whole // lanes)
    if whole < len(values):
        values[whole:] = functional.softplus(values[whole:])
    return x


def compiled(lanes: int) -> dict[torch.dtype, Callable[..., None]]:
    """Functions of an address and a number of vectors. They compute without Python's lock."""
    with llvm_jit.compiling:
        return _compiled(lanes)


@functools.cache
def _compiled(lanes: int) -> dict[torch.dtype, Callable[..., None]]:
    names = ["f32", "bf16"]
    return dict(
        zip(SIZES, llvm_jit.functions(module(lanes), names, [ctypes.c_void_p, ctypes.c_int64], ""), strict=True)
    )


def module(lanes: int) -> str:
    """The code: void f32(values, vectors) and bf16(values, vectors)."""
    units = f'"prefer-vector-width"="512" "target-features"="{UNITS[lanes]}"' if lanes in UNITS else ""
    functions = [_function(lanes, "f32", 4), _function(lanes, "bf16", 2)]
    return "\n".join([declarations(lanes), *functions, f"attributes #0 = {{ nounwind {units} }}\n"])


def _function(lanes: int, name: str, size: int) -> str:
    code = Code(lanes)
    code("br label %loop")
    code.label("loop")
    code("%k = phi i64 [0, %entry], [%next, %loop]")
    place = code.at("%values", code.times("%k", size * lanes))
    if size == 4:
        code.store(ACTIVATIONS["softplus"](code, code.load(place)), place)
    else:
        _store_rounded(code, ACTIVATIONS["softplus"](code, _load_widened(code, place)), place)
    code("%next = add i64 %k, 1")
    code("%more = icmp ult i64 %next, %vectors")
    code("br i1 %more, label %loop, label %end")
    code.label("end")
    return code.function(f"void @{name}(ptr noalias %values, i64 %vectors)")


def _load_widened(code: Code, place: str) -> str:
    """bfloat16 as float32: its bits are the upper half."""
    half, whole = f"<{code.lanes} x i16>", f"<{code.lanes} x i32>"
    bits = code.let(f"zext {half} {code.let(f'load {half}, ptr {place}, align 2')} to {whole}")
    return code.let(f"bitcast {whole} {code.let(f'shl {whole} {bits}, splat (i32 16)')} to {code.floats}")


def _store_rounded(code: Code, value: str, place: str) -> None:
    """To bfloat16; halves away from zero."""
    half, whole = f"<{code.lanes} x i16>", f"<{code.lanes} x i32>"
    bits = code.let(f"add {whole} {code.let(f'bitcast {code.floats} {value} to {whole}')}, splat (i32 {HALF})")
    upper = code.let(f"lshr {whole} {bits}, splat (i32 16)")
    code(f"store {half} {code.let(f'trunc {whole} {upper} to {half}')}, ptr {place}, align 2")
