import math

import pytest
import torch

from inverseflow.bijections import BatchNorm


def test_in_training_it_whitens_the_batch_as_torch_does():
    x = 5 + 3 * torch.randn(7, 2, 3, 4)
    layer, reference = BatchNorm(2), torch.nn.BatchNorm2d(2, affine=False)
    z, log_det = layer(x)
    torch.testing.assert_close(z, reference(x))
    variance = x.transpose(0, 1).flatten(1).var(1, correction=0)
    torch.testing.assert_close(log_det, (-6 * (variance + 1e-5).log().sum()).expand(7))


def test_its_running_averages_are_those_of_torch_with_the_variance_of_the_batch():
    layer, reference = BatchNorm(3, momentum=0.3), torch.nn.BatchNorm1d(3, momentum=0.3, affine=False)
    for _ in range(5):
        x = 2 * torch.randn(6, 3) - 1
        layer(x)
        reference(x)
        reference.running_var.add_(0.3 * (x.var(0, correction=0) - x.var(0)))  # torch averages unbiased variances
    torch.testing.assert_close(layer.mean, reference.running_mean)
    torch.testing.assert_close(layer.variance, reference.running_var)


def test_in_use_it_takes_the_running_averages_and_leaves_them():
    layer = BatchNorm(2)
    layer(3 + torch.randn(50, 2))
    before = layer.eval().mean.clone()
    z, log_det = layer(torch.ones(1, 2))
    torch.testing.assert_close(z[0], (1 - before) / (layer.variance + 1e-5).sqrt())
    torch.testing.assert_close(log_det[0], -0.5 * (layer.variance + 1e-5).log().sum())
    assert torch.equal(layer.mean, before)


def test_its_gradient_passes_through_the_statistics_of_the_batch():
    layer, x = BatchNorm(2).double(), torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layer(x), x)
    assert layer.mean.requires_grad is False


@pytest.mark.parametrize("events", [0, 1])
def test_in_training_a_single_event_is_refused(events):
    layer = BatchNorm(2)
    with pytest.raises(ValueError, match=rf"at least 2 events, got {events}; call .eval\(\) first, or use ActNorm"):
        layer(torch.randn(events, 2, 3, 3))
    assert layer.eval()(torch.randn(events, 2, 3, 3))[0].shape == (events, 2, 3, 3)
    assert torch.equal(layer.mean, torch.zeros(2))


@pytest.mark.parametrize("options", [{"momentum": 0.0}, {"momentum": 1.5}, {"epsilon": 0.0}, {"epsilon": math.nan}])
def test_options_out_of_range_are_refused_by_name(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"{name} must"):
        BatchNorm(2, **options)
