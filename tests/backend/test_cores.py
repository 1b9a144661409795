"""Work shared by cores."""

import torch

from scale_backend.machine.cores import Cores


def test_a_core_computes_alone_whatever_it_computes_first():
    """torch resets a thread's number of threads at the first parallel operation in it."""

    def threads_after_work(_: int) -> int:
        torch.nn.functional.silu(torch.randn(512, 512))
        return torch.get_num_threads()

    cores = Cores(2)
    assert set(cores.map(threads_after_work, range(6))) == {1}
