"""Decode a motion in batches: as many frames at a time as memory allows, with errors a user can act on."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import numpy as np
import torch

from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.garment_header import GarmentError
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.machine.devices import DeviceError, label

BATCH = 16  # frames
GPU_LIBRARIES = ("CUDA error", "CUDNN", "cuDNN", "cuBLAS", "CUBLAS", "MPS")  # as errors name them
ONEDNN_MEMORY = "could not create a primitive"  # it never tries that one again
MEMORY_WORDS = ("can't allocate memory", "bad_alloc", ONEDNN_MEMORY)  # in plain RuntimeErrors of torch on a CPU


def decode_batches(
    decoder: Decoder, poses: Poses, options: DecodeOptions, batch: int = BATCH
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:  # first frame, points [B, M, 3], normals [B, M, 3]
    """Decode batch after batch. A batch that does not fit in memory is halved, down to one frame.

    Raises PoseError for poses that are none, DeviceError when one frame does not fit or the device fails.
    """
    poses.check()
    first, total = 0, len(poses)

    def attempt(last: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """None when memory is short and fewer frames can be tried."""
        try:
            return decoder.decode(poses[first:last], options)
        except (RuntimeError, MemoryError) as error:
            if last - first > 1 and failure(error) == "memory":
                return None
            sentence = failure_sentence(error, decoder.model.device.type)
            if not sentence:
                raise
            raise DeviceError(sentence) from error

    while first < total:
        last = min(first + batch, total)
        decoded = attempt(last)
        if decoded is None:
            batch = (last - first) // 2
            release_memory()  # here the failed attempt's arrays are no longer held by its traceback
            continue
        points, normals = decoded[0].numpy(), decoded[1].numpy()
        if not (np.isfinite(points).all() and np.isfinite(normals).all()):
            name = decoder.model.garment.name
            raise GarmentError(f"The garment '{name}' gives numbers that are not finite; train it again.")
        yield first, points, normals
        first = last


def failure(error: BaseException) -> str | None:
    """What kind of failure an exception of torch is: "memory", "device", or None for anything else."""
    text = str(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "out of memory" in text:
        return "memory"
    if any(words in text for words in MEMORY_WORDS):
        return "memory"
    if isinstance(error, getattr(torch, "AcceleratorError", ())) or any(name in text for name in GPU_LIBRARIES):
        return "device"
    return None


def release_memory() -> None:
    """Give cached memory back to the device, so that a smaller batch finds room."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def failure_sentence(error: BaseException, device: str) -> str:
    """What the user is told when the device fails or is too small; empty for any other error."""
    kind = failure(error)
    if kind == "memory":
        elsewhere = "close other programs" if device == "cpu" else "close other programs, or use the device 'cpu'"
        elsewhere += ", then restart the backend" if ONEDNN_MEMORY in str(error) else ""
        return f"The {label(device)} has too little memory left for one frame; {elsewhere}."
    if kind == "device":
        reason = str(error).splitlines()[0]
        return f"The {label(device)} failed ({reason}); restart the backend, or use the device 'cpu'."
    return ""
