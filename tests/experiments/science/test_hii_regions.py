import pytest
import torch

from experiments.science.hii_regions import hii_regions, line_luminosities, youngest_age


def test_mass_and_efficiency_are_almost_exchangeable():
    x = hii_regions().prior.sample((200,))
    traded = x + torch.tensor([0.5, -0.5, 0, 0, 0, 0, 0])
    brighter = x + torch.tensor([0.5, 0, 0, 0, 0, 0, 0])
    change = (line_luminosities(traded) - line_luminosities(x)).abs().mean()
    assert change < 0.05 * (line_luminosities(brighter) - line_luminosities(x)).abs().mean()


def test_no_cluster_is_older_than_its_cloud_and_a_single_one_is_as_old():
    x, _ = hii_regions().simulate(1000)
    age = youngest_age(x)
    assert (age <= x[:, 3]).all()
    single = x[:, 5] == 0
    assert single.any() and (age[single] == x[single, 3]).all()


@pytest.mark.slow
def test_the_degeneracy_shows_as_a_negative_correlation_of_the_posterior():
    problem = hii_regions()
    _, y = problem.simulate(1, seed=3)
    found = problem.reference(y[0], 2000, torch.Generator().manual_seed(0))
    assert torch.corrcoef(found[:, :2].T)[0, 1] < -0.5
    assert problem.support.contains(found).all()
