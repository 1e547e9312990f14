import math
from fractions import Fraction
from functools import partial

import pytest
import torch
from torch import nn

from inverseflow.bijections import CheckpointedCompose, Residual
from inverseflow.bijections import residual as module
from inverseflow.errors import ConvergenceError
from inverseflow.nets import LipschitzLinear, LipschitzNet
from tests.contracts.registry import perturb


def strong(channels=4, **options):
    """Build a layer with weights so large that its Lipschitz constant is nearly used up."""
    lipschitz = options.pop("max_lipschitz", 0.9)
    layer = Residual(channels, partial(LipschitzNet, width=16, max_lipschitz=lipschitz), **options).double()
    for parameter in layer.parameters():
        parameter.data.add_(torch.randn_like(parameter))
    return layer


def linear(matrix, **options):
    """Build z = x + W x."""
    net = LipschitzNet(len(matrix), len(matrix), width=1, depth=0, max_lipschitz=0.9).double()
    net.layers[0].weight.data.copy_(matrix)
    return Residual(len(matrix), net, **options)


def matrix_of_norm(norm, side=4):
    matrix = torch.randn(side, side, dtype=torch.float64)
    return matrix * norm / torch.linalg.matrix_norm(matrix, 2)


def dense_log_det(layer, x):
    jacobian = torch.autograd.functional.jacobian(lambda event: layer(event[None])[0][0], x)
    return torch.linalg.slogdet(jacobian.reshape(x.numel(), x.numel())).logabsdet


@torch.no_grad()
def mean_of_series(layer, terms):
    """Return the mean of the log-determinant of the layer's series over all probes: all signs of D = 4 elements."""
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 4)[:, None]
    x = torch.zeros(1, 4, dtype=torch.float64)
    _, push = layer.net.bind(()).linearize(x)
    u, total = signs, 0.0
    for k in range(1, terms + 1):
        u = push(u)
        total += (-1) ** (k + 1) / k * float((signs * u).sum(2).mean())
    return total, x


@pytest.mark.parametrize("terms", [1, 3, 5, 10])
def test_a_truncated_series_errs_by_less_than_its_bound(terms):
    layer = strong()
    total, x = mean_of_series(layer, terms)
    error = abs(total - layer.eval()(x)[1].item())
    assert 0 < error < layer.truncation_bound(4, terms=terms)


def test_the_bound_is_reached_by_a_negative_multiple_of_the_identity():
    layer = linear(-0.9 * torch.eye(4, dtype=torch.float64), log_det="exact", tolerance=1.0)
    truncated = -4 * sum(layer.max_lipschitz**k / k for k in range(1, 6))
    log_det = layer(torch.zeros(1, 4, dtype=torch.float64))[1].item()
    assert truncated - log_det == pytest.approx(layer.truncation_bound(4, terms=5), rel=0.1)


def test_the_exact_log_determinant_of_a_linear_network_is_that_of_its_matrix():
    matrix = matrix_of_norm(0.8)
    _, log_det = linear(matrix)(torch.randn(3, 4, dtype=torch.float64))
    expected = torch.linalg.slogdet(torch.eye(4, dtype=torch.float64) + matrix).logabsdet
    torch.testing.assert_close(log_det, expected.expand(3))


@pytest.mark.parametrize("log_det", ["series", "roulette"])
def test_an_estimate_has_the_mean_of_the_exact_value(log_det):
    layer = strong(log_det=log_det)
    x = torch.randn(1, 4, dtype=torch.float64)
    expected = layer.eval()(x)[1].item()
    with torch.no_grad():
        means = torch.stack([layer.train()(x.expand(400, 4))[1].mean() for _ in range(100)])
    standard_error = float(means.std()) / math.sqrt(len(means))
    assert standard_error < 0.02
    bias = layer.truncation_bound(4) if log_det == "series" else 0.0
    assert abs(float(means.mean()) - expected) < 3 * standard_error + bias


def test_the_weights_of_the_roulette_have_mean_one():
    draws = [module._roulette(2, 0.8) for _ in range(4000)]
    for term in (1, 2, 3, 5, 8):
        weights = torch.tensor([draw[term - 1] if len(draw) >= term else 0.0 for draw in draws])
        assert abs(float(weights.mean()) - 1) <= 4 * float(weights.std()) / math.sqrt(len(weights))
    assert min(map(len, draws)) == 2


@pytest.mark.parametrize("log_det", ["series", "roulette"])
def test_the_gradient_of_an_estimate_has_the_mean_of_the_exact_gradient(log_det):
    layer = strong(log_det=log_det, max_lipschitz=0.7)
    x = torch.randn(1, 4, dtype=torch.float64, requires_grad=True)
    inputs = [x, layer.net.layers[0].weight, layer.net.layers[2].weight, layer.net.activations[1].raw_beta]

    def gradient(rows):
        _, log_det = layer(x.expand(rows, 4))
        return torch.cat([part.flatten() for part in torch.autograd.grad(log_det.mean(), inputs)])

    exact = gradient_of_evaluation(layer, gradient)
    draws = torch.stack([gradient(200) for _ in range(100)])
    standard_error = draws.std(0) / math.sqrt(len(draws))
    assert standard_error.max() < 0.1 * exact.norm()
    deviations = ((draws.mean(0) - exact) / standard_error).square().mean().sqrt()
    assert deviations < 1.5  # 1 if there is no bias


def gradient_of_evaluation(layer, gradient):
    layer.eval()
    exact = gradient(1)
    layer.train()
    return exact


def saved_bytes(layer, x):
    """Return how many bytes a call stores for the backward pass."""
    sizes = {}

    def pack(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = layer(x)
    assert result[1].requires_grad
    return sum(sizes.values())


def test_the_memory_of_the_gradient_does_not_grow_with_the_number_of_terms():
    net = perturb(LipschitzNet(4, 4, width=16)).double()
    x = torch.randn(50, 4, dtype=torch.float64)
    few, many = (saved_bytes(Residual(4, net, log_det="series", terms=terms, tolerance=10), x) for terms in (2, 40))
    assert many <= 1.01 * few


def test_evaluation_is_exact_for_small_events_and_a_converged_series_for_large_ones():
    x = torch.randn(3, 4, dtype=torch.float64)
    small = strong(log_det="roulette").eval()
    torch.testing.assert_close(small(x)[1], torch.stack([dense_log_det(small, event) for event in x]))
    large = Residual(4, small.net, log_det="roulette", max_exact=3, tolerance=1e-3, probes=5000).eval()
    assert large.truncation_bound(1) <= 1e-3 < large.truncation_bound(1, terms=large._terms_needed - 1)
    torch.testing.assert_close(large(x)[1], small(x)[1], rtol=0, atol=0.1)


def test_the_second_derivative_of_an_estimate_is_refused():
    layer, x = strong(log_det="roulette"), torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x)[1].sum(), x)
    assert gradient.abs().min() > 0
    with pytest.raises(RuntimeError, match="take log_det='exact', or leave out create_graph"):
        torch.autograd.grad(layer(x)[1].sum(), x, create_graph=True)


@pytest.mark.parametrize("scale", [0.0, 1.0, 20.0, 1e4])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_data_come_back_after_at_most_a_hundred_iterations(dtype, tolerance, scale):
    layer = strong(max_iterations=100).to(dtype)
    x = scale * torch.randn(500, 4, dtype=dtype)
    z, log_det = layer(x)
    back, log_det_back = layer.inverse(z)
    assert (back - x).abs().max() <= tolerance * max(1.0, scale)
    torch.testing.assert_close(log_det_back, -log_det, rtol=0, atol=100 * tolerance)


def test_every_iterate_of_the_inverse_is_as_close_as_the_contraction_promises():
    layer = strong()
    x = torch.randn(20, 4, dtype=torch.float64)
    z, _ = layer(x)
    iterates = [z]
    for _ in range(20):
        iterates.append(z - layer.net(iterates[-1]))
    first = (iterates[1] - iterates[0]).norm(dim=1)
    for n, iterate in enumerate(iterates):
        assert ((iterate - x).norm(dim=1) <= 0.9**n / 0.1 * first + 1e-12).all()


def test_a_network_that_is_no_contraction_is_found_out_by_the_inverse():
    net = LipschitzNet(4, 4, width=1, depth=0, max_lipschitz=1.2).double()
    net.layers[0].weight.data.copy_(1.2 * torch.eye(4))
    net.max_lipschitz = 0.9  # a lie
    with pytest.raises(ConvergenceError, match="needs a function with a Lipschitz constant below 1"):
        Residual(4, net).inverse(torch.ones(2, 4, dtype=torch.float64))


def test_too_few_iterations_are_reported_with_the_residual():
    with pytest.raises(ConvergenceError, match=r"residual of [\d.e-]+, above its tolerance of .*, after 2 iterations"):
        strong(max_iterations=2).inverse(torch.randn(3, 4, dtype=torch.float64))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_latent_that_is_not_finite_has_no_inverse(value):
    z = torch.randn(3, 4, dtype=torch.float64)
    z[1, 2] = value
    with pytest.raises(ConvergenceError):
        strong().inverse(z)


def sequential(max_lipschitz=0.9):
    parts = [LipschitzLinear(4, 8, max_lipschitz=max_lipschitz), nn.Softplus(), LipschitzLinear(8, 4)]
    return nn.Sequential(*parts).double()


def test_a_network_of_ones_own_is_taken_if_its_constant_is_known():
    layer = Residual(4, sequential())
    assert layer.max_lipschitz == pytest.approx(0.81)
    x = torch.randn(3, 4, dtype=torch.float64)
    z, log_det = layer(x)
    torch.testing.assert_close(log_det, torch.stack([dense_log_det(layer, event) for event in x]))
    torch.testing.assert_close(layer.inverse(z)[0], x)


@pytest.mark.parametrize("log_det", ["exact", "roulette"])
def test_a_network_of_ones_own_is_estimated_and_differentiated_like_ours(log_det):
    layer = Residual(4, sequential(), log_det=log_det, terms=3)
    x = torch.randn(300, 4, dtype=torch.float64)
    layer(x)[1].mean().backward()
    gradient = layer.net[0].weight.grad.clone()
    assert gradient.abs().max() > 0


def test_a_network_of_unknown_constant_is_refused_with_how_to_build_it():
    with pytest.raises(TypeError, match="Lipschitz constant of Linear is not known; take LipschitzNet, a Sequential"):
        Residual(4, nn.Linear(4, 4))
    for net in (nn.ELU(alpha=-5.0), nn.Softplus(threshold=0)):
        with pytest.raises(TypeError, match=f"constant of {type(net).__name__} is not known"):
            Residual(4, net)


def test_a_constant_of_one_or_more_is_refused():
    with pytest.raises(ValueError, match="must have a Lipschitz constant below 1, got 1.8; lower max_lipschitz"):
        Residual(4, sequential(max_lipschitz=2.0))
    with pytest.raises(ValueError, match="constant below 1, got 1;"):
        Residual(4, partial(LipschitzNet, width=3, max_lipschitz=1))


def test_a_series_that_is_not_converged_is_refused_with_its_bound():
    message = r"a series of 5 terms may err by 0\.47 nats per element, above its tolerance of 0\.001; take 49 terms"
    with pytest.raises(ValueError, match=message):
        Residual(4, partial(LipschitzNet, width=3), log_det="series", terms=5)


def test_a_tolerance_below_rounding_takes_more_terms_and_ends():
    layer = Residual(4, partial(LipschitzNet, width=3), tolerance=1e-20)
    exact = sum(Fraction(9, 10) ** k / k for k in range(600, 1500))  # the rest is below 1e-68
    assert exact < layer.truncation_bound(1, terms=599) < 1.02 * exact
    assert layer.truncation_bound(1) <= 1e-20


def test_an_event_too_large_for_a_dense_jacobian_is_refused():
    layer = Residual(2, partial(LipschitzNet, width=3, spatial_axes=2), log_det="exact")
    with pytest.raises(ValueError, match=r"up to max_exact=64 elements, got \(2, 6, 6\) of 72; take 'roulette' or"):
        layer(torch.zeros(1, 2, 6, 6))


@pytest.mark.parametrize("log_det", ["exact", "series", "roulette"])
def test_recomputed_activations_give_the_same_gradient(log_det):
    step = CheckpointedCompose(strong(log_det=log_det))
    x = torch.randn(5, 4, dtype=torch.float64)
    gradients = []
    for step.gradient_checkpointing in (False, True):
        step.zero_grad()
        torch.manual_seed(3)
        z, log_determinant = step(x)
        (z.square().sum() - log_determinant.sum()).backward()
        gradients.append([parameter.grad for parameter in step.parameters()])
    torch.testing.assert_close(*gradients)
