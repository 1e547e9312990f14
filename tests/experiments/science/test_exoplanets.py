import pytest
import torch
from scipy.stats import kstest

from experiments.science.exoplanets import exoplanets, radius, sample_segments, segment, segment_share


def test_an_earth_of_iron_and_rock_has_the_radius_of_the_earth():
    earth = torch.tensor([[0.32, 0.68, 0.0]])
    for compressible in (True, False):
        assert abs(radius(torch.ones(1), earth, compressible) - 1) < 0.02


def test_a_ball_of_one_material_has_the_radius_of_its_density():
    mass, rock = torch.tensor([2.0]), torch.tensor([[0.0, 1.0, 0.0]])
    torch.testing.assert_close(radius(mass, rock, False) ** 3, mass / 0.8)


def test_without_the_star_the_posterior_is_uniform_on_a_segment():
    generator = torch.Generator().manual_seed(0)
    layers = -torch.rand(400_000, 3, generator=generator).log()
    layers /= layers.sum(1, keepdim=True)  # uniform on the simplex
    for size in (0.95, 1.3):
        near = layers[(radius(torch.ones(1), layers, False) - size).abs() < 1e-3]
        exact = torch.lerp(*segment(1.0, size), torch.rand(1000, 1, generator=generator))
        torch.testing.assert_close(radius(torch.ones(1), exact, False), torch.full((1000,), size))
        assert exact.min() >= 0 and len(near) > 300
        for column in range(3):
            low, high = (float(exact[:, column].double().quantile(q)) for q in (0, 1))
            assert kstest(near[:, column].double().numpy(), "uniform", (low, high - low)).statistic < 0.05
        found = sample_segments(torch.tensor([1.0, size]).log(), 1000, generator)
        share, miss = segment_share(found[:, 1:], 1.0, size)
        assert miss.max() < 0.1 and kstest(share.double().numpy(), "uniform").statistic < 0.06


@pytest.mark.slow
def test_a_lighter_planet_of_the_same_size_holds_more_water():
    problem = exoplanets()
    y = problem.simulator(torch.tensor([[3.0, 0.3, 0.6, 0.1], [3.0, 0.2, 0.4, 0.4]]))
    little, much = (problem.reference(each, 1000, torch.Generator().manual_seed(0))[:, 3] for each in y)
    assert little.mean() + 0.1 < much.mean()
