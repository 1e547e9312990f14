import math

import pytest
import torch

from inverseflow.errors import ConvergenceError
from inverseflow.ops import conv2d_spectral_norm, conv_spectral_norm_bound
from tests.ops.oracle import same_matrix

KERNELS = {
    "random": torch.randn(3, 3, 3, 3, generator=torch.Generator().manual_seed(1)),
    "even": torch.randn(2, 2, 2, 4, generator=torch.Generator().manual_seed(2)),
    "more inputs": torch.randn(2, 4, 3, 1, generator=torch.Generator().manual_seed(3)),
    "a box": torch.ones(1, 1, 3, 3),
    "an edge": torch.tensor([[[[-1.0, 0.0, 1.0]]]]),
    "one tap": torch.diag(torch.tensor([3.0, -1.0, 0.5]))[:, :, None, None],
    "a corner": torch.zeros(2, 2, 5, 5).index_put([torch.tensor([0])] * 4, torch.tensor(2.0)),
    "larger than the image": torch.randn(1, 1, 11, 13, generator=torch.Generator().manual_seed(4)),
    "huge": 1e15 * torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(5)),
    "tiny": 1e-15 * torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(6)),
}
each_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
each_size = pytest.mark.parametrize("size", [(1, 1), (1, 6), (4, 5), (7, 6)])


def norm_of_matrix(kernel, size):
    return float(torch.linalg.matrix_norm(same_matrix(kernel.double(), *size), 2))


@each_size
@each_kernel
def test_the_measured_norm_is_that_of_the_dense_matrix(kernel, size):
    expected = norm_of_matrix(kernel, size)
    found = conv2d_spectral_norm(kernel, size, tolerance=1e-6)
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert found.residual <= 1e-6
    assert found.iterations >= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("squarings", [0, 2, 5])
@each_size
@each_kernel
def test_the_bound_is_never_below_the_norm(kernel, size, squarings, dtype):
    bound = conv_spectral_norm_bound(kernel.to(dtype), size, squarings=squarings)
    assert bound.dtype == dtype
    assert float(bound) >= norm_of_matrix(kernel, size) * (1 - 10 * torch.finfo(dtype).eps)


@each_kernel
def test_the_bound_is_that_of_the_torus_up_to_the_promised_factor(kernel):
    kernel = kernel.double()
    _, channels, rows, columns = kernel.shape
    torus = same_matrix(kernel, 4 + rows - 1, 5 + columns - 1, periodic=True)
    norm = float(torch.linalg.matrix_norm(torus, 2))
    for squarings in (0, 1, 3, 6):
        bound = float(conv_spectral_norm_bound(kernel, (4, 5), squarings=squarings))
        assert norm * (1 - 1e-12) <= bound <= norm * channels ** (0.5 ** (squarings + 1)) * (1 + 1e-12)


def test_the_bound_is_tight_in_a_large_image():
    kernel = KERNELS["random"]
    bound = float(conv_spectral_norm_bound(kernel, (24, 24)))
    assert conv2d_spectral_norm(kernel, (24, 24)).value == pytest.approx(bound, rel=0.05)


def dense_matrix(kernel, size):
    """Return the matrix of a same-padded convolution of an odd kernel over any number of axes, from unit events."""
    axes = kernel.ndim - 2
    convolve = (torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d)[axes - 1]
    inputs = kernel.shape[1] * math.prod(size)
    units = torch.eye(inputs, dtype=kernel.dtype).view(inputs, kernel.shape[1], *size)
    return convolve(units, kernel, padding=tuple(side // 2 for side in kernel.shape[2:])).flatten(1).T


@pytest.mark.parametrize(
    ("kernel", "size"), [((4, 3, 3), (7,)), ((2, 3, 3, 1, 3), (7, 2, 8)), ((3, 2, 1, 1, 1), (2, 2, 2))], ids=str
)
def test_the_bound_holds_closely_for_sequences_and_volumes(kernel, size):
    weight = torch.randn(kernel, dtype=torch.float64)
    norm = float(torch.linalg.matrix_norm(dense_matrix(weight, size), 2))
    bound = float(conv_spectral_norm_bound(weight, size, squarings=8))
    assert norm * (1 - 1e-12) <= bound <= 1.3 * norm


@pytest.mark.parametrize("shape", [(6, 3), (3, 6), (1, 1)])
def test_the_bound_of_a_matrix_is_its_norm_up_to_the_promised_factor(shape):
    matrix = torch.randn(shape, dtype=torch.float64)
    norm = float(torch.linalg.matrix_norm(matrix, 2))
    for squarings in (0, 4, 10):
        bound = float(conv_spectral_norm_bound(matrix, (), squarings=squarings))
        assert norm * (1 - 1e-12) <= bound <= norm * min(shape) ** (0.5 ** (squarings + 1)) * (1 + 1e-12)


def test_the_bound_is_tighter_the_larger_the_image():
    kernel = KERNELS["random"].double()
    excess = [
        float(conv_spectral_norm_bound(kernel, (side, side), squarings=8)) / norm_of_matrix(kernel, (side, side)) - 1
        for side in (4, 8, 16)
    ]
    assert 0.15 > excess[0] > excess[1] > excess[2] > 0
    assert excess[2] < 0.02


def test_the_norm_of_the_reshaped_kernel_is_no_bound():
    kernel = KERNELS["a box"]
    reshaped = float(torch.linalg.matrix_norm(kernel.flatten(1), 2))
    assert reshaped < 0.5 * conv2d_spectral_norm(kernel, (7, 6)).value


def test_the_bound_is_differentiable():
    kernel = KERNELS["random"].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda kernel: conv_spectral_norm_bound(kernel, (3, 4)), kernel)


def test_a_kernel_of_zeros_has_no_norm_and_a_finite_gradient():
    kernel = torch.zeros(2, 2, 3, 3, requires_grad=True)
    assert conv2d_spectral_norm(kernel, (4, 4)).value == 0
    bound = conv_spectral_norm_bound(kernel, (4, 4))
    assert 0 <= bound < 1e-30
    bound.backward()
    assert kernel.grad.isfinite().all()


def test_an_iteration_that_does_not_converge_says_how_far_it_came_and_what_to_do():
    message = "stopped at a residual of .*, above its tolerance of 1e-12, after 3 iterations; allow more with max_iter"
    with pytest.raises(ConvergenceError, match=message):
        conv2d_spectral_norm(KERNELS["random"], (6, 6), tolerance=1e-12, max_iterations=3)


def test_the_measurement_is_reproducible_and_leaves_the_random_state_alone():
    state = torch.random.get_rng_state()
    first = conv2d_spectral_norm(KERNELS["random"], (4, 4))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert conv2d_spectral_norm(KERNELS["random"], (4, 4)) == first
