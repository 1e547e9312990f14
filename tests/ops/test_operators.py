"""The three operators beneath the public pair, whatever is on the diagonal, and transposed."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from inverseflow.ops import CORNERS, available_backends, backend, inv_conv2d
from inverseflow.ops import _operators as direct
from tests.ops import oracle

BACKENDS = [name for name in ("native", "blocked", "dense") if available_backends()[name] is None]
DIAGONALS = ["free", "unit", "zero"]
REGISTERED = torch.ops.inverseflow
CONVOLVE = {"direct": direct.convolve, "registered": REGISTERED.causal_conv2d}
SOLVE = {"direct": direct.solve, "registered": REGISTERED.inv_conv2d}
CORRELATE = {"direct": direct.correlate, "registered": REGISTERED.causal_conv2d_weight}
WAYS = list(SOLVE)
CORNERS_AND_GROUPS = list(zip(CORNERS, [1, 2, 1, 2], strict=True))


@pytest.fixture(params=BACKENDS)
def forced_backend(request):
    with backend(request.param):
        yield


def problem(groups):
    x = torch.randn(2, 2 * groups, 3, 4, dtype=torch.float64, requires_grad=True)
    weight = 0.3 * torch.randn(2 * groups, 2, 2, 3, dtype=torch.float64)
    weight[:, :, -1, -1] += torch.eye(2).repeat(groups, 1)
    return x, weight.requires_grad_()


def matrix(weight, size, corner, groups, diagonal, transposed=False):
    """Return A or its transpose; with zeros on the diagonal of the last tap it is A with ones less the identity."""
    dense = oracle.dense_matrix(weight, *size, corner=corner, unitriangular=diagonal != "free", groups=groups)
    if diagonal == "zero":
        dense = dense - torch.eye(len(dense), dtype=dense.dtype)
    return dense.T if transposed else dense


def times(dense, x):
    return (x.flatten(1) @ dense.T).view(x.shape)


def unread(weight, groups, diagonal):
    mask = torch.zeros_like(weight, dtype=torch.bool)
    mask[:, :, -1, -1] = torch.ones(2, 2).triu(1 if diagonal == "free" else 0).bool().repeat(groups, 1)
    return mask


def derivatives(function, *leaves):
    """Return the value, a gradient for each leaf, and gradients of these gradients."""
    value = function(*leaves)
    upstream = torch.randn(value.shape, generator=torch.Generator().manual_seed(0), dtype=value.dtype)
    first = torch.autograd.grad(value, leaves, upstream, create_graph=True)
    return value, first, torch.autograd.grad(sum(each.square().sum() for each in first), leaves)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("diagonal", DIAGONALS)
@pytest.mark.parametrize(("corner", "groups"), CORNERS_AND_GROUPS)
def test_the_convolution_and_its_derivatives_are_those_of_its_matrix(way, corner, groups, diagonal, transposed):
    def expected(x, weight):
        return times(matrix(weight, x.shape[2:], corner, groups, diagonal, transposed), x)

    def convolve(x, weight):
        return CONVOLVE[way](x, weight, corner, groups, diagonal, transposed)

    leaves = problem(groups)
    torch.testing.assert_close(derivatives(convolve, *leaves), derivatives(expected, *leaves))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("diagonal", ["free", "unit"])
@pytest.mark.parametrize(("corner", "groups"), CORNERS_AND_GROUPS)
def test_the_solve_and_its_derivatives_are_those_of_its_matrix(
    forced_backend, way, corner, groups, diagonal, transposed
):
    def expected(y, weight):
        dense = matrix(weight, y.shape[2:], corner, groups, diagonal, transposed)
        return torch.linalg.solve(dense, y.flatten(1).T).T.reshape(y.shape)

    def solve(y, weight):
        return SOLVE[way](y, weight, corner, groups, diagonal, transposed)

    leaves = problem(groups)
    torch.testing.assert_close(derivatives(solve, *leaves), derivatives(expected, *leaves))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("diagonal", DIAGONALS)
@pytest.mark.parametrize(("corner", "groups"), CORNERS_AND_GROUPS)
def test_the_correlation_and_its_derivatives_are_those_of_the_matrix(forced_backend, way, corner, groups, diagonal):
    x, weight = problem(groups)

    def expected(x, grad):
        inner = (grad * times(matrix(weight, x.shape[2:], corner, groups, diagonal), x)).sum()
        return torch.autograd.grad(inner, weight, create_graph=True)[0]

    def correlate(x, grad):
        return CORRELATE[way](x, grad, weight, corner, groups, diagonal)

    leaves = x, torch.randn_like(x, requires_grad=True)
    torch.testing.assert_close(derivatives(correlate, *leaves), derivatives(expected, *leaves))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("diagonal", DIAGONALS)
@pytest.mark.parametrize("groups", [1, 2])
def test_what_is_not_read_may_be_anything_and_has_exactly_no_gradient(forced_backend, groups, diagonal, transposed):
    x, weight = problem(groups)
    mask = unread(weight, groups, diagonal)
    poisoned = weight.detach().masked_fill(mask, torch.nan).requires_grad_()
    for operator in (direct.convolve, direct.solve):
        if operator is direct.solve and diagonal == "zero":
            continue  # has no inverse
        value = operator(x, poisoned, "top_right", groups, diagonal, transposed)
        assert torch.equal(value, operator(x, weight, "top_right", groups, diagonal, transposed))
        (gradient,) = torch.autograd.grad(value.square().sum(), poisoned)
        assert gradient.isfinite().all()
        assert (gradient[mask] == 0).all()
        assert (gradient[~mask] != 0).all()


class Seen(TorchDispatchMode):
    """Record the operators that reach a mode."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(function.name())
        return function(*args, **(kwargs or {}))


def test_a_mode_sees_the_operators_and_not_what_they_are_made_of():
    x, weight = problem(1)
    with Seen() as seen:
        inv_conv2d(x, weight, unitriangular=True).sum().backward()
    ours = [name for name in seen.names if name.startswith("inverseflow::")]
    assert ours == ["inverseflow::inv_conv2d", "inverseflow::inv_conv2d", "inverseflow::causal_conv2d_weight"]
    assert "aten::tril_" not in seen.names


def test_a_lazily_negated_image_is_negated():
    image = torch.randn(2, 2, 3, 4, dtype=torch.complex128).conj().imag
    assert image.is_neg()
    _, weight = problem(1)
    torch.testing.assert_close(inv_conv2d(image, weight), inv_conv2d(image.clone(), weight), rtol=0, atol=0)


def test_no_graph_is_made_where_no_gradient_is_wanted():
    x, weight = problem(1)
    with torch.no_grad():
        assert inv_conv2d(x, weight).grad_fn is None
    with torch.inference_mode():
        assert inv_conv2d(x, weight).is_inference()
    assert inv_conv2d(x.detach(), weight.detach()).grad_fn is None


def test_a_checkpointed_solve_has_the_same_gradients():
    leaves = problem(1)
    expected = torch.autograd.grad(inv_conv2d(*leaves).square().sum(), leaves)
    result = checkpoint(inv_conv2d, *leaves, use_reentrant=False)
    torch.testing.assert_close(torch.autograd.grad(result.square().sum(), leaves), expected)


def test_a_weight_changed_between_the_passes_is_an_error_and_not_a_wrong_gradient():
    x, weight = problem(1)
    result = inv_conv2d(x, weight).sum()
    with torch.no_grad():
        weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.backward()
