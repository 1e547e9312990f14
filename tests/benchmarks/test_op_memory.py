"""Memory of the methods of a case, here and in the process that gives back what is freed."""

import dataclasses
import sys

import pytest
import torch

from benchmarks.cases import Case
from benchmarks.op_memory import MemoryMeter, memories

CASE = Case(4, 3, 16, 3)


@pytest.fixture(scope="module")
def meter():
    with MemoryMeter.started() as started:
        yield started


def test_the_other_process_counts_the_same_tensors(meter):
    here, there = memories(CASE, torch.device("cpu")), meter.measure(CASE)
    assert list(here) == list(there)
    for method, parts in there.items():
        for part, memory in parts.items():
            assert memory.tensors == pytest.approx(here[method][part].tensors, abs=64)


def test_forward_returns_an_image_and_training_two_and_a_kernel(meter):
    for method in ("blocked", "native"):
        measured = meter.measure(CASE).get(method)
        if measured is not None:
            assert measured["forward"].tensors >= CASE.bytes
            assert measured["training"].tensors >= 2 * CASE.bytes + CASE.kernel_bytes


@pytest.mark.skipif(sys.platform != "linux", reason="reads the resident set from /proc")
def test_native_holds_little_more_than_the_results(meter):
    case = Case(64, 12, 32, 3)
    measured = meter.measure(case).get("native")
    if measured is None or measured["training"].resident is None:
        pytest.skip("no native backend, or a system that forbids to reset the high-water mark")
    assert 1.9 * case.bytes < measured["training"].resident < 3 * case.bytes


def test_an_end_of_the_process_is_reported_every_time():
    wrong = dataclasses.replace(CASE, batch=1, channels=0, side=8)
    with MemoryMeter.started() as meter:
        for _ in range(2):
            with pytest.raises(RuntimeError, match=r"ended at 1×0×8×8, k=3 with code 1"):
                meter.measure(wrong)
