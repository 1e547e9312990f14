import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from inverseflow.bijections import ActNorm, AffineCoupling, Compose
from inverseflow.flows import Flow, InverseFlow, Step
from inverseflow.nets import MLP
from tests.contracts.registry import perturb


class Saved:
    """Counts the bytes that the backward pass keeps."""

    def __init__(self):
        self.bytes = 0

    def __enter__(self):
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)
        self._hooks.__enter__()
        return self

    def __exit__(self, *error):
        self._hooks.__exit__(*error)

    def _pack(self, tensor):
        self.bytes += tensor.numel() * tensor.element_size()
        return tensor


class Operations(TorchDispatchMode):
    """Counts operations."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def flow():
    return perturb(InverseFlow((1, 8, 8), levels=None, scales=1, steps=4, width=16, spline="none"))


def test_checkpointing_keeps_less_for_the_backward_pass():
    model, x = flow(), torch.randn(16, 1, 8, 8)
    kept = {}
    for enabled in (False, True):
        model.gradient_checkpointing = enabled
        with Saved() as saved:
            model.log_prob(x).sum()
        kept[enabled] = saved.bytes
    assert kept[True] < kept[False] / 4


def test_checkpointing_is_off_at_first_and_costs_nothing_without_gradients():
    model, x = flow(), torch.randn(2, 1, 8, 8)
    assert model.gradient_checkpointing is False
    counts = []
    for enabled in (False, True):
        model.gradient_checkpointing = enabled
        with torch.no_grad(), Operations() as operations:
            model.log_prob(x)
        counts.append(operations.count)
    assert counts[0] == counts[1]


def test_the_switch_reaches_every_step_of_this_flow_and_of_no_other():
    model, other = flow(), flow()
    model.gradient_checkpointing = True
    assert [module.gradient_checkpointing for module in model.modules() if isinstance(module, Step)] == [True] * 4
    assert other.gradient_checkpointing is False


def test_a_flow_without_steps_has_nothing_to_switch():
    model = Flow(ActNorm(2), (2,))
    model.gradient_checkpointing = True
    assert model.gradient_checkpointing is False


def test_a_step_is_a_composition():
    layers = [ActNorm(4), AffineCoupling(4, MLP(2 + 1, 4, width=3), context_channels=1)]
    step = perturb(Step(*layers))
    x, context = torch.randn(3, 4), torch.randn(3, 1)
    expected = Compose(*layers)(x, context)
    step.gradient_checkpointing = True
    torch.testing.assert_close(step(x, context), expected)
    torch.testing.assert_close(step.inverse(expected[0], context)[0], x)


@pytest.mark.parametrize("enabled", [False, True])
def test_second_derivatives_pass_through_steps(enabled):
    model = flow().double()
    model.gradient_checkpointing = enabled
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    (score,) = torch.autograd.grad(model.log_prob(x).sum(), x, create_graph=True)
    score.square().sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert any(gradient is not None and gradient.any() for gradient in gradients)
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)
