import pytest
import torch

from inverseflow.bijections import Autoregressive
from inverseflow.data.toys import load_toy
from inverseflow.densities import GaussianMixture
from inverseflow.flows import RosenblattFlow


def trained(flow, x, steps):
    flow.initialize(x)
    optimizer = torch.optim.Adam(flow.parameters(), 5e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        (-flow.log_prob(x[torch.randint(len(x), (500,))]).mean()).backward()
        optimizer.step()
    return flow.eval()


def test_components_and_steps_are_what_was_asked_for():
    def components(flow):
        return [layer.map.components for layer in flow.modules() if isinstance(layer, Autoregressive)]

    assert components(RosenblattFlow((3,))) == [8]
    assert components(RosenblattFlow((3,), components=2, steps=2)) == [2, 2]
    with pytest.raises(ValueError, match="components must be at least 1, got 0"):
        RosenblattFlow((3,), components=0)


@pytest.mark.slow
def test_the_learned_map_comes_close_to_the_exact_one():
    torch.manual_seed(0)
    covariances = torch.tensor([[[1.0, 0.6], [0.6, 0.5]], [[0.4, -0.2], [-0.2, 0.9]]])
    mixture = GaussianMixture([0.4, 0.6], [[-1.5, 1.0], [1.5, -0.5]], covariances)
    flow = trained(RosenblattFlow((2,), components=4, width=32), mixture.sample(20_000), 500)
    x = mixture.sample(4000)
    assert (mixture.log_prob(x) - flow.log_prob(x)).mean() < 0.03
    assert (flow.encode(x) - mixture.rosenblatt(x)[0]).square().mean().sqrt() < 0.25


@pytest.mark.slow
def test_it_learns_a_pinwheel_better_than_a_full_gaussian():
    torch.manual_seed(0)
    splits = load_toy("pinwheel", count=10_000)
    x, held_out = splits.train.tensor(), splits.test.tensor()
    flow = trained(RosenblattFlow((2,), width=32), x, 500)
    gaussian = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov())
    assert flow.log_prob(held_out).mean() > gaussian.log_prob(held_out).mean() + 0.5
