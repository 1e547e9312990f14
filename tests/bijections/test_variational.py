import math
from functools import partial

import pytest
import torch
from torch.distributions import Normal

from inverseflow.bijections import Logit, Scale, VariationalDequantize
from inverseflow.data import load_images
from inverseflow.flows import Flow, ImageFlow
from inverseflow.nets import ConvNet
from inverseflow.training import evaluate, fit
from tests.contracts.registry import perturb

LEVELS = 5


def layer_of(channels=2):
    torch.manual_seed(0)
    return VariationalDequantize(LEVELS, channels, partial(ConvNet, width=4), steps=3)


def images(n=3):
    return torch.randint(LEVELS, (n, 2, 3, 4))


def test_at_first_its_noise_is_uniform(monkeypatch):
    layer, x = layer_of().double(), images()
    uniform = torch.rand(x.shape, dtype=torch.float64)
    monkeypatch.setattr(torch, "rand", lambda *args, **kwargs: uniform)
    z, log_det = layer(x)
    torch.testing.assert_close(z, (x + uniform) / LEVELS)
    torch.testing.assert_close(log_det, torch.full((3,), -24 * math.log(LEVELS)).double())


def test_the_log_determinant_is_that_of_the_levels_and_minus_the_log_density_of_the_noise(monkeypatch):
    layer, x = perturb(layer_of().double()), images(1)
    uniform = torch.rand(x.shape, dtype=torch.float64)

    def noise(uniform):
        monkeypatch.setattr(torch, "rand", lambda *args, **kwargs: uniform)
        return LEVELS * layer(x)[0] - x

    jacobian = torch.autograd.functional.jacobian(noise, uniform).view(24, 24)
    u = noise(uniform)
    assert ((u > 0) & (u < 1)).all()
    assert (u - uniform).abs().max() > 0.05
    log_q = -torch.linalg.slogdet(jacobian).logabsdet  # q(u) = 1 / |du/dε|, as the density of ε is 1
    z, log_det = layer(x)
    torch.testing.assert_close(log_det[0], -24 * math.log(LEVELS) - log_q)
    level, log_det_back = layer.inverse(z)
    assert torch.equal(level.long(), x)
    torch.testing.assert_close(log_det_back, -log_det)


def test_the_noise_depends_on_the_levels():
    layer, x = perturb(layer_of()), images(2)
    uniform = torch.rand(x.shape)
    first, _ = layer._noise(uniform, x)
    assert not torch.allclose(layer._noise(uniform, (x + 1) % LEVELS)[0], first)


def test_the_weights_of_draws_average_to_the_probability_of_the_levels():
    # one image of two pixels, whose probability under a normal density of z is known
    flow = Flow(Scale(1.0), (1, 1, 2), levels=2, dequantize=VariationalDequantize(2, 1, partial(ConvNet, width=2)))
    perturb(flow.double())
    edges = Normal(0.0, 1.0).cdf(torch.tensor([0.0, 0.5, 1.0]).double())
    expected = edges.diff()
    x = torch.tensor([[[[0, 1]]]]).expand(20_000, -1, -1, -1)
    torch.manual_seed(1)
    with torch.no_grad():
        weights = flow.log_prob(x).exp()
    error = weights.std() / 20_000**0.5
    assert (weights.mean() - expected[0] * expected[1]).abs() < 5 * error
    assert error < 0.02 * expected[0] * expected[1]
    assert flow.likelihood == "bound"
    assert flow.log_prob(x).mean() < (expected[0] * expected[1]).log()


def test_a_flow_trains_its_noise_and_reports_both_bounds():
    torch.manual_seed(0)
    data = load_images("digits")
    flow = ImageFlow((1, 8, 8), levels=17, layer="none", scales=1, steps=1, width=8, dequantization="variational")
    before = [parameter.detach().clone() for parameter in flow.dequantize.parameters()]
    fit(flow, data.train.select(range(64)), max_steps=3, batch_size=32, progress=False)
    assert any(not torch.equal(old, new) for old, new in zip(before, flow.dequantize.parameters(), strict=True))
    found = evaluate(flow, data.test.select(range(20)), draws=2, importance_samples=8)
    assert found.likelihood == "bound"
    assert found.importance_value < found.value
    assert found.round_trip == "pixels come back exactly"


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="dequantize is of 5 levels and the flow of levels=None; let them agree"):
        Flow(Logit(), (2, 3, 4), dequantize=layer_of())
    with pytest.raises(TypeError, match="must be a builder of a network for each step, got the network ConvNet"):
        VariationalDequantize(2, 1, ConvNet(2, 2, 3))
    with pytest.raises(ValueError, match="gray levels run from 0 to 4, got values from 0 to 5"):
        layer_of()(torch.arange(24).view(1, 2, 3, 4) % 6)
