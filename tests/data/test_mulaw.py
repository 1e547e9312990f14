import numpy as np
import pytest
import torch

from inverseflow.data import mu_law_decode, mu_law_encode

EVERY_SAMPLE = torch.arange(-(2**15), 2**15, dtype=torch.float64) / 2**15


def compressed(v):
    """Return f(v) of the definition, by NumPy in float64."""
    return np.sign(v) * np.log(1 + 255 * np.abs(v)) / np.log(256)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_every_16_bit_sample_gets_the_nearest_level(precision):
    exact = (compressed(EVERY_SAMPLE.numpy()) + 1) / 2 * 255
    np.testing.assert_array_equal(mu_law_encode(EVERY_SAMPLE.to(precision)).numpy(), np.floor(exact + 0.5))


def test_the_round_trip_of_every_16_bit_sample_is_off_by_at_most_half_a_bin():
    back = compressed(mu_law_decode(mu_law_encode(EVERY_SAMPLE.float())).double().numpy())
    assert np.abs(back - compressed(EVERY_SAMPLE.numpy())).max() <= 1 / 255 + 1e-6  # bins are 2 / 255 wide


@pytest.mark.parametrize("levels", [2, 17, 256, 1000, 2**16])
def test_every_level_comes_back_and_their_amplitudes_are_symmetric(levels):
    every = torch.arange(levels)
    amplitude = mu_law_decode(every, levels)
    assert torch.equal(mu_law_encode(amplitude, levels).long(), every)
    torch.testing.assert_close(amplitude, -amplitude.flip(0))
    assert bool((amplitude.diff() > 0).all())
    assert amplitude[[0, -1]].tolist() == [-1, 1]


@pytest.mark.parametrize("bad", [1.001, -1.5, float("nan"), float("inf")])
def test_amplitudes_outside_of_the_range_are_refused(bad):
    with pytest.raises(ValueError, match=r"amplitudes must lie in \[-1, 1\], got .*; divide by the largest magnitude"):
        mu_law_encode(torch.tensor([0.5, bad]))


def test_integers_are_no_amplitudes_and_levels_must_be_in_range():
    with pytest.raises(TypeError, match="must be floating-point numbers, got torch.int16; divide 16-bit ones by 32768"):
        mu_law_encode(torch.tensor([3], dtype=torch.int16))
    with pytest.raises(ValueError, match="run from 0 to 255, got values from 3 to 256"):
        mu_law_decode(torch.tensor([3, 256]))
