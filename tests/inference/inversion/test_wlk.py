import pytest
import torch
from torch import nn

from inverseflow.errors import OptionError
from inverseflow.inference import invert
from inverseflow.inference.inversion.wlk import input_deltas
from inverseflow.nets import MLP
from tests.inference.inversion.networks import mlp


@pytest.mark.parametrize("activation", [nn.Tanh, nn.Sigmoid, nn.ReLU, nn.Identity])
def test_deltas_equal_automatic_differentiation(activation):
    network = nn.Sequential(*mlp(3, 5, 4, 2, activation=activation), activation())
    target, mask = torch.tensor([0.3, -0.4]).double(), torch.tensor([True, False])
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    expected = (network(x)[:, 0] - target[0]).square()
    error, gradient = input_deltas(network)(x.detach(), target, mask)
    (derivative,) = torch.autograd.grad(expected.sum(), x)
    assert torch.allclose(error, expected, rtol=0, atol=1e-12)
    assert torch.allclose(gradient, derivative, rtol=0, atol=1e-12)


@pytest.mark.parametrize("step", ["plain", "backtracking"])
def test_deltas_lead_to_the_same_solutions_as_gradients(step):
    network = mlp(2, 6, 2)
    found = [
        invert(network, [0.1, 0.2], method=method, step=step, restarts=3, max_evaluations=90)
        for method in ("gradient", "wlk")
    ]
    assert torch.allclose(found[0].solutions, found[1].solutions, rtol=0, atol=1e-12)
    assert [each.gradients for each in found] == [found[0].gradients] * 2


def test_nested_networks_are_taken_and_others_refused():
    network = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), MLP(3, 1, width=8))
    nn.init.normal_(network[2][-1].weight)
    target = network(torch.zeros(1, 2))[0]
    assert invert(network, target, method="wlk", restarts=2).converged
    for network, name in ((nn.Sequential(nn.Linear(2, 1), nn.GELU()), "GELU"), (lambda x: x, "function")):
        with pytest.raises(OptionError, match=f"this network has a {name}"):
            invert(network, [0.3], inputs=2, method="wlk")
