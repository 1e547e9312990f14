import math

import pytest
import torch

from inverseflow.bijections import ExactConv2d, Inverse, SelfNormalizingConv2d
from tests.bijections.convolution.matrices import scrambled
from tests.ops.oracle import same_matrix

SIZE = (4, 5)
each_kernel = pytest.mark.parametrize("kernel_size", [1, 3, (1, 3), (5, 3)])


def layer_of(kernel_size=3, **options):
    return scrambled(SelfNormalizingConv2d(2, kernel_size, **options), 0.3)


def images(batch=3):
    return torch.randn(batch, 2, *SIZE, dtype=torch.float64)


def mirrored(kernel):
    return kernel.transpose(0, 1).flip(2, 3)


def of_tap(kernel, matrix):
    """Sum the entries of a matrix that each tap of a kernel fills."""
    kernel = kernel.detach().clone().requires_grad_()
    return torch.autograd.grad(same_matrix(kernel, *SIZE), kernel, matrix)[0]


def apply(matrix, x):
    return (x.flatten(1) @ matrix.T).view(x.shape)


def matrices(layer):
    return same_matrix(layer.weight.detach(), *SIZE), same_matrix(layer.inverse_weight.detach(), *SIZE)


def gradients(layer, x):
    """Return the gradients of w, r, b and x for a loss whose gradient at the output is itself."""
    x = x.clone().requires_grad_()
    layer.zero_grad()
    z, log_det = layer(x)
    (0.5 * z.square().sum() - log_det.sum()).backward()
    return layer.weight.grad, layer.inverse_weight.grad, layer.bias.grad, x.grad


@each_kernel
@pytest.mark.parametrize("gradient", ["self_normalizing", "exact"])
@pytest.mark.parametrize("mode", [True, False])
def test_values_are_those_of_the_exact_convolution_in_every_mode(mode, gradient, kernel_size):
    layer = layer_of(kernel_size, gradient=gradient).train(mode)
    exact = ExactConv2d(2, kernel_size).double()
    exact.load_state_dict({"weight": layer.weight, "bias": layer.bias})
    x = images()
    torch.testing.assert_close(layer(x), exact(x), rtol=0, atol=0)
    torch.testing.assert_close(layer.inverse(x), exact.inverse(x), rtol=0, atol=0)


@each_kernel
def test_training_gradients_are_those_of_the_paper(kernel_size):
    layer = layer_of(kernel_size, reconstruction_weight=0.0)
    x = images()
    W, R = matrices(layer)
    z = layer(x)[0].detach()
    delta_z, linear = z, z - layer.bias.detach()[:, None, None]
    delta_x = apply(W.T, delta_z)
    # For each image the matrices stand in for each other's inverses: the gradient of log|det W|, W⁻ᵀ, becomes Rᵀ.
    of_w = 0.5 * (of_tap(layer.weight, delta_z.flatten(1).T @ x.flatten(1)) - len(x) * of_tap(layer.weight, R.T))
    of_r = 0.5 * (
        len(x) * of_tap(layer.inverse_weight, W.T)
        - of_tap(layer.inverse_weight, delta_x.flatten(1).T @ linear.flatten(1))
    )
    expected = of_w, of_r, delta_z.sum((0, 2, 3)), delta_x
    torch.testing.assert_close(gradients(layer, x), expected)


def test_the_reconstruction_error_adds_its_weighted_gradient_to_both_kernels_and_to_nothing_else():
    x = images()
    with_error = layer_of(reconstruction_weight=7.0)
    without_error = SelfNormalizingConv2d(2, reconstruction_weight=0.0).double()
    without_error.load_state_dict(with_error.state_dict())
    difference = [a - b for a, b in zip(gradients(with_error, x), gradients(without_error, x), strict=True)]
    with_error.zero_grad()
    (7.0 * with_error.reconstruction_error(x).sum()).backward()
    zero = torch.zeros_like
    expected = [with_error.weight.grad, with_error.inverse_weight.grad, zero(with_error.bias), zero(x)]
    torch.testing.assert_close(difference, expected)


def test_the_reconstruction_error_is_that_of_the_two_convolutions():
    layer, x = layer_of(), images()
    W, R = matrices(layer)
    expected = (apply(R @ W, x) - x).square().sum((1, 2, 3))
    torch.testing.assert_close(layer.reconstruction_error(x), expected)


def test_where_the_inverse_is_a_convolution_the_gradient_of_the_log_determinant_is_exact():
    layer = SelfNormalizingConv2d(2).double()
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.inverse_weight)
    with torch.no_grad():
        layer.weight[:, :, 1, 1] = mix = torch.tensor([[2.0, 1.0], [0.5, -1.0]]).double()
        layer.inverse_weight[:, :, 1, 1] = torch.linalg.inv(mix)
    x = images(1)
    (surrogate,) = torch.autograd.grad(layer.train()(x)[1].sum(), layer.weight)
    (exact,) = torch.autograd.grad(layer.eval()(x)[1].sum(), layer.weight)
    torch.testing.assert_close(2 * surrogate[:, :, 1, 1], exact[:, :, 1, 1])


@pytest.mark.parametrize("options", [{"gradient": "exact"}, {"gradient": "self_normalizing"}])
def test_gradients_are_exact_in_evaluation_and_when_asked_for(options):
    layer = layer_of(**options).train(options["gradient"] == "exact")
    assert torch.autograd.gradcheck(
        lambda x, *_: layer(x), (images(1).requires_grad_(), layer.weight, layer.bias), fast_mode=True
    )


@pytest.mark.parametrize("gradient", ["self_normalizing", "exact"])
def test_gradients_of_the_inverse_are_exact_in_training(gradient):
    layer = layer_of(gradient=gradient)
    assert torch.autograd.gradcheck(
        lambda x, *_: Inverse(layer)(x), (images(1).requires_grad_(), layer.weight, layer.bias), fast_mode=True
    )


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("gradient", ["self_normalizing", "exact"])
def test_every_parameter_is_in_the_graph_of_both_directions(gradient, mode):
    layer = layer_of(gradient=gradient).train(mode)
    for direction in (layer, layer.inverse):
        layer.zero_grad()
        value, log_det = direction(images())
        (value.square().sum() + log_det.sum()).backward()
        assert all(parameter.grad is not None for parameter in layer.parameters())


def test_the_approximate_inverse_convolves_with_the_learned_kernel():
    layer, z = layer_of(), images()
    expected = apply(matrices(layer)[1], z - layer.bias.detach()[:, None, None])
    torch.testing.assert_close(layer.approximate_inverse(z), expected)


def test_training_fits_a_density_and_learns_the_inverse():
    layer = SelfNormalizingConv2d(1, reconstruction_weight=10.0).double()
    mixing = torch.tensor([[[[0.0, 0.2, 0.0], [-0.1, 1.5, 0.3], [0.0, 0.2, 0.0]]]]).double()
    x = torch.nn.functional.conv2d(torch.randn(256, 1, 4, 4).double(), mixing, padding=1) + 0.5
    matrix = same_matrix(mixing, 4, 4)
    best = 8 * (1 + math.log(2 * math.pi)) + torch.linalg.slogdet(matrix).logabsdet

    def nats():
        z, log_det = layer(x)
        return (0.5 * z.square().sum((1, 2, 3)) - log_det).mean() + 8 * math.log(2 * math.pi)

    optimizer = torch.optim.Adam(layer.parameters(), lr=0.04)
    before = nats().item()
    for _ in range(120):
        optimizer.zero_grad()
        nats().backward()
        optimizer.step()
    after = layer.eval() and nats().item()
    assert after < 0.2 * (before - best) + best
    assert layer.reconstruction_error(x).mean() < 0.05 * x.square().sum((1, 2, 3)).mean()


def test_it_starts_near_the_identity_and_near_its_inverse():
    layer, x = SelfNormalizingConv2d(12), torch.randn(2, 12, 6, 6)
    assert (layer(x)[0] - x).std() < 0.1
    assert (layer.approximate_inverse(layer(x)[0]) - x).std() < 0.01


BAD_OPTIONS = {
    "an even side": ({"kernel_size": (2, 3)}, r"kernel_size must be odd, got \(2, 3\)"),
    "an unknown gradient": (
        {"gradient": "approximate"},
        "unknown gradient 'approximate': choose 'self_norm",
    ),
    "a negative weight": (
        {"reconstruction_weight": -1.0},
        "must be finite and at least 0, got -1.0",
    ),
    "a weight that is no number": ({"reconstruction_weight": math.nan}, "got nan"),
}


@pytest.mark.parametrize("bad", BAD_OPTIONS)
def test_a_bad_option_is_named_with_its_remedy(bad):
    options, message = BAD_OPTIONS[bad]
    with pytest.raises(ValueError, match=message):
        SelfNormalizingConv2d(2, **options)
