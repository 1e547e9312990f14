import math

import pytest
import torch
from torch.distributions import Independent, Normal, Uniform

from inverseflow.errors import ConvergenceError, OptionError
from inverseflow.inference import AmortizedPosterior, Problem, method_names, refine
from inverseflow.inference.sequential import truncated_prior

NOISE = 0.1
PRIOR = Independent(Uniform(-10 * torch.ones(2), 10 * torch.ones(2)), 1)
PROBLEM = Problem("noise", PRIOR, lambda x: x + NOISE * torch.randn_like(x))
OBSERVED = torch.tensor([3.0, -2.0])


class Disk:
    """A posterior that is known: a normal around the observation."""

    def __init__(self, scale):
        self.scale = scale

    def sample(self, y, n, seed):
        return y + self.scale * torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))

    def log_prob(self, x, y):
        return Normal(y, self.scale).log_prob(x).sum(-1)


def test_a_truncated_prior_is_the_prior_inside_of_the_region():
    x = truncated_prior(Disk(1.0), PROBLEM, OBSERVED, 4000, tail=0.01, seed=1)
    assert x.shape == (4000, 2)
    radius = (x - OBSERVED).norm(dim=1)
    edge = math.sqrt(-2 * math.log(0.01))  # of a normal in the plane
    assert radius.max() <= 1.02 * edge
    areas = (radius / edge).square().sort().values  # uniform in a disk
    assert (areas - torch.linspace(0, 1, 4000)).abs().max() < 0.05
    again = truncated_prior(Disk(1.0), PROBLEM, OBSERVED, 4000, tail=0.01, seed=1)
    assert torch.equal(x, again)


def test_a_region_that_the_prior_does_not_reach_is_an_error():
    with pytest.raises(ConvergenceError, match="only 0 of .* draws from the prior fall into the region"):
        truncated_prior(Disk(1e-7), PROBLEM, OBSERVED, 10)


def test_refinement_needs_a_density_and_numbers_in_their_range():
    sampler = next(name for name in method_names() if name not in method_names(with_density=True))
    with pytest.raises(OptionError, match="draws samples, but has no density; methods with one are .*cinn"):
        refine(AmortizedPosterior(sampler), PROBLEM, OBSERVED)
    with pytest.raises(OptionError, match="rounds must be at least 1, got 0"):
        refine(AmortizedPosterior(), PROBLEM, OBSERVED, rounds=0)


@pytest.mark.slow
def test_rounds_near_the_observation_are_better_than_as_many_simulations_of_the_whole_prior():
    exact = Independent(Normal(OBSERVED, NOISE), 1)
    seen = exact.sample((2000,))

    def divergence(posterior):
        return (exact.log_prob(seen) - posterior.log_prob(seen, OBSERVED)).mean()

    untrained = AmortizedPosterior.of(PROBLEM, steps=3, width=32)
    training = {"max_steps": 250, "progress": False}
    amortized = AmortizedPosterior.of(PROBLEM, steps=3, width=32).fit(*PROBLEM.simulate(900), **training)
    refined = refine(untrained, PROBLEM, OBSERVED, rounds=3, simulations=300, **training)
    assert not untrained.is_trained
    assert divergence(refined) < 0.5 * divergence(amortized)
