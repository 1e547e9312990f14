"""What is kept of kernels is theirs, whatever happens to them."""

import threading

import pytest
import torch

from inverseflow.ops import backend, inv_conv2d
from inverseflow.ops._backends import blocked
from inverseflow.ops._backends.blocked import KernelCache


class Counted:
    """Doubles, and counts how often."""

    def __init__(self):
        self.calls = 0

    def __call__(self, weight):
        self.calls += 1
        return 2 * weight


@pytest.mark.parametrize(
    "change",
    [
        lambda weight: weight.mul_(3),
        lambda weight: weight.data.mul_(3),
        lambda weight: weight.detach().numpy().__imul__(3),
        lambda weight: torch.optim.SGD([weight], lr=1.0).step(),
    ],
)
def test_a_changed_kernel_is_computed_again_whoever_changed_it(change):
    kept, compute, weight = KernelCache(1 << 20), Counted(), torch.nn.Parameter(torch.ones(2, 3))
    weight.grad = torch.ones(2, 3)
    with torch.no_grad():
        assert kept.get(weight, 0, compute) is kept.get(weight, 0, compute)
        assert compute.calls == 1
        change(weight)
        assert torch.equal(kept.get(weight, 0, compute), 2 * weight)
    assert compute.calls == 2


def test_what_else_it_depends_on_tells_results_apart():
    kept, weight = KernelCache(1 << 20), torch.ones(2, 3)
    assert torch.equal(kept.get(weight, "twice", lambda kernel: 2 * kernel), 2 * weight)
    assert torch.equal(kept.get(weight, "thrice", lambda kernel: 3 * kernel), 3 * weight)
    assert torch.equal(kept.get(weight.t(), "twice", lambda kernel: 2 * kernel), 2 * weight.t())


def test_a_recorded_gradient_is_never_kernel_cache():
    kept, compute, weight = KernelCache(1 << 20), Counted(), torch.ones(2, requires_grad=True)
    for _ in range(2):
        (gradient,) = torch.autograd.grad(kept.get(weight, 0, compute).sum(), weight)
        assert torch.equal(gradient, torch.full((2,), 2.0))
    assert compute.calls == 2


def test_those_used_least_recently_go_first():
    kept, compute = KernelCache(2 * (40 + 40)), Counted()
    first, second, third = (torch.full((10,), float(number)) for number in range(3))
    for weight in (first, second, first, third, first):
        kept.get(weight, 0, compute)
    assert compute.calls == 3
    kept.get(second, 0, compute)
    assert compute.calls == 4


def test_a_result_larger_than_everything_is_returned_and_not_kernel_cache():
    kept, compute, small, large = KernelCache(100), Counted(), torch.ones(10), torch.ones(20)
    kept.get(small, 0, compute)
    assert torch.equal(kept.get(large, 0, compute), 2 * large)
    kept.get(large, 0, compute)
    assert compute.calls == 3
    kept.get(small, 0, compute)  # which it did not push out
    assert compute.calls == 3


def test_nobody_waits_for_a_thread_that_computes():
    kept, weight, started, goes_on = KernelCache(1 << 20), torch.ones(2), threading.Event(), threading.Event()

    def slow(kernel):
        started.set()
        assert goes_on.wait(10)
        return 2 * kernel

    thread = threading.Thread(target=kept.get, args=(weight, 0, slow))
    thread.start()
    assert started.wait(10)
    assert torch.equal(kept.get(weight, 0, Counted()), 2 * weight)
    goes_on.set()
    thread.join()


def test_inference_makes_the_matrices_of_a_kernel_once(monkeypatch):
    calls = []
    made = blocked.window_matrix
    monkeypatch.setattr(blocked, "window_matrix", lambda *inputs: calls.append(0) or made(*inputs))
    y, weight = torch.randn(2, 3, 8, 8), 0.1 * torch.randn(3, 3, 3, 3)
    with backend("blocked"):
        first = inv_conv2d(y, weight, unitriangular=True)
        assert torch.equal(inv_conv2d(y, weight, unitriangular=True), first)
        assert len(calls) == 1
        inv_conv2d(y, weight.mul_(2), unitriangular=True)
        assert len(calls) == 2
        inv_conv2d(y, weight, unitriangular=True, corner="top_right")
        assert len(calls) == 3
