import sys

import pytest
import torch

from benchmarks.memory import peak_memory

CPU = torch.device("cpu")
MEBIBYTE = 1 << 20


def test_the_result_and_what_is_released_on_the_way_count():
    x = torch.randn(MEBIBYTE // 4)
    assert peak_memory(lambda: (x + 1) * 2, CPU).tensors == pytest.approx(2 * MEBIBYTE, abs=64)  # two numbers beside


def test_what_was_there_before_does_not_count():
    x = torch.randn(MEBIBYTE)
    assert peak_memory(lambda: x.mul_(2), CPU).tensors < 64  # a scalar


@pytest.mark.skipif(sys.platform != "linux", reason="reads the resident set from /proc")
def test_memory_that_torch_does_not_see_counts_as_resident():
    def hidden():
        behind = bytearray(64 * MEBIBYTE)
        return torch.full((4 * MEBIBYTE,), float(behind[0]))

    memory = peak_memory(hidden, CPU)
    assert 16 * MEBIBYTE <= memory.tensors < 17 * MEBIBYTE
    if memory.resident is not None:  # the system may forbid to reset the high-water mark
        assert memory.resident > 60 * MEBIBYTE
