import itertools

import pytest
import torch
import torch.nn.functional as F

from inverseflow.bijections import MintNet
from inverseflow.errors import ConvergenceError
from tests.contracts.registry import perturb

each_order = pytest.mark.parametrize("order", ["A", "B"])


def built(channels=2, size=(3, 4), **options):
    return perturb(MintNet(channels, size=size, **{"width": 3 * channels, **options}).double())


def kernel_by_loops(convolution, order):
    """Return the kernel that is convolved with, entry by entry from the definition."""
    copies_in, copies_out = convolution.copies
    kernel = torch.zeros_like(convolution.weight)
    side = kernel.shape[-1]
    middle = side // 2
    for out, into, a, b in torch.cartesian_prod(*map(torch.arange, kernel.shape)).tolist():
        weight = convolution.weight[out, into, a, b]
        channel_out, channel_in = out // copies_out, into // copies_in
        tap, last = a * side + b, middle * side + middle
        if order == "B":
            channel_out, channel_in, tap = -channel_out, -channel_in, 2 * last - tap
        if channel_in < channel_out or (channel_in == channel_out and tap < last):
            kernel[out, into, a, b] = weight
        elif channel_in == channel_out and tap == last:
            kernel[out, into, a, b] = abs(weight) * (-1) ** (out % copies_out) * (-1) ** (into % copies_in)
    return kernel


@torch.no_grad()
@each_order
@pytest.mark.parametrize(
    "options", [{}, {"channels": 1, "width": 1}, {"channels": 3, "kernel_size": 5}, {"kernel_size": 1}]
)
def test_it_is_the_sum_of_the_definition(order, options):
    layer = built(order=order, **options)
    x = torch.randn(2, layer.channels, 3, 4, dtype=torch.float64)
    value = x
    for convolution, activation in ((layer.first, F.elu), (layer.second, F.elu), (layer.third, lambda h: h)):
        kernel = kernel_by_loops(convolution, order)
        value = activation(F.conv2d(value, kernel, convolution.bias, padding=kernel.shape[-1] // 2))
    torch.testing.assert_close(layer(x)[0], layer.log_scale.exp() * x + value)


def seen_by_loops(channels, height, width, order):
    """Return which elements (columns) one masked 3×3 convolution of one copy shows to which (rows)."""
    elements = list(itertools.product(range(channels), range(height), range(width)))
    seen = torch.zeros(len(elements), len(elements))
    sign = 1 if order == "A" else -1
    for i, (channel, h, w) in enumerate(elements):
        for j, (other, h_other, w_other) in enumerate(elements):
            near = max(abs(h - h_other), abs(w - w_other)) <= 1
            before = (sign * (h_other - h), sign * (w_other - w)) <= (0, 0)
            seen[i, j] = near and (sign * (other - channel) < 0 or (other == channel and before))
    return seen


@each_order
def test_its_jacobian_is_triangular_with_a_positive_diagonal_and_no_emptier_than_the_masks_make_it(order):
    layer = built(channels=3, size=(3, 4), order=order)
    x = torch.randn(3, 3, 4, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x[None])[0][0], x).view(36, 36)
    seen = seen_by_loops(3, 3, 4, order)
    assert torch.equal(jacobian != 0, seen @ seen @ seen > 0)
    assert not (jacobian.triu(1) if order == "A" else jacobian.tril(-1)).any()
    assert (jacobian.diagonal() >= layer.log_scale.exp().flatten()).all()
    torch.testing.assert_close(jacobian.diagonal().log().sum(), layer(x[None])[1][0])


@pytest.mark.parametrize("brutality", [1e-3, 1.0, 30.0])
def test_the_diagonal_is_positive_whatever_the_parameters(brutality):
    layer = MintNet(2, size=(3, 4), width=8).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=brutality)
    torch.nn.init.zeros_(layer.log_scale)
    _, log_det = layer(3 * torch.randn(16, 2, 3, 4, dtype=torch.float64))
    assert log_det.isfinite().all()
    assert (log_det > 0).all()  # every entry of the diagonal is above t = 1


@each_order
def test_it_starts_near_the_identity(order):
    x = torch.randn(4, 3, 8, 8)
    z, log_det = MintNet(3, size=(8, 8), order=order)(x)
    assert 0 < (z - x).abs().max() < 0.05
    assert 0 < log_det.abs().max() < 0.05


def test_the_solution_comes_with_the_residual_of_its_values():
    layer = built()
    z = torch.randn(5, 2, 3, 4, dtype=torch.float64)
    solution = layer.solve(z)
    back, _ = layer(solution.value)
    assert solution.residual < 2e-12
    assert (back - z).abs().max() < 1e-10
    assert 3 < solution.iterations < 200


def test_a_looser_tolerance_is_kept_and_reached_sooner():
    z = torch.randn(5, 2, 3, 4, dtype=torch.float64)
    strict = built()
    loose = MintNet(2, size=(3, 4), width=6, tolerance=1e-3).double()
    loose.load_state_dict(strict.state_dict())
    assert loose.solve(z).iterations < strict.solve(z).iterations
    assert 2e-12 < loose.solve(z).residual <= 1e-3


def test_an_inverse_that_is_not_reached_is_an_error_and_no_answer():
    layer = built(max_iterations=2)
    z = torch.randn(5, 2, 3, 4, dtype=torch.float64)
    with pytest.raises(ConvergenceError, match=r"tolerance of 1.8e-12, after 2 iterations; allow more with max_iter"):
        layer.inverse(z)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_strong_blocks_are_inverted_too(strength):
    layer = MintNet(3, size=(6, 5), width=18).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=strength / 3)
    x = 2 * torch.randn(8, 3, 6, 5, dtype=torch.float64)
    z, _ = layer(x)
    torch.testing.assert_close(layer.inverse(z)[0], x, rtol=0, atol=1e-8)


def test_the_number_of_parameters_is_that_of_the_publication():
    layer = MintNet(3, size=(8, 6), width=15)
    count = sum(parameter.numel() for parameter in layer.parameters())
    assert count == 9 * (15 * 3 + 15 * 15 + 3 * 15) + (15 + 15 + 3) + 3 * 8 * 6


def test_another_image_size_is_refused_with_both_sizes():
    with pytest.raises(ValueError, match=r"MintNet is tied to the size \(3, 4\) .* \(2, 4, 3\); .* size=\(4, 3\)"):
        built()(torch.zeros(1, 2, 4, 3, dtype=torch.float64))


BAD_OPTIONS = {
    "an even kernel": ({"kernel_size": 4}, "kernel_size must be odd, got 4"),
    "no kernel": ({"kernel_size": -1}, "kernel_size must be at least 1, got -1"),
    "no width": ({"width": 0}, "width must be a positive multiple of the 2 channels, got 0; take 2"),
    "no whole copies": ({"width": 5}, "width must be a positive multiple of the 2 channels, got 5; take 4"),
    "an unknown order": ({"order": "C"}, "unknown order 'C': choose 'A' or 'B'"),
    "no tolerance": ({"tolerance": 0.0}, "tolerance must be finite and above 0, got 0.0"),
    "no iterations": ({"max_iterations": 0}, "max_iterations must be at least 1, got 0"),
    "no channels": ({"channels": 0}, "channels must be at least 1, got 0"),
}


@pytest.mark.parametrize("bad", BAD_OPTIONS)
def test_a_bad_option_is_named_with_its_remedy(bad):
    options, message = BAD_OPTIONS[bad]
    with pytest.raises(ValueError, match=message):
        MintNet(**{"channels": 2, "size": (4, 4), **options})
