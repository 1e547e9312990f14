"""Elimination by blocks against dense elimination in float64, on kernels and sizes with blocks of every kind."""

import math
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import grad, hessian, jacfwd, jacrev, vmap

from inverseflow.errors import SingularError
from inverseflow.ops import same_conv as module
from inverseflow.ops import same_conv2d_factor_numel, same_conv2d_log_det, same_conv2d_solve
from tests.ops.oracle import same_matrix

KERNELS = [(1, 1), (1, 3), (3, 1), (3, 3), (5, 3), (3, 5), (5, 5), (2, 2), (4, 2), (2, 4), (1, 4), (9, 9)]
SIZES = [(1, 1), (1, 6), (5, 1), (4, 4), (7, 3), (3, 8), (6, 7)]
each_kernel = pytest.mark.parametrize("kernel_size", KERNELS, ids=str)
each_size = pytest.mark.parametrize("size", SIZES, ids=str)


@contextmanager
def blocks_of_few_rows():
    """Take the smallest blocks there are, whatever they cost, so that small matrices are eliminated by blocks too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SMALLEST_BLOCK", 1)
        patch.setattr(module._Layout, "cost", property(lambda layout: layout.block))
        yield


@pytest.fixture
def smallest_blocks():
    with blocks_of_few_rows():
        yield


def kernel(channels, kernel_size, scale=0.5, dtype=torch.float64):
    """Return a kernel whose convolution is far from triangular and, with probability one, regular."""
    return (scale * torch.randn(channels, channels, *kernel_size, dtype=torch.float64)).to(dtype)


def image(channels, size, batch=3):
    return torch.randn(batch, channels, *size, dtype=torch.float64)


def dense_log_det(weight, size):
    return torch.linalg.slogdet(same_matrix(weight, *size)).logabsdet


def dense_solve(y, weight):
    return torch.linalg.solve(same_matrix(weight, *y.shape[2:]), y.flatten(1).T).T.reshape(y.shape)


def assert_close(actual, expected, matrix, factor=1e-14):
    """Compare norms, as closely as the condition of the matrix allows."""
    error = torch.linalg.vector_norm(actual - expected) / torch.linalg.vector_norm(expected).clamp_min(1)
    assert error <= factor * (10 + float(torch.linalg.cond(matrix.detach())))


def check_values(weight, y):
    size = y.shape[2:]
    matrix = same_matrix(weight, *size)
    x, log_det = same_conv2d_solve(y, weight)
    assert x.shape == y.shape
    assert x.is_contiguous()
    expected = torch.linalg.slogdet(matrix).logabsdet
    assert_close(x, torch.linalg.solve(matrix, y.flatten(1).T).T.reshape(y.shape), matrix)
    assert_close(log_det, expected, matrix)
    assert_close(same_conv2d_log_det(weight, size), expected, matrix)


# Values.


@each_size
@each_kernel
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.usefixtures("smallest_blocks")
def test_it_solves_and_measures_what_the_dense_matrix_does(channels, kernel_size, size):
    weight, y = kernel(channels, kernel_size), image(channels, size)
    check_values(weight, y)


@given(
    channels=st.integers(1, 3),
    kernel_size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    batch=st.integers(0, 3),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_it_does_so_for_any_kernel_size_and_batch(channels, kernel_size, size, batch, seed):
    torch.manual_seed(seed)
    with blocks_of_few_rows():
        check_values(kernel(channels, kernel_size), image(channels, size, batch))


@pytest.mark.parametrize(
    ("channels", "kernel_size", "size"),
    [(1, (3, 3), (26, 25)), (6, (3, 3), (9, 11)), (3, (5, 3), (17, 13)), (8, (2, 2), (8, 9)), (5, (1, 3), (1, 120))],
)
def test_matrices_for_which_blocks_pay_are_eliminated_so(channels, kernel_size, size):
    weight, y = kernel(channels, kernel_size), image(channels, size)
    assert module._layout(weight, size).blocks >= 4
    check_values(weight, y)


@pytest.mark.parametrize(("channels", "size"), [(1, (8, 8)), (3, (8, 8)), (64, (3, 3))])
def test_few_unknowns_and_few_blocks_are_left_dense(channels, size):
    layout = module._layout((channels, channels, 3, 3), size)
    assert (layout.blocks, layout.block) == (1, channels * math.prod(size))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.usefixtures("smallest_blocks")
def test_results_are_of_the_dtype_of_the_weight(dtype):
    weight = kernel(2, (3, 3), dtype=dtype)
    x, log_det = same_conv2d_solve(image(2, (5, 4)).to(dtype), weight)
    assert {x.dtype, log_det.dtype, same_conv2d_log_det(weight, (5, 4)).dtype} == {dtype}


# Stability.


def across(row):
    return torch.tensor(row, dtype=torch.float64)


@pytest.mark.parametrize("row", [[1.0], [0.3, 1.0, -0.2]])
@pytest.mark.usefixtures("smallest_blocks")
def test_blocks_that_are_singular_themselves_are_passed_over(row):
    row = across(row)
    weight = torch.stack([row, torch.zeros_like(row), 2 * row.flip(0)])[None, None]  # no tap in the pixel's own row
    y = image(1, (6, 4))
    assert int(torch.linalg.matrix_rank(same_matrix(weight, 6, 4)[:4, :4])) == 0
    x, log_det = same_conv2d_solve(y, weight)
    torch.testing.assert_close(x, dense_solve(y, weight))
    torch.testing.assert_close(log_det, dense_log_det(weight, (6, 4)))


@pytest.mark.parametrize("row", [[1.0], [0.3, 1.0, -0.2]])
@pytest.mark.usefixtures("smallest_blocks")
def test_a_singular_matrix_of_regular_equations_is_refused_and_has_no_volume(row):
    row = across(row)
    weight = torch.stack([row, torch.zeros_like(row), row])[None, None]
    with pytest.raises(SingularError, match=r"1 of 1 matrices of size (5|20) are singular, so the map has no inverse"):
        same_conv2d_solve(image(1, (5, 4)), weight)
    assert same_conv2d_log_det(weight, (5, 4)) == -torch.inf


@pytest.mark.usefixtures("smallest_blocks")
def test_a_kernel_of_zeros_is_refused_and_has_no_volume():
    weight = torch.zeros(1, 1, 3, 3)
    with pytest.raises(SingularError, match="1 of 1 matrices of size 16 are singular"):
        same_conv2d_solve(torch.ones(1, 1, 4, 4), weight)
    assert same_conv2d_log_det(weight, (4, 4)) == -torch.inf


@pytest.mark.parametrize("size", [(12, 6), (9, 9)])
@pytest.mark.usefixtures("smallest_blocks")
def test_it_is_no_less_accurate_than_dense_elimination_for_ill_conditioned_kernels(size):
    conditions, errors, dense_errors = [], [], []
    for _ in range(20):
        weight, x = kernel(2, (3, 3), dtype=torch.float32), image(2, size).float()
        matrix = same_matrix(weight.double(), *size)
        y = (x.double().flatten(1) @ matrix.T).float().view(x.shape)
        exact = torch.linalg.solve(matrix, y.double().flatten(1).T).T.reshape(x.shape)
        conditions.append(torch.linalg.cond(matrix))
        errors.append((same_conv2d_solve(y, weight)[0] - exact).norm() / exact.norm())
        dense_errors.append((dense_solve(y, weight) - exact).norm() / exact.norm())
    assert torch.stack(conditions).median() > 300
    ratios = torch.stack(errors) / torch.stack(dense_errors)
    assert ratios.log().mean().exp() < 1.5


# Derivatives.


@each_size
@each_kernel
@pytest.mark.usefixtures("smallest_blocks")
def test_gradients_are_those_through_the_dense_matrix(kernel_size, size):
    weight, y = kernel(2, kernel_size).requires_grad_(), image(2, size).requires_grad_()
    matrix = same_matrix(weight, *size)
    dense_x, dense_volume = torch.linalg.solve(matrix, y.flatten(1).T), torch.linalg.slogdet(matrix).logabsdet
    x, log_det = same_conv2d_solve(y, weight)
    along = torch.randn_like(x)
    actual = torch.autograd.grad((x * along).sum() + 3 * log_det, (y, weight))
    expected = torch.autograd.grad(
        (dense_x * along.flatten(1).T).sum() + 3 * dense_volume, (y, weight), retain_graph=True
    )
    for ours, dense in zip(actual, expected, strict=True):
        assert_close(ours, dense, matrix, 1e-13)
    (of_volume,) = torch.autograd.grad(same_conv2d_log_det(weight, size), weight)
    assert_close(of_volume, torch.autograd.grad(dense_volume, weight)[0], matrix, 1e-13)


def regular_kernel(*batch):
    weight = 0.2 * torch.randn(*batch, 2, 2, 3, 3, dtype=torch.float64)
    weight[..., 1, 1] += torch.eye(2)
    return weight


@pytest.mark.usefixtures("smallest_blocks")
def test_second_derivatives_agree_with_finite_differences():
    at = image(2, (3, 4), 1).requires_grad_(), regular_kernel().requires_grad_()
    assert torch.autograd.gradgradcheck(same_conv2d_solve, at, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda weight: same_conv2d_log_det(weight, (3, 4)), at[1:], fast_mode=True)


@pytest.mark.parametrize("transform", [jacrev, jacfwd, hessian])
@pytest.mark.usefixtures("smallest_blocks")
def test_derivatives_by_transforms_are_those_through_the_dense_matrix(transform):
    weight, y = regular_kernel(), image(2, (3, 4), 1)
    actual = transform(lambda weight: same_conv2d_solve(y, weight))(weight)
    expected = transform(lambda weight: (dense_solve(y, weight), dense_log_det(weight, (3, 4))))(weight)
    torch.testing.assert_close(actual, expected)


# Mapped and compiled.


@pytest.mark.usefixtures("smallest_blocks")
def test_kernels_and_images_can_be_mapped():
    weights, y = regular_kernel(4), torch.randn(4, 3, 2, 5, 3, dtype=torch.float64)
    x, log_det = vmap(same_conv2d_solve)(y, weights)
    for i in range(4):
        torch.testing.assert_close((x[i], log_det[i]), same_conv2d_solve(y[i], weights[i]))
    torch.testing.assert_close(vmap(lambda weight: same_conv2d_log_det(weight, (5, 3)))(weights), log_det)
    shared = vmap(same_conv2d_solve, (0, None))(y, weights[0])[0]
    torch.testing.assert_close(shared, same_conv2d_solve(y.flatten(0, 1), weights[0])[0].view(y.shape))


@pytest.mark.usefixtures("smallest_blocks")
def test_gradients_can_be_mapped():
    weights = regular_kernel(3)
    of_volume = grad(lambda weight: same_conv2d_log_det(weight, (5, 3)))
    torch.testing.assert_close(vmap(of_volume)(weights), torch.stack([of_volume(weight) for weight in weights]))


@pytest.mark.usefixtures("smallest_blocks")
def test_singular_matrices_are_counted_inside_of_vmap():
    weights = regular_kernel(4)
    weights[2] = 0
    with pytest.raises(SingularError, match="1 of 4 matrices of size 30 are singular"):
        vmap(same_conv2d_solve, (None, 0))(image(2, (5, 3)), weights)


@pytest.mark.slow
@pytest.mark.usefixtures("smallest_blocks")
def test_elimination_by_blocks_is_one_graph_with_the_same_values_and_gradients():
    torch.compiler.reset()
    weight, y = regular_kernel().requires_grad_(), image(2, (3, 4))
    compiled = torch.compile(same_conv2d_solve, fullgraph=True, backend="aot_eager", dynamic=False)
    outputs = [compiled(y, weight), same_conv2d_solve(y, weight)]
    torch.testing.assert_close(*outputs)
    gradients = [torch.autograd.grad(x.square().sum() + log_det, weight) for x, log_det in outputs]
    torch.testing.assert_close(*gradients)


# Memory.


@pytest.mark.parametrize(
    "function", [same_conv2d_log_det, lambda weight, size: same_conv2d_solve(image(4, size, 1), weight)]
)
def test_what_a_gradient_holds_was_told(function):
    held = {}

    def count(tensor):
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() / tensor.element_size()
        return tensor

    weight, size = kernel(4, (3, 3)).requires_grad_(), (20, 20)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        results = function(weight, size)
    told = same_conv2d_factor_numel(tuple(weight.shape), size)
    assert results is not None
    assert 0.8 * told < sum(held.values()) < 1.1 * told


# Errors.


def test_a_convolution_that_changes_the_number_of_channels_has_no_inverse():
    weight = torch.randn(2, 3, 3, 3)
    for call in (
        lambda: same_conv2d_log_det(weight, (4, 4)),
        lambda: same_conv2d_solve(torch.randn(1, 2, 4, 4), weight),
        lambda: same_conv2d_factor_numel(tuple(weight.shape), (4, 4)),
    ):
        with pytest.raises(ValueError, match="as many input as output channels, got a kernel from 3 to 2"):
            call()
