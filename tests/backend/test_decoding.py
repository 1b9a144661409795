"""Errors of devices, as torch words them, become sentences; other errors stay what they are."""

import pytest
import torch

from scale_backend.decoding.batches import failure_sentence


@pytest.mark.parametrize(
    ("error", "device", "sentence"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), "cuda", "use the device 'cpu'."),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), "mps", "The Apple GPU has too little memory"),
        (MemoryError(), "cpu", "The CPU has too little memory left for one frame; close other programs."),
        (RuntimeError("CUDA error: no kernel image\nmore"), "cuda", "failed (CUDA error: no kernel image)"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_FAILED"), "cuda", "restart the backend, or use the device 'cpu'."),
    ],
)  # fmt: skip
def test_a_device_that_fails_is_named(error, device, sentence):
    assert sentence in failure_sentence(error, device)


def test_an_allocation_that_really_fails_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert "too little memory" in failure_sentence(caught.value, "cpu")


def test_other_errors_are_not_the_devices():
    assert failure_sentence(RuntimeError("shapes do not match"), "cuda") == ""
