import pytest
import torch

from inverseflow.inference import build_method
from inverseflow.inference.methods.inn import LikelihoodINN
from inverseflow.inference.methods.reverse import Gate

NAMES = ["maf-reverse", "iaf-reverse"]


def built(name, dims=3, observed=2):
    model = build_method(name, dims, observed, steps=2, width=8, depth=1, reverse_width=8, reverse_depth=1).double()
    x = torch.randn(100, dims, dtype=torch.float64)
    model.initialize(x, x[:, :observed])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model, x


@pytest.mark.parametrize("name", NAMES)
def test_errors_are_zero_with_the_inverse_of_the_map_in_place_of_the_network(name):
    model, x = built(name)
    y = x[:, :2]
    assert (model.cycle_error(x) > 1e-3).all()
    model.reverse = torch.nn.Module()
    model.reverse.forward = lambda joint: model.to_parameters(joint)[0]
    assert model.cycle_error(x).max() < 1e-10
    assert model.sampling_error(50, y[0]).max() < 1e-10
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    exact = LikelihoodINN.sample(model, 50, y[0], generator=generators[0])
    torch.testing.assert_close(model.sample(50, y[0], generator=generators[1]), exact)


@pytest.mark.parametrize("name", NAMES)
def test_the_density_trains_the_map_alone_and_the_cycle_the_network_alone(name):
    model, x = built(name)
    loss = model.loss(x, x[:, :2])
    torch.testing.assert_close(loss.total, loss.terms["nats_of_map"] + loss.terms["cycle"])
    torch.testing.assert_close(loss.terms["nats_of_map"], -LikelihoodINN.log_prob(model, x, x[:, :2]).mean())
    loss.terms["cycle"].backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in model.bijection.parameters())
    assert all(parameter.grad is not None for parameter in model.reverse.parameters())
    model.zero_grad()
    loss.terms["nats_of_map"].backward()
    assert all(parameter.grad is None for parameter in model.reverse.parameters())
    assert all(parameter.grad is not None for parameter in model.bijection.parameters())


def test_a_gate_blends_and_its_inverse_and_derivative_are_exact():
    x, parameters = torch.randn(5, 4, dtype=torch.float64).requires_grad_(), torch.randn(5, 2, 4, dtype=torch.float64)
    z, log_derivative = Gate().forward(x, parameters)
    gate = torch.sigmoid(parameters[:, 0] + 2)
    torch.testing.assert_close(z, gate * x + (1 - gate) * parameters[:, 1])
    torch.testing.assert_close(torch.autograd.grad(z.sum(), x)[0].log(), log_derivative)
    again, back = Gate().inverse(z, parameters)
    torch.testing.assert_close(again, x)
    torch.testing.assert_close(back, -log_derivative)
