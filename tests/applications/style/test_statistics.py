import numpy as np
import pytest
import torch

from applications.style.statistics import Statistics, transfer
from inverseflow.bijections import Compose, Inverse, Whiten
from inverseflow.errors import OptionError


def features(channels=6, size=(12, 15), seed=0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(channels, channels, generator=generator, dtype=torch.float64)
    z = torch.randn(channels, size[0] * size[1], generator=generator, dtype=torch.float64)
    return (mix @ z + seed).view(channels, *size)


def test_the_result_has_mean_and_covariance_of_a_style_of_another_size():
    content, style = features(), features(size=(9, 30), seed=1)
    moved = transfer(content, Statistics.of(content), Statistics.of(style)).flatten(1).numpy()
    rows = style.flatten(1).numpy()
    assert np.allclose(moved.mean(1), rows.mean(1))
    assert np.allclose(np.cov(moved, ddof=0), np.cov(rows, ddof=0))


def test_it_is_whitening_followed_by_coloring():
    content, style = features(), features(seed=1)
    moved = transfer(content, Statistics.of(content), Statistics.of(style))
    layers, _ = Compose(Whiten.of(content[None]), Inverse(Whiten.of(style[None])))(content[None])
    assert torch.allclose(moved, layers[0])


def test_adain_gives_means_and_deviations_and_leaves_what_has_its_own_style():
    content, style = features(), features(seed=1)
    own = Statistics.of(content, "adain")
    moved = transfer(content, own, Statistics.of(style, "adain"))
    assert torch.allclose(moved.mean((1, 2)), style.mean((1, 2)))
    assert torch.allclose(moved.std((1, 2), correction=0), style.std((1, 2), correction=0))
    assert torch.allclose(transfer(content, own, own), content)


@pytest.mark.parametrize("kind", ["wct", "adain"])
def test_a_strength_blends_the_content_and_its_full_transfer_and_can_be_undone(kind):
    content, style = features(), features(seed=1)
    own, other = Statistics.of(content, kind), Statistics.of(style, kind)
    partly = own.towards(other, 0.3)
    moved = transfer(content, own, partly)
    assert torch.allclose(moved, 0.7 * content + 0.3 * transfer(content, own, other))
    assert torch.allclose(transfer(moved, Statistics.of(moved, kind), own), content)  # its own statistics are enough


def test_of_ten_styles_in_a_row_the_last_counts():
    content = features()
    source, moved = Statistics.of(content), content
    for seed in range(1, 11):
        moved = transfer(moved, Statistics.of(moved), Statistics.of(features(seed=seed)))
    assert torch.allclose(moved, transfer(content, source, Statistics.of(features(seed=10))))


@pytest.mark.parametrize("kind", ["wct", "adain"])
def test_constant_channels_and_fewer_pixels_than_channels_stay_finite_and_invertible(kind):
    flat, few = torch.full((4, 5, 5), 0.5), torch.randn(8, 1, 3)
    for z in (flat, few):
        own, other = Statistics.of(z, kind), Statistics.of(torch.randn(len(z), 6, 6), kind)
        moved = transfer(z, own, other)
        assert moved.isfinite().all()
        assert torch.allclose(transfer(moved, other, own), z, atol=1e-3)


def test_gradients_agree_with_finite_differences_where_deviations_are_equal():
    z = torch.eye(3, dtype=torch.float64).repeat(1, 2)[:, None].requires_grad_()
    assert torch.autograd.gradcheck(lambda z: Statistics.of(z + 0.01 * z**2).root, z)


def test_a_strength_outside_of_its_range_and_an_unknown_kind_are_refused():
    own = Statistics.of(features())
    with pytest.raises(OptionError, match="strength must be from 0 to 1, got 1.5"):
        own.towards(own, 1.5)
    with pytest.raises(OptionError, match="no transfer 'gram'; there are wct, adain"):
        Statistics.of(features(), "gram")
