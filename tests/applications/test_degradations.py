import pytest
import torch
from scipy.ndimage import gaussian_filter

from applications.degradations import DEGRADATIONS, degrade
from inverseflow.errors import OptionError


@pytest.fixture
def picture():
    noise = torch.rand(3, 40, 56, generator=torch.Generator().manual_seed(0))
    return torch.from_numpy(gaussian_filter(noise.numpy(), (0, 3, 3)) * 4 - 1.5).clamp(0, 1)


def damaged(name, picture, severity, seed=0):
    return degrade(name, picture, severity, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_damage_grows_from_nothing_is_seeded_and_keeps_size_and_range(name, picture):
    errors = [float((damaged(name, picture, s) - picture).abs().mean()) for s in (0, 0.02, 0.3, 0.9)]
    assert errors[0] == 0 and errors[1] < 0.02
    assert errors[1] < errors[2] < errors[3] and errors[3] > 0.01
    once, again = (damaged(name, picture, 0.6) for _ in range(2))
    assert torch.equal(once, again) and once.shape == picture.shape
    assert once.min() >= 0 and once.max() <= 1


@pytest.mark.parametrize(
    "name", ["water damage", "rain", "noise", "Gaussian noise", "motion blur", "scratches", "snow"]
)
def test_another_seed_damages_otherwise(name, picture):
    assert not torch.equal(damaged(name, picture, 0.6), damaged(name, picture, 0.6, seed=1))


def test_blur_is_that_of_scipy(picture):
    expected = gaussian_filter(picture.numpy(), (0, 1.5, 1.5), mode="nearest", truncate=3.0)
    assert (damaged("blur", picture, 0.6) - torch.from_numpy(expected)).abs().max() < 2e-3


def test_noise_has_its_deviation_and_its_shares():
    gray = torch.full((3, 200, 200), 0.5)
    assert float((damaged("Gaussian noise", gray, 0.5) - gray).std()) == pytest.approx(0.1, rel=0.02)
    salted = damaged("noise", gray, 0.5)
    assert float((salted == 1).float().mean()) == pytest.approx(0.05, rel=0.1)
    assert float((salted == 0).float().mean()) == pytest.approx(0.05, rel=0.1)


def test_blocks_are_means(picture):
    blocks = damaged("pixelate", picture, 0.7)  # of 4 pixels
    assert torch.allclose(blocks[:, 4:8, 8:12], picture[:, 4:8, 8:12].mean((1, 2))[:, None, None].expand(3, 4, 4))


def test_bad_damage_is_refused(picture):
    with pytest.raises(OptionError, match="there is no degradation 'mold'; there are water damage, rain"):
        damaged("mold", picture, 0.5)
    with pytest.raises(ValueError, match="severity must be .* 1"):
        damaged("rain", picture, 1.5)
