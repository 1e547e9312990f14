import math

import pytest
import torch

from inverseflow.bijections import ActNorm, Multiscale, Residual
from inverseflow.flows import ImageIResNet
from inverseflow.nets import LipschitzConv
from inverseflow.training.baselines import baseline_bits


def residuals(flow):
    return [module for module in flow.modules() if isinstance(module, Residual)]


def strong(*arguments, **options):
    """Build a flow whose residual layers use much of their Lipschitz constant."""
    flow = ImageIResNet(*arguments, **options)
    for layer in residuals(flow):
        for parameter in layer.parameters():
            parameter.data.add_(torch.randn_like(parameter))
    return flow


def test_its_steps_are_a_normalization_and_a_residual_layer():
    flow = ImageIResNet((1, 8, 8), levels=17, scales=2, steps=3, width=4, kernel_size=5)
    assert isinstance(flow.bijection, Multiscale)
    for scale, channels in zip(flow.bijection.scales, (4, 8), strict=True):
        _, *steps = scale.layers
        kinds = [[type(layer) for layer in step.layers] for step in steps[:3]]
        assert kinds == [[ActNorm, Residual]] * 3
        sides = [layer.kernel_size for layer in steps[0].modules() if isinstance(layer, LipschitzConv)]
        assert sides == [5, 1, 5]
        assert steps[0].layers[1].channels == channels


def test_no_layer_stretches_images_by_more_than_its_bound_at_its_size():
    flow = strong((1, 8, 8), levels=None, scales=2, steps=1, width=6, max_lipschitz=0.8).double()
    for layer, shape in zip(residuals(flow), [(4, 4, 4), (8, 2, 2)], strict=True):
        x = torch.randn(shape, dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(lambda x: layer.net(x[None])[0], x)  # noqa: B023
        norm = torch.linalg.matrix_norm(jacobian.reshape(x.numel(), x.numel()), 2)
        assert 0.01 < norm <= 0.8


def test_bits_of_small_images_are_a_bound_and_of_large_ones_an_estimate():
    small, large = (ImageIResNet((1, side, side), steps=1, width=4) for side in (8, 12))
    assert (small.likelihood, large.likelihood) == ("bound", "estimate")


@torch.no_grad()
def test_estimates_for_large_images_have_the_mean_of_the_exact_value():
    flow = strong((1, 8, 12), levels=None, scales=1, steps=2, width=8, max_lipschitz=0.7).eval()
    x = torch.randn(1, 1, 8, 12).expand(400, 1, 8, 12)
    estimates = flow.log_prob(x)
    for layer in residuals(flow):
        layer.max_exact = 96
    exact = flow.log_prob(x[:1])[0]
    assert abs(estimates.mean() - exact) < 4 * estimates.std() / math.sqrt(400) + 2 * 96 * 1e-3


@torch.no_grad()
def test_images_come_back_in_single_precision():
    flow = strong((1, 12, 12), levels=256, steps=2, width=8)
    images = torch.randint(256, (8, 1, 12, 12), dtype=torch.uint8)
    assert torch.equal(flow.decode(flow.encode(images)), images)
    z = torch.randn(8, 144)
    assert (flow.bijection(flow.bijection.inverse(z)[0])[0] - z).abs().max() < 2e-5


def test_an_image_that_is_too_large_for_an_exact_log_determinant_is_refused():
    with pytest.raises(ValueError, match=r"up to max_exact=64 elements, got \(4, 6, 6\) of 144"):
        ImageIResNet((1, 12, 12), steps=1, log_det="exact")


@pytest.mark.slow
def test_it_learns_digits_better_than_the_baselines():
    datasets = pytest.importorskip("sklearn.datasets")
    images = torch.from_numpy(datasets.load_digits().images).to(torch.uint8)[:, None]
    images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]
    train, test = images[:1400], images[1400:]
    torch.manual_seed(0)
    flow = ImageIResNet((1, 8, 8), levels=17, scales=2, steps=4, width=32, log_det="roulette")
    flow.initialize(train[:512])
    optimizer = torch.optim.Adam(flow.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    for _ in range(300):
        optimizer.zero_grad()
        flow.bits_per_dim(train[torch.randint(len(train), (64,))]).mean().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        bits = flow.eval().bits_per_dim(test).mean().item()
    assert bits < min(baseline_bits(train, test, 17).values()) - 0.05
    assert torch.equal(flow.decode(flow.encode(test)), test)


def test_samples_take_no_log_determinant_and_leave_the_default_generator_alone():
    flow = strong((1, 16, 16), levels=None, steps=1, width=8).eval()
    before = torch.random.get_rng_state()
    x = flow.sample(2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.random.get_rng_state(), before)
    same, log_prob = flow.sample_with_log_prob(2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(x, same)
    assert not torch.equal(torch.random.get_rng_state(), before)
    torch.testing.assert_close(log_prob, flow.log_prob(same), rtol=0.05, atol=5)  # two estimates
