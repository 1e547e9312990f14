"""The published tasks against the observations and reference samples that were published with them."""

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch.distributions import MultivariateNormal

from inverseflow.inference.problems import create
from inverseflow.inference.problems.populations import infected, populations
from inverseflow.inference.problems.slcp import distractors
from inverseflow.inference.problems.spikes import design_matrix


@pytest.fixture
def published(shared_data):
    folder = shared_data("sbibm")
    return lambda name: np.load(folder / f"{name}.npz")


@pytest.mark.parametrize(
    "name", ["gaussian-linear", "gaussian-linear-uniform", "gaussian-mixture", "two-moons", "slcp"]
)
def test_reference_draws_from_the_published_posterior(name, published):
    task, problem = published(name.replace("-", "_")), create(name)
    for index in (5, 9):
        theirs = task["reference_posterior"][index].astype(float)
        y = torch.from_numpy(task["observations"][index]).float()
        ours = problem.reference(y, len(theirs), torch.Generator().manual_seed(0)).double().numpy()
        if (
            name == "slcp"
        ):  # its four modes are mirror images, and their shares among the published samples are not equal
            ours, theirs = np.abs(ours), np.abs(theirs)
        for one, other in zip(ours.T, theirs.T, strict=True):
            assert stats.ks_2samp(one, other).pvalue > 1e-4
        assert np.corrcoef(ours.T) == pytest.approx(np.corrcoef(theirs.T), abs=0.06)


def test_distractors_are_those_published(published):
    task = published("slcp")
    locations, factors, order = distractors()
    assert np.allclose(locations, task["noise_loc"], rtol=1e-6)
    assert np.allclose(factors, task["noise_scale_tril"], rtol=1e-6)
    assert np.array_equal(order, task["permutation"])


def test_statistics_and_design_of_the_spikes_are_those_published(published):
    task = published("bernoulli_glm")
    assert np.array_equal(design_matrix(), task["design_matrix"])
    assert task["observations_raw"] @ design_matrix().numpy() == pytest.approx(task["observations"], abs=1e-5)


def _log_likelihood(name, x, task, index):
    y = task["observations"][index]
    if name == "bernoulli-glm":
        return stats.bernoulli(special.expit(x @ task["design_matrix"].T)).logpmf(task["observations_raw"][index])
    if name == "sir":
        return stats.binom(1000, infected(torch.from_numpy(x)) / 1e6).logpmf(y)
    return stats.norm(populations(torch.from_numpy(x)).log(), 0.1).logpdf(np.log(y))


@pytest.mark.parametrize("name", ["bernoulli-glm", "sir", "lotka-volterra"])
def test_published_posteriors_have_the_moments_of_importance_sampling_by_our_likelihood(name, published):
    task, problem = published(name.replace("-", "_")), create(name)
    logarithmic = name != "bernoulli-glm"  # rates are positive: compare in logarithms
    for index in (2, 7):
        theirs = torch.from_numpy(task["reference_posterior"][index]).double()
        theirs = theirs.log() if logarithmic else theirs
        proposal = MultivariateNormal(theirs.mean(0), 2 * theirs.T.cov())
        z = proposal.sample((2500,))
        x = z.exp() if logarithmic else z
        log_prior = problem.prior.log_prob(x) + (z.sum(1) if logarithmic else 0)
        log_likelihood = torch.from_numpy(_log_likelihood(name, x.numpy(), task, index).sum(1))
        weights = (log_prior + log_likelihood - proposal.log_prob(z)).softmax(0)
        error = weights.square().sum().sqrt()
        assert error < 0.08
        mean = weights @ z
        assert ((mean - theirs.mean(0)) / theirs.std(0)).abs().max() < 4.5 * error
        spread = (weights @ (z - mean).square()).sqrt()
        assert (spread / theirs.std(0) - 1).abs().max() < 4.5 * error
