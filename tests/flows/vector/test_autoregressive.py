import pytest
import torch

from inverseflow import flows
from inverseflow.bijections import Autoregressive, Inverse, LUConv1x1
from inverseflow.flows import IAF, MAF, AutoregressiveNSF
from tests.flows.vector.test_coupling import moons, trained

each_flow = pytest.mark.parametrize("build", [MAF, IAF, AutoregressiveNSF])


def evaluations(flow):
    """Return a list that grows by one entry at each evaluation of a network."""
    counts = []
    for module in flow.modules():
        if isinstance(module, Autoregressive):
            module.net.register_forward_hook(lambda *_: counts.append(1))
    return counts


@pytest.mark.parametrize("build", [MAF, AutoregressiveNSF])
def test_a_few_steps_beat_the_normal_of_the_same_mean_and_covariance(build):
    x, test = moons(500), moons(1000)
    normal = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov())
    flow = trained(build((2,), steps=4, width=32), x)
    assert flow.log_prob(test).mean() > normal.log_prob(test).mean() + 0.2


def test_iaf_learns_by_its_samples():
    torch.manual_seed(0)
    target = torch.distributions.MultivariateNormal(torch.tensor([1.0, -1.0]), torch.tensor([[1.0, 0.9], [0.9, 1.2]]))
    flow = IAF((2,), steps=2, width=16, standardize=False)
    optimizer = torch.optim.Adam(flow.parameters(), lr=2e-2)
    for _ in range(200):
        x, log_prob = flow.sample_with_log_prob(200)
        optimizer.zero_grad()
        (log_prob - target.log_prob(x)).mean().backward()
        optimizer.step()
    with torch.no_grad():
        x, log_prob = flow.sample_with_log_prob(5000)
    assert (log_prob - target.log_prob(x)).mean() < 0.05
    torch.testing.assert_close(flow.log_prob(x), log_prob, rtol=0, atol=1e-4)


def test_maf_evaluates_its_networks_once_for_a_density_and_iaf_once_for_a_sample():
    maf, iaf = MAF((4,), steps=3), IAF((4,), steps=3)
    of_maf, of_iaf = evaluations(maf), evaluations(iaf)
    maf.log_prob(torch.randn(2, 4))
    iaf.sample(2)
    assert len(of_maf) == len(of_iaf) == 3


@each_flow
def test_orders_alternate_and_nothing_is_mixed(build):
    flow = build((3,), steps=3)
    layers = [module for module in flow.modules() if isinstance(module, Autoregressive)]
    assert [layer.order for layer in layers] == ["natural", "reversed", "natural"]
    assert not [module for module in flow.modules() if isinstance(module, LUConv1x1)]
    assert any(isinstance(module, Inverse) for module in flow.modules()) is (build is IAF)


@each_flow
@pytest.mark.parametrize("columns", [1, 2, 63])
def test_every_number_of_columns_is_taken(build, columns):
    flow = build((columns,), steps=2, context_channels=2).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    x, context = torch.randn(5, columns, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    with torch.no_grad():
        back = flow.decode(flow.encode(x, context), context)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-8)


def test_a_conditional_flow_follows_its_context():
    context = torch.rand(1000, 1)
    x = torch.cat([4 * context, 1 - context], 1) + 0.1 * torch.randn(1000, 2)
    flow = trained(MAF((2,), steps=2, width=16, context_channels=1), x, context, steps=100)
    for value in (0.2, 0.8):
        samples = flow.sample(500, torch.tensor([value]))
        torch.testing.assert_close(samples.mean(0), torch.tensor([4 * value, 1 - value]), rtol=0, atol=0.15)


def test_untrained_flows_are_normals_of_the_data():
    x = torch.tensor([1e-6, 1.0, 1e9]) * torch.randn(2000, 3)
    for name in ("maf", "iaf", "nsf-ar"):
        flow = flows.create(name, (3,), zero_start=True)
        flow.initialize(x)
        normal = torch.distributions.Normal(x.mean(0), x.std(0, correction=0))
        torch.testing.assert_close(flow.log_prob(x), normal.log_prob(x).sum(1), rtol=0, atol=1e-3)


@pytest.mark.parametrize("build", [MAF, AutoregressiveNSF])
def test_its_configuration_builds_the_same_flow(build):
    flow = build((3,), width=8, steps=2, context_channels=2, integer_columns=[1])
    assert repr(flows.create(flow.config["density"], **flow.config["options"])) == repr(flow)


def test_images_are_refused():
    with pytest.raises(ValueError, match=r"events \(D,\), got \(1, 8, 8\)"):
        MAF((1, 8, 8))


@pytest.mark.parametrize("name", ["maf", "nsf-ar", "realnvp", "nsf", "nice"])
def test_a_flow_starts_as_the_identity_unless_its_networks_start_at_random(name):
    x = torch.randn(5, 3)
    still, moved = (
        flows.create(name, (3,), steps=2, width=8, standardize=False, linear="none", zero_start=zero)
        for zero in (True, False)
    )
    torch.testing.assert_close(still.encode(x), x)
    z = moved.encode(x)
    assert (z != x).any(0).all()
    torch.testing.assert_close(moved.decode(z), x, atol=1e-5, rtol=1e-5)
    assert moved.config["options"]["zero_start"] is False
