import pytest
import torch

from inverseflow.bijections import Compose, Inverse, Whiten, initialize_from_data


def pictures(channels=4, seed=0, sides=(7, 9)):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels, channels, generator=generator, dtype=torch.float64)
    noise = torch.randn(3, channels, *sides, generator=generator, dtype=torch.float64)
    return torch.einsum("ij,bjhw->bihw", mixing, noise) + mixing[0, 0]


def covariance(x):
    return x.transpose(0, 1).flatten(1).cov(correction=0)


def test_whitened_channels_are_uncorrelated_and_the_log_determinant_is_that_of_the_covariance():
    x = pictures()
    layer = Whiten(4).double()
    initialize_from_data(layer, x)
    z, log_det = layer(x)
    torch.testing.assert_close(covariance(z), torch.eye(4).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(log_det, -0.5 * 63 * torch.logdet(covariance(x)).expand(3), rtol=1e-12, atol=0)
    torch.testing.assert_close(layer.matrix, layer.matrix.T)


def test_whitening_and_coloring_gives_one_picture_the_mean_and_covariance_of_another():
    content, style = pictures(), pictures(seed=1, sides=(5, 20))
    moved, _ = Compose(Whiten.of(content), Inverse(Whiten.of(style)))(content)
    torch.testing.assert_close(covariance(moved), covariance(style), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(moved.mean((0, 2, 3)), style.mean((0, 2, 3)))


def test_dependent_channels_and_fewer_pixels_than_channels_are_inverted():
    x = torch.randn(1, 6, 1, 3, dtype=torch.float64)
    layer = Whiten.of(x, min_deviation=1e-2)
    z, log_det = layer(x)
    assert log_det.isfinite()
    torch.testing.assert_close(layer.inverse(z)[0], x, rtol=0, atol=1e-12)
    deviations = 1 / torch.linalg.eigvalsh(layer.matrix).flip(0)
    assert deviations[0] / deviations[-1] == pytest.approx(1e-2)


def test_data_without_variance_or_with_infinities_is_refused():
    with pytest.raises(ValueError, match="every channel is constant in the 8 pixels"):
        Whiten.of(torch.full((2, 3, 2, 2), 0.1))
    with pytest.raises(ValueError, match="not finite"):
        Whiten.of(torch.tensor([[float("inf"), 0.0]]))
