import pytest
import torch

from inverseflow.bijections import Inverse, Planar, Radial
from inverseflow.flows import VectorPlanarFlow, VectorRadialFlow
from tests.contracts.registry import perturb
from tests.flows.vector.test_coupling import moons, trained


@pytest.mark.parametrize(("build", "kind"), [(VectorPlanarFlow, Planar), (VectorRadialFlow, Radial)])
def test_its_steps_are_its_layers_in_the_direction_that_is_explicit(build, kind):
    assert [type(step.layers[0]) for step in build((3,)).bijection.layers] == [kind] * 16
    layers = [step.layers[0] for step in build((3,), steps=2, explicit="sample").bijection.layers]
    assert [type(layer) for layer in layers] == [Inverse] * 2
    assert all(isinstance(layer.bijection, kind) for layer in layers)


def test_samples_of_a_flow_for_variational_inference_need_no_root(monkeypatch):
    flow = perturb(VectorPlanarFlow((3,), steps=4, explicit="sample").double())
    with monkeypatch.context() as patch:
        patch.delattr("inverseflow.bijections.planar.monotone_root")
        x, log_prob = flow.sample_with_log_prob(10)
    torch.testing.assert_close(flow.log_prob(x), log_prob, rtol=0, atol=1e-9)


@pytest.mark.parametrize("build", [VectorPlanarFlow, VectorRadialFlow])
def test_an_unknown_direction_is_refused(build):
    with pytest.raises(ValueError, match="unknown explicit 'both': choose 'log_prob' or 'sample'"):
        build((2,), explicit="both")


def test_one_column_is_enough():
    assert VectorPlanarFlow((1,), steps=2).sample(4).shape == (4, 1)


@pytest.mark.slow
@pytest.mark.parametrize("build", [VectorPlanarFlow, VectorRadialFlow])
def test_it_fits_moons_better_than_the_normal_of_their_mean_and_covariance(build):
    x, test = moons(500), moons(1000)
    normal = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov())
    flow = trained(build((2,), steps=8), x, steps=400)
    assert flow.log_prob(test).mean() > normal.log_prob(test).mean() + 0.1


def energy(z):
    """Return the first energy of Rezende and Mohamed, two modes on a ring."""
    left, right = (-0.5 * ((z[:, 0] + sign * 2) / 0.6) ** 2 for sign in (1, -1))
    return 0.5 * ((z.norm(dim=1) - 2) / 0.4) ** 2 - torch.logaddexp(left, right)


@torch.no_grad()
def divergence(flow):
    """Return the Kullback-Leibler divergence of the flow from the energy's density, on a grid."""
    axis = torch.linspace(-6, 6, 301)
    z, area = torch.cartesian_prod(axis, axis), (axis[1] - axis[0]) ** 2
    log_p = -energy(z) - (torch.logsumexp(-energy(z), 0) + area.log())
    log_q = flow.log_prob(z)
    assert (log_q.exp().sum() * area).item() == pytest.approx(1, abs=0.02)
    return (log_q.exp() * (log_q - log_p)).sum().item() * area.item()


@pytest.mark.slow
def test_more_planar_layers_approximate_an_energy_better():
    divergences = []
    for steps in (2, 8):
        torch.manual_seed(0)
        flow = VectorPlanarFlow((2,), steps=steps, explicit="sample", standardize=False)
        optimizer = torch.optim.Adam(flow.parameters(), lr=2e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 800)
        for _ in range(800):
            optimizer.zero_grad()
            z, log_q = flow.sample_with_log_prob(256)
            (log_q + energy(z)).mean().backward()
            optimizer.step()
            schedule.step()
        divergences.append(divergence(flow))
    assert divergences[1] < divergences[0] - 0.1
