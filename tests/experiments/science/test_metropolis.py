import torch
from torch.distributions import Categorical, Independent, Normal, Uniform

from experiments.science.metropolis import ChainReference, gaussian_log_likelihood, metropolis, sample_posterior
from inverseflow.inference import independent

NORMAL = Independent(Normal(torch.zeros(3), 1.0), 1)


def test_it_samples_the_posterior_of_a_linear_gaussian_model():
    matrix, deviation = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]]), 0.1
    y = torch.tensor([0.5, -1.0])
    covariance = (torch.eye(3) + matrix.T @ matrix / deviation**2).inverse()
    mean = covariance @ matrix.T @ y / deviation**2
    likelihood = gaussian_log_likelihood(lambda x: x @ matrix.T, deviation)
    chains = sample_posterior(NORMAL, likelihood, y, generator=torch.Generator().manual_seed(1))
    states = chains.states.flatten(0, 1)
    torch.testing.assert_close(states.mean(0), mean, atol=0.02, rtol=0)
    torch.testing.assert_close(states.T.cov(), covariance, atol=0.02, rtol=0)
    assert chains.r_hat < 1.05 and 0.1 < chains.acceptance < 0.6


def test_bounds_and_whole_numbers_are_the_prior_where_the_data_say_nothing():
    prior = independent(Uniform(2.0, 3.0), Categorical(torch.tensor([0.7, 0.3])))
    sample = ChainReference(prior, lambda x, y: torch.zeros(len(x)), chains=100, steps=200)
    x = sample(torch.zeros(1), 20_000, torch.Generator().manual_seed(0))
    assert 2 < x[:, 0].min() < 2.01 and 2.99 < x[:, 0].max() < 3
    assert set(x[:, 1].tolist()) == {0.0, 1.0} and abs(x[:, 1].mean() - 0.3) < 0.02


def test_chains_that_stay_apart_have_a_large_r_hat():
    start = torch.cat([torch.randn(20, 1) * 0.01, 100 + torch.randn(20, 1) * 0.01])[torch.randperm(40)]

    def two_peaks(x):
        return torch.logaddexp(-0.5 * (x / 0.01) ** 2, -0.5 * ((x - 100) / 0.01) ** 2).sum(1)

    assert metropolis(two_peaks, start, 20).r_hat > 1.5
