"""Distributions in the plane."""

import pytest
import torch

from inverseflow.data import TOYS, load_toy
from inverseflow.errors import DataError

DENSITIES = [name for name, toy in TOYS.items() if toy.log_prob is not None]


def grid(width: float, points: int) -> tuple[torch.Tensor, float]:
    """Return the centers of the cells of a square grid, and the area of a cell."""
    axis = width * ((torch.arange(points, dtype=torch.float64) + 0.5) / points - 0.5)
    return torch.cartesian_prod(axis, axis), (width / points) ** 2


@pytest.mark.parametrize("name", TOYS)
def test_points_are_the_same_for_the_same_seed_only(name):
    first, again, other = (load_toy(name, count=50, split_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.train.tensor(), again.train.tensor())
    assert not torch.equal(first.train.tensor(), other.train.tensor())
    assert [len(first.train), len(first.validation), len(first.test)] == [40, 5, 5]
    assert first.train.tensor().dtype == torch.float32


@pytest.mark.parametrize("name", [name for name, toy in TOYS.items() if toy.classes])
def test_each_class_has_its_share_of_the_points(name):
    splits = load_toy(name, count=4000)
    counts = torch.bincount(splits.train.labels, minlength=len(splits.classes)) / len(splits.train)
    assert len(counts) == len(splits.classes)
    assert counts.sub(1 / len(counts)).abs().max() < 0.03


def test_the_upper_moon_is_above_the_lower():
    splits = load_toy("two-moons")
    heights = [splits.train.tensor()[splits.train.labels == label, 1].mean() for label in (0, 1)]
    assert splits.classes == ("upper", "lower")
    assert heights[0] > heights[1] + 0.5


@pytest.mark.parametrize("name", DENSITIES)
def test_a_density_integrates_to_one(name):
    points, area = grid(12, 600)
    assert TOYS[name].log_prob(points).exp().sum() * area == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", DENSITIES)
def test_points_follow_the_density(name):
    log_prob = TOYS[name].log_prob
    points, area = grid(12, 600)
    density = log_prob(points).exp()
    entropy = -(torch.special.xlogy(density, density).sum() * area)
    splits = load_toy(name, count=20_000)
    drawn = splits.train.tensor()
    assert -log_prob(drawn).mean() == pytest.approx(float(entropy), abs=0.02)
    for power in (1, 2):  # the mean of each of x and y, then of their squares and product
        moments = points.T**power
        expected = (moments * density).sum(1) * area
        assert drawn.double().T.pow(power).mean(1).tolist() == pytest.approx(expected.tolist(), abs=0.08)


def test_a_set_that_cannot_be_split_is_refused():
    with pytest.raises(ValueError, match="count must be at least 10, got 9"):
        load_toy("rings", count=9)
    with pytest.raises(DataError, match="unknown distribution 'moons': choose one of two-moons, pinwheel"):
        load_toy("moons")
