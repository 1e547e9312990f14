import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from inverseflow.data import load_images
from inverseflow.training.baselines import (
    baseline_nats,
    gaussian_bits,
    gaussian_nats,
    histogram_nats,
    mixture_nats,
    pixel_histogram_bits,
)

LEVELS = 5


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    """Correlated gray levels: training and test images, (N, 1, 2, 3)."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(6, 6, generator=generator)
    draws = torch.randn(1500, 6, generator=generator) @ mixing
    levels = (draws + 2.5).clamp(0, LEVELS - 1).to(torch.uint8).reshape(-1, 1, 2, 3)
    return levels[:1300], levels[1300:]


def test_the_histogram_counts_each_level_of_each_pixel_once_more(images):
    train, test = (part.flatten(1).numpy() for part in images)
    bits = 0.0
    for pixel in range(train.shape[1]):
        for image in test:
            count = np.sum(train[:, pixel] == image[pixel])
            bits -= math.log2((count + 1) / (len(train) + LEVELS))

    assert pixel_histogram_bits(*images, LEVELS) == pytest.approx(bits / test.size, rel=1e-12)


def test_a_level_that_was_never_seen_costs_finitely_many_bits():
    train, test = torch.zeros(10, 2, dtype=torch.uint8), torch.full((1, 2), 4, dtype=torch.uint8)

    assert pixel_histogram_bits(train, test, LEVELS) == pytest.approx(math.log2(15))


def test_the_gaussian_agrees_with_an_average_over_drawn_noise(images):
    train, test = (part.flatten(1).double().numpy() for part in images)
    mean = train.mean(0) + 0.5
    covariance = np.cov(train.T, bias=True) + np.eye(6) / 12
    noise = np.random.default_rng(0).uniform(size=(400, *test.shape))
    log_density = multivariate_normal(mean, covariance).logpdf(test + noise)
    bits = -log_density.mean() / (6 * math.log(2))

    assert gaussian_bits(*images, LEVELS) == pytest.approx(bits, abs=2e-3)


def test_the_gaussian_fits_images_that_have_constant_pixels():
    train = torch.zeros(20, 4, dtype=torch.uint8)

    assert math.isfinite(gaussian_bits(train, train, LEVELS))


def test_the_covariance_is_exact_over_several_chunks():
    generator = torch.Generator().manual_seed(1)
    train = torch.randint(0, 256, (5000, 3), generator=generator, dtype=torch.uint8)
    pixels = train.double()
    covariance = torch.cov(pixels.T, correction=0) + torch.eye(3, dtype=torch.float64) / 12
    exact = torch.distributions.MultivariateNormal(pixels.mean(0), covariance).log_prob(pixels).mean()
    exact -= covariance.inverse().trace() / 24

    assert gaussian_bits(train, train, 256) == pytest.approx(-float(exact) / (3 * math.log(2)), rel=1e-9)


def test_the_digits_baselines_are_where_the_issue_says():
    data = load_images("digits")
    train, test = data.train.tensor(), data.test.tensor()

    assert pixel_histogram_bits(train, test, data.levels) == pytest.approx(2.42, abs=0.05)
    assert gaussian_bits(train, test, data.levels) == pytest.approx(2.94, abs=0.05)


def two_clusters(count, seed):
    """Two clusters of correlated points, in units of their own."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(count, 2, generator=generator)
    x = torch.stack([z[:, 0], 0.9 * z[:, 0] + 0.1 * z[:, 1]], 1)
    side = 4.0 * torch.randint(2, (count, 1), generator=generator)
    return (x + side) * torch.tensor([1.0, 100.0])


def test_the_histogram_of_uniform_values_costs_the_logarithm_of_their_range():
    generator = torch.Generator().manual_seed(0)
    train, test = 8 * torch.rand(20_000, 1, generator=generator), 8 * torch.rand(5_000, 1, generator=generator)
    assert histogram_nats(train, test) == pytest.approx(math.log(8), abs=0.03)
    assert math.isfinite(histogram_nats(train, torch.full((1, 1), 1e6)))


def test_a_mixture_finds_clusters_that_neither_a_gaussian_nor_a_histogram_does():
    train, test = two_clusters(3000, 0), two_clusters(2000, 1)
    entropy = math.log(2 * math.pi * math.e) + math.log(0.1 * 100) + math.log(2)  # the clusters hardly overlap
    mixture = mixture_nats(train, test)
    assert mixture == pytest.approx(entropy, abs=0.06)
    assert mixture < gaussian_nats(train, test) - 0.1 and mixture < histogram_nats(train, test) - 0.5


def test_baselines_of_whole_numbers_bound_their_entropy_from_above():
    generator = torch.Generator().manual_seed(0)
    dice = torch.randint(6, (6000, 3), generator=generator).float()
    found = baseline_nats(dice[:4000], dice[4000:], whole=range(3))
    assert found.keys() == {"histogram", "gaussian", "mixture_of_10_gaussians"}
    assert all(3 * math.log(6) < nats < 3 * math.log(6) + 0.8 for nats in found.values()), found


def test_degenerate_baselines_are_left_out():
    constant = torch.ones(50, 2)
    assert baseline_nats(constant, constant) == {}
