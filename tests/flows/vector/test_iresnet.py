import math

import pytest
import torch

from inverseflow.bijections import Residual
from inverseflow.data import load_data
from inverseflow.flows import IResNet
from tests.contracts.registry import perturb


def residuals(flow):
    return [module for module in flow.modules() if isinstance(module, Residual)]


def set_log_det(flow, log_det, max_exact=64):
    """Have every layer compute its log-determinant in this way, in evaluation mode too where it is no longer small."""
    for layer in residuals(flow):
        layer.log_det, layer.max_exact = log_det, max_exact


def test_its_networks_take_the_bound_and_the_sizes_that_are_asked_for():
    flow = IResNet((3,), steps=2, width=5, depth=1, max_lipschitz=0.6, log_det="roulette")
    assert [layer.max_lipschitz for layer in residuals(flow)] == [0.6, 0.6]
    assert {layer.log_det for layer in residuals(flow)} == {"roulette"}
    assert [tuple(layer.weight.shape) for layer in residuals(flow)[0].net.layers] == [(5, 3), (3, 5)]


def test_no_column_comes_first():
    flow = perturb(IResNet((4,), steps=1, width=16)).double()
    for parameter in flow.parameters():
        parameter.data.add_(0.5 * torch.randn_like(parameter))
    jacobian = torch.autograd.functional.jacobian(lambda x: flow.encode(x[None])[0], torch.randn(4).double())
    assert (jacobian.abs() > 1e-6).all()


def test_the_likelihood_is_exact_up_to_64_columns_and_an_estimate_above():
    assert IResNet((64,), steps=1, width=4).likelihood == "exact"
    assert IResNet((65,), steps=1, width=4).likelihood == "estimate"
    assert IResNet((3,), steps=1, width=4, integer_columns=(1,)).likelihood == "bound"
    assert IResNet((65,), steps=1, width=4, integer_columns=(1,)).likelihood == "estimate"


def test_the_estimate_for_many_columns_has_the_mean_of_the_exact_likelihood():
    flow = IResNet((70,), steps=2, width=8, max_lipschitz=0.7)
    for parameter in flow.parameters():
        parameter.data.add_(torch.randn_like(parameter))
    x = torch.randn(70).expand(500, 70)
    with torch.no_grad():
        estimates = flow.eval().log_prob(x)
        set_log_det(flow, "exact", max_exact=70)
        exact = flow.log_prob(x[:1])[0]
    assert estimates.std() > 0
    assert abs(estimates.mean() - exact) < 4 * estimates.std() / math.sqrt(len(x)) + 2 * 70 * 1e-3


@pytest.mark.parametrize("max_lipschitz", [1.0, 1.5])
def test_a_bound_of_one_or_more_is_refused(max_lipschitz):
    with pytest.raises(ValueError, match=rf"Lipschitz constant below 1, got {max_lipschitz:g}; lower max_lipschitz"):
        IResNet((3,), max_lipschitz=max_lipschitz)


def test_too_many_columns_for_an_exact_log_determinant_are_refused():
    with pytest.raises(ValueError, match=r"up to max_exact=64 elements, got \(65,\) of 65"):
        IResNet((65,), log_det="exact")


@pytest.fixture(scope="module")
def data():
    splits = load_data("two-moons")
    return splits.train.tensor(), splits.test.tensor()


@pytest.fixture(scope="module")
def flow(data):
    torch.manual_seed(0)
    flow = IResNet((2,), steps=8, width=48, max_lipschitz=0.97)
    flow.initialize(data[0][:512])
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
    for _ in range(400):
        optimizer.zero_grad()
        (-flow.log_prob(data[0][torch.randint(len(data[0]), (256,))]).mean()).backward()
        optimizer.step()
        schedule.step()
    return flow.eval()


@pytest.mark.slow
class TestTwoMoons:
    """Trained in float32 with the exact likelihood."""

    @torch.no_grad()
    def test_it_beats_a_gaussian_and_comes_near_a_mixture_of_ten(self, flow, data):
        mixture = pytest.importorskip("sklearn.mixture").GaussianMixture(10, random_state=0).fit(data[0].numpy())
        normal = torch.distributions.MultivariateNormal(data[0].mean(0), data[0].T.cov())
        nats = -flow.log_prob(data[1]).mean().item()
        assert nats < -normal.log_prob(data[1]).mean().item() - 0.5
        assert nats < -mixture.score(data[1].numpy()) + 0.1

    @torch.no_grad()
    def test_data_and_latents_come_back(self, flow, data):
        assert flow.round_trip_error(data[1]).max() < 1e-5
        z = torch.randn(1000, 2)
        assert (flow.encode(flow.decode(z)) - z).abs().max() < 1e-4

    @torch.no_grad()
    def test_a_series_agrees_with_the_exact_value_within_its_bound(self, flow, data):
        x = data[1][:20]
        exact = flow.log_prob(x)
        set_log_det(flow, "series", max_exact=0)
        estimates = torch.stack([flow.log_prob(x) for _ in range(200)])
        bound = sum(layer.truncation_bound(2) for layer in residuals(flow))
        set_log_det(flow, "auto")
        error = (estimates.mean(0) - exact).abs()
        assert (error < bound + 4 * estimates.std(0) / math.sqrt(200)).all()

    @torch.no_grad()
    def test_the_roulette_has_no_bias(self, flow, data):
        x = data[1][:1]
        exact = flow.log_prob(x).item()
        set_log_det(flow.train(), "roulette")
        estimates = torch.cat([flow.log_prob(x) for _ in range(2000)])
        set_log_det(flow.eval(), "auto")
        assert abs(estimates.mean() - exact) < 3 * estimates.std() / math.sqrt(2000)
