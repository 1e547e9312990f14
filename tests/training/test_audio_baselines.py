import math
import sys
import time

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy.stats import norm

from inverseflow.training.audio_baselines import (
    audio_baseline_bits,
    flac_bits,
    level_histogram_bits,
    linear_predictor_bits,
)

LEVELS = 64


@pytest.fixture(scope="module")
def process() -> torch.Tensor:
    """Levels of an autoregressive process of order 2, (40, 1, 500); a level is a standard deviation of its noise."""
    generator = np.random.default_rng(0)
    noise = generator.normal(size=20_100)
    x = np.zeros(len(noise))
    for t in range(2, len(noise)):
        x[t] = 1.2 * x[t - 1] - 0.6 * x[t - 2] + noise[t]
    levels = np.floor(x[100:] / 0.5 + LEVELS / 2)
    assert levels.min() >= 0
    assert levels.max() < LEVELS
    return torch.from_numpy(levels).to(torch.uint8).reshape(40, 1, 500)


def test_the_histogram_is_one_for_all_samples(process):
    train, test = process[:30], process[30:]
    counts = np.bincount(train.numpy().ravel(), minlength=LEVELS) + 1
    expected = -np.log2(counts / counts.sum())[test.numpy().ravel()].mean()
    assert level_histogram_bits(train, test, LEVELS) == pytest.approx(expected, rel=1e-12)


def test_the_linear_predictor_is_that_of_yule_and_walker_with_the_mass_of_each_level(process):
    train, test = process[:30].double().numpy()[:, 0], process[30:].numpy()[:, 0]
    mean, order = train.mean(), 3
    centered = train - mean
    covariances = [(centered[:, lag:] * centered[:, : 500 - lag]).sum() / train.size for lag in range(order + 1)]
    weights = scipy.linalg.solve_toeplitz(covariances[:-1], covariances[1:])
    deviation = math.sqrt(covariances[0] - weights @ covariances[1:])
    bits = 0.0
    for segment in test:
        padded = np.concatenate([np.full(order, mean), segment])
        for t, level in enumerate(segment):
            center = mean + sum(weights[lag] * (padded[order + t - 1 - lag] - mean) for lag in range(order))
            bits -= math.log2(norm.cdf(level + 0.5, center, deviation) - norm.cdf(level - 0.5, center, deviation))
    found = linear_predictor_bits(process[:30], process[30:], LEVELS, order)
    assert found == pytest.approx(bits / test.size, rel=1e-6)


def test_segments_shorter_than_the_order_are_measured_in_a_second(process):
    alone, pairs = (process.repeat(20, 1, 1).reshape(-1, 1, length) for length in (1, 2))
    began = time.process_time()
    centered = alone.double().flatten().numpy() - alone.double().mean().item()
    mass = norm.cdf(centered + 0.5, 0, centered.std()) - norm.cdf(centered - 0.5, 0, centered.std())
    assert linear_predictor_bits(alone, alone, LEVELS) == pytest.approx(-np.log2(mass).mean(), rel=1e-6)
    assert linear_predictor_bits(pairs, pairs, LEVELS) < linear_predictor_bits(alone, alone, LEVELS) - 0.1
    assert time.process_time() - began < 5  # 400,000 segments


def test_the_linear_predictor_comes_near_the_entropy_of_a_gaussian_process(process):
    entropy = 0.5 * math.log2(2 * math.pi * math.e / 0.5**2)
    found, _ = audio_baseline_bits(process[:30], process[30:], LEVELS, 8000)
    assert entropy - 0.05 < found["linear_predictor_of_order_16"] < entropy + 0.1
    assert found["histogram"] > entropy + 0.5


def test_probabilities_of_the_linear_predictor_sum_to_one(process):
    segment = process[:1, :, :20]
    every = segment.repeat(LEVELS, 1, 1)
    every[:, 0, -1] = torch.arange(LEVELS)
    nats = [20 * math.log(2) * linear_predictor_bits(process, one[None], LEVELS) for one in every]
    before = 19 * math.log(2) * linear_predictor_bits(process, segment[:, :, :19], LEVELS)
    assert sum(math.exp(before - value) for value in nats) == pytest.approx(1, abs=1e-9)


def test_levels_far_from_the_prediction_cost_finitely_many_bits():
    train = torch.full((4, 1, 100), 3, dtype=torch.uint8)
    test = torch.tensor([[[3, 3, 255, 0, 3]]], dtype=torch.uint8)
    assert math.isfinite(linear_predictor_bits(train, test, 256))


@pytest.mark.parametrize(("levels", "dtype"), [(256, torch.uint8), (2**16, torch.int32)])
def test_flac_codes_the_levels_without_loss_in_about_the_bits_of_noise(levels, dtype):
    pytest.importorskip("soundfile")
    noise = torch.randint(levels, (5, 1, 4000), generator=torch.Generator().manual_seed(0)).to(dtype)
    assert flac_bits(noise, levels, 8000) == pytest.approx(math.log2(levels), rel=0.02)
    quiet = torch.full_like(noise, levels // 2)
    assert flac_bits(quiet, levels, 8000) < 0.2


def test_without_soundfile_there_is_no_flac_and_a_sentence_says_why(process, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    bits, (why,) = audio_baseline_bits(process[:2], process[2:4], LEVELS, 8000)
    assert [*bits] == ["histogram", "linear_predictor_of_order_16"]
    assert "the baseline FLAC needs the package 'soundfile'" in why
    assert "pip install 'inverseflow[audio]'" in why
