"""The published algorithm beside the true one, and its emulation beside loops over the public indices."""

import itertools

import pytest
import torch

from experiments import audit
from experiments.audit import (
    cosine,
    coupling_parameters,
    published_gradients,
    published_wide_solve,
    relative_error,
)
from inverseflow.ops import inv_conv2d

SIDE, KERNEL, GROUPS = 4, 3, 4


@pytest.fixture(scope="module")
def gradients():
    return published_gradients(SIDE, KERNEL, bound=0.3)


def example():
    """Return kernel, image and gradient of the example."""
    weight = 0.3 * audit._sines(GROUPS, GROUPS, KERNEL, KERNEL)
    y, gradient = (audit._sines(GROUPS, GROUPS, SIDE, SIDE, phase=phase) for phase in (1.0, 2.0))
    return weight, y, gradient


def of_library():
    weight, y, gradient = example()
    leaves = y.requires_grad_(), weight[:, :1].clone().requires_grad_()
    return torch.autograd.grad(inv_conv2d(*leaves, unitriangular=True, groups=GROUPS), leaves, gradient)


def places():
    return list(itertools.product(range(SIDE), range(SIDE)))


def offsets(h, w, side=KERNEL):
    """Return the offsets of a kernel that stay inside the image."""
    return [(a, b) for a, b in itertools.product(range(side), range(side)) if a <= h and b <= w]


def test_the_published_gradient_of_the_image_is_another(gradients):
    torch.testing.assert_close(of_library()[0], gradients.image)
    assert relative_error(gradients.published_image, gradients.image) > 0.3
    assert cosine(gradients.published_image, gradients.image) < 0.95


def test_the_published_gradient_of_the_kernel_is_another(gradients):
    torch.testing.assert_close(of_library()[1], gradients.kernel[:, :1])
    assert not gradients.kernel[:, 1:].any()
    assert relative_error(gradients.published_kernel, gradients.kernel) > 1
    assert abs(cosine(gradients.published_kernel, gradients.kernel)) < 0.3


def test_the_emulated_gradient_of_the_image_is_that_of_the_public_indices(gradients):
    weight, _, gradient = example()
    expected = torch.zeros_like(gradient)
    for c in range(GROUPS):
        response = torch.zeros(SIDE, SIDE, dtype=torch.float64)
        for h, w in places():
            response[h, w] = float((h, w) == (0, 0))
            for a, b in offsets(h, w):
                if (a, b) != (0, 0):
                    response[h, w] -= weight[c, 0, KERNEL - 1 - a, KERNEL - 1 - b] * response[h - a, w - b]
        for h, w in places():
            for a, b in offsets(h, w, SIDE):
                expected[:, c, h, w] += gradient[:, c, a, b] * response[h - a, w - b]
    torch.testing.assert_close(gradients.published_image, expected)


def test_the_emulated_gradient_of_the_kernel_is_that_of_the_public_indices(gradients):
    weight, y, gradient = example()
    expected = torch.zeros_like(weight)
    for image, c, a, b in itertools.product(range(GROUPS), range(GROUPS), range(KERNEL), range(KERNEL)):
        if (a, b) == (KERNEL - 1, KERNEL - 1):
            continue
        change = torch.zeros(SIDE, SIDE, dtype=torch.float64)
        for h, w in places():
            if h >= a and w >= b:
                change[h, w] = -y[image, c, h - a, w - b] - sum(
                    change[h - p, w - q] * weight[c, 0, KERNEL - 1 - p, KERNEL - 1 - q]
                    for p, q in offsets(h, w)
                    if (p, q) != (0, 0)
                )
        change[0, 0] = 0  # left out of the sum
        expected[image, c, a, b] = (gradient[image, c] * change).sum()
    torch.testing.assert_close(gradients.published_kernel, expected)


def test_the_public_solve_and_convolution_are_inverse_for_one_channel_a_group_alone():
    assert published_wide_solve(4).round_trip_error < 1e-14
    for channels in (8, 12, 24):
        assert published_wide_solve(channels).round_trip_error > 0.1


def test_the_public_solve_of_wide_groups_changes_volumes():
    assert published_wide_solve(4).log_det == 0
    assert abs(published_wide_solve(8).log_det) > 0.1


def public_solve(y, weight):
    """Return the public solve of one image by loops over its indices."""
    per_group = weight.shape[1]
    x = y.clone()
    for channel in range(len(y)):
        for h, w in itertools.product(range(SIDE), range(SIDE)):
            for a, b in offsets(h, w):
                for i in range(per_group):
                    if (a, b) != (0, 0) or i != channel % per_group:
                        tap = weight[channel, i, KERNEL - 1 - a, KERNEL - 1 - b]
                        x[channel, h, w] = x[channel, h, w] - tap * x[channel, h - a, w - b]
    return x


def public_convolution(x, weight):
    """Return the public convolution of one image by loops over its indices."""
    per_group = weight.shape[1]
    y = x.clone()
    for channel in range(len(x)):
        first = channel // per_group * per_group
        for h, w in itertools.product(range(SIDE), range(SIDE)):
            for a, b in offsets(h, w):
                for i in range(per_group):
                    if (a, b) != (0, 0) or i != channel % per_group:
                        tap = weight[channel, i, KERNEL - 1 - a, KERNEL - 1 - b]
                        y[channel, h, w] += tap * x[first + i, h - a, w - b]
    return y


def test_the_emulated_solve_is_that_of_the_public_indices():
    weight = 0.05 * audit._sines(8, 2, KERNEL, KERNEL)
    y = audit._sines(1, 8, SIDE, SIDE, phase=1.0)[0]
    emulated = published_wide_solve(8, SIDE, KERNEL, bound=0.05)
    error = (public_convolution(public_solve(y, weight), weight) - y).abs().max().item()
    assert emulated.round_trip_error == pytest.approx(error, rel=1e-12)
    basis = torch.eye(y.numel(), dtype=torch.float64).view(*y.shape, y.numel())
    jacobian = public_solve(basis, weight).flatten(0, 2)  # the solve is linear
    assert emulated.log_det == pytest.approx(torch.linalg.slogdet(jacobian).logabsdet.item(), rel=1e-12)


def test_the_public_coupling_network_has_as_many_parameters_as_are_counted():
    channels, width = 6, 20
    network = torch.nn.Sequential(
        torch.nn.Conv2d(channels // 2, width, 3, bias=False),
        torch.nn.Conv2d(width, channels, 1, bias=False),
        torch.nn.Conv2d(channels, channels, 3),
    )
    gain = channels
    assert coupling_parameters(channels, width) == sum(p.numel() for p in network.parameters()) + gain


def test_errors_and_angles_are_those_of_vectors():
    value, expected = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    assert relative_error(value, expected) == pytest.approx(5 / 4)
    assert cosine(value, expected) == 0
    assert cosine(expected, 2 * expected) == pytest.approx(1)
