import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import poisson

import experiments.science.cosmic_rays as cosmic_rays_module
from experiments.science.cosmic_rays import cosmic_rays, expected_counts, grid_posterior, log_likelihood

ONE = (14,)


def test_a_power_law_far_below_its_cutoffs_has_the_counts_of_a_power_law(monkeypatch):
    monkeypatch.setitem(cosmic_rays_module._LOSS, 14, 1e9)
    counts = expected_counts(torch.tensor([[2.0, 9.0]], dtype=torch.float64), ONE)[0, :15]
    edges = 10 ** torch.linspace(0.7, 2.2, 16, dtype=torch.float64)
    integral = 1 / edges[:-1] - 1 / edges[1:]
    torch.testing.assert_close(counts, 5000 * integral / integral.sum(), rtol=2e-3, atol=0)


def test_counts_add_up_and_depths_fall_with_mass():
    x = torch.tensor([[1.0, 0.8]])
    light, heavy = (expected_counts(x, (element,))[0] for element in (1, 56))
    for counts in (light, heavy):
        assert abs(counts[:15].sum() - 5000) < 0.1 and 450 < counts[15:].sum() < 501
    depth = torch.arange(12.0)
    assert (heavy[15:27] @ depth) / heavy[15:27].sum() + 1 < (light[15:27] @ depth) / light[15:27].sum()


def test_the_likelihood_is_that_of_poisson_counts():
    x, y = cosmic_rays(ONE).simulate(20)
    expected = poisson.logpmf((y[0] ** 2).round().numpy(), expected_counts(x, ONE).numpy()).sum(1)
    found = log_likelihood(x.double(), y[0].double(), ONE).numpy()
    assert abs((found - found[0]) - (expected - expected[0])).max() < 0.05


@pytest.mark.slow
def test_the_grid_peaks_at_the_largest_likelihood_and_equals_the_chains():
    problem = cosmic_rays(ONE)
    x, y = problem.simulate(1, seed=2)
    grid = grid_posterior(y[0], 14)
    row, column = divmod(int(grid.probability.argmax()), 200)
    peak = torch.stack([grid.index[row], grid.log_rigidity[column]]).double()

    def cost(point):
        return -float(log_likelihood(torch.as_tensor(point)[None], y[0].double(), ONE))

    assert 0 <= cost(peak) - minimize(cost, x[0].double(), method="Nelder-Mead").fun < 0.02
    generator = torch.Generator().manual_seed(0)
    exact, chains = grid.sample(5000, generator), problem.reference(y[0], 5000, generator)
    torch.testing.assert_close(chains.mean(0), exact.mean(0), atol=0.1 * float(exact.std(0).min()), rtol=0)
    torch.testing.assert_close(chains.std(0), exact.std(0), rtol=0.1, atol=0)
