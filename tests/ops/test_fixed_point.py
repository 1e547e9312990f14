import re

import pytest
import torch

from inverseflow.errors import ConvergenceError
from inverseflow.ops import fixed_point, invert_residual, invert_triangular, triangular_fixed_point


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_it_finds_the_fixed_point_of_the_cosine():
    solution = fixed_point(torch.cos, column(0.0))
    assert solution.value.item() == pytest.approx(0.7390851332151607, abs=1e-11)
    assert solution.residual == (solution.value.cos() - solution.value).abs().item() < 2e-12
    assert 10 < solution.iterations < 100


@pytest.mark.parametrize("slope", [-0.9, -1.0, -3.0, -10.0, 0.9])
def test_damping_makes_an_iteration_contract_that_overshoots(slope):
    solution = fixed_point(lambda x: slope * x + 7, column(0.0))
    assert solution.value.item() == pytest.approx(7 / (1 - slope), rel=1e-9)


def test_a_triangular_map_is_solved_however_large_its_entries_are():
    torch.manual_seed(3)
    strict = (3 * torch.randn(12, 12, dtype=torch.float64)).tril(-1)
    y = torch.randn(5, 12, dtype=torch.float64)
    expected = torch.linalg.solve(torch.eye(12, dtype=torch.float64) + strict, y.T).T
    solution = fixed_point(lambda x: y - x @ strict.T, torch.zeros_like(y))
    torch.testing.assert_close(solution.value, expected, rtol=1e-10, atol=0)


def test_an_event_is_left_alone_once_it_is_there_whatever_the_others_do():
    start, target = column(0.0, 1.0, 50.0), column(2.0, 300.0, 50.0)

    def newton(target):
        return lambda x: (x + target / x.clamp_min(0.1)) / 2

    together = fixed_point(newton(target), start)
    alone = [fixed_point(newton(target[i : i + 1]), start[i : i + 1]) for i in range(3)]
    assert torch.equal(together.value, torch.cat([solution.value for solution in alone]))
    assert together.iterations == max(solution.iterations for solution in alone)
    assert together.residual == max(solution.residual for solution in alone)
    assert together.value.flatten().tolist() == pytest.approx([2**0.5, 300**0.5, 50**0.5])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_looser_tolerance_is_reached_sooner(dtype):
    start = torch.zeros(1, 1, dtype=dtype)
    loose, strict = fixed_point(torch.cos, start, tolerance=1e-2), fixed_point(torch.cos, start)
    assert loose.iterations < strict.iterations
    assert strict.residual < 1e-5 < loose.residual <= 1e-2


def test_the_error_names_the_residual_the_tolerance_the_iterations_and_the_remedy():
    message = (
        "stopped at a residual of 0.25, above its tolerance of 0.001, after 5 iterations; "
        "allow more with max_iterations, or loosen tolerance"
    )
    with pytest.raises(ConvergenceError, match=re.escape(message)):
        fixed_point(lambda x: x + 1, column(0.0), tolerance=1e-3, max_iterations=5)


def test_what_is_not_a_number_is_an_error_and_no_answer():
    with pytest.raises(ConvergenceError, match="residual of nan"):
        fixed_point(torch.cos, column(0.0, torch.nan), max_iterations=100)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, torch.inf, torch.nan])
def test_a_tolerance_that_means_nothing_is_refused(tolerance):
    with pytest.raises(ValueError, match="tolerance must be .*, got"):
        fixed_point(torch.cos, column(0.0), tolerance=tolerance)


def test_no_events_take_one_evaluation():
    solution = fixed_point(torch.cos, torch.zeros(0, 3))
    assert solution.value.shape == (0, 3)
    assert (solution.residual, solution.iterations) == (0.0, 1)


# Inverses of triangular maps.


class Triangular:
    """f(x) = d x + 0.1 x³ + S tanh(x), S strictly lower triangular."""

    def __init__(self, size):
        self.slope = (0.5 + torch.rand(size, dtype=torch.float64)).requires_grad_()
        self.strict = torch.randn(size, size, dtype=torch.float64).tril(-1).requires_grad_()

    def __call__(self, x):
        value = self.slope * x + 0.1 * x**3 + x.tanh() @ self.strict.tril(-1).T
        return value, self.slope + 0.3 * x**2

    def inverse(self, z):
        return invert_triangular(self, z, torch.zeros_like(z))


def test_the_inverse_of_a_triangular_map_is_found():
    function, x = Triangular(6), torch.randn(4, 6, dtype=torch.float64)
    solution = function.inverse(function(x)[0].detach())
    torch.testing.assert_close(solution.value, x, rtol=0, atol=1e-10)
    assert 0 < solution.residual < 2e-12


def test_its_jacobian_is_the_inverse_of_the_jacobian():
    function, x = Triangular(6), torch.randn(6, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: function(x[None])[0][0], x)
    of_inverse = torch.autograd.functional.jacobian(
        lambda z: function.inverse(z[None]).value[0], function(x[None])[0][0]
    )
    torch.testing.assert_close(of_inverse, torch.linalg.inv(jacobian), rtol=0, atol=1e-9)


def test_its_gradients_agree_with_finite_differences_for_values_and_parameters():
    function = Triangular(3)

    def inverse(z, slope, strict):
        function.slope, function.strict = slope, strict
        return function.inverse(z).value

    z = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(inverse, (z, function.slope, function.strict))


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
def test_gradients_are_as_precise_for_small_cotangents_as_for_large_ones(size):
    function, z = Triangular(5), torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    x = function.inverse(z).value
    unit, scaled = (torch.autograd.grad(x, z, c * torch.ones_like(x), retain_graph=True)[0] for c in (1.0, size))
    torch.testing.assert_close(scaled / size, unit, rtol=1e-9, atol=0)


def test_without_gradients_none_are_recorded():
    function = Triangular(3)
    with torch.no_grad():
        assert not function.inverse(torch.randn(2, 3, dtype=torch.float64)).value.requires_grad


def inverse_of(function):
    def inverse(z, slope, strict):
        function.slope, function.strict = slope, strict
        return function.inverse(z).value

    return inverse


def test_second_derivatives_agree_with_finite_differences_for_values_and_parameters():
    function, z = Triangular(3), torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(inverse_of(function), (z, function.slope, function.strict))


def test_a_hessian_of_the_inverse_is_that_of_its_formula():
    # f(x) = x + x³ has the inverse derivative 1 / (1 + 3 x²), and -6 x / (1 + 3 x²)³ as the second one.
    z = torch.tensor([[2.0], [10.0]], dtype=torch.float64, requires_grad=True)
    x = invert_triangular(lambda x: (x + x**3, 1 + 3 * x**2), z, torch.zeros_like(z)).value
    (first,) = torch.autograd.grad(x.sum(), z, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), z)
    exact = x.detach()
    torch.testing.assert_close(first.detach(), 1 / (1 + 3 * exact**2))
    torch.testing.assert_close(second, -6 * exact / (1 + 3 * exact**2) ** 3)


def test_third_derivatives_are_refused_rather_than_wrong():
    function, z = Triangular(3), torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(function.inverse(z).value.square().sum(), z, create_graph=True)
    with pytest.raises(RuntimeError, match="twice, not three times"):
        torch.autograd.grad(first.sum(), z, create_graph=True)


def strictly_triangular(size):
    torch.manual_seed(size)
    return torch.randn(size, size, dtype=torch.float64).tril(-1)


def test_a_strictly_triangular_iteration_is_exact_after_as_many_passes_as_elements_whatever_the_start():
    matrix, y = 3 * strictly_triangular(9), torch.randn(4, 9, dtype=torch.float64)
    expected = torch.linalg.solve(torch.eye(9, dtype=torch.float64) - matrix, y.T).T
    for start in (torch.zeros_like(y), 1e3 * torch.randn_like(y)):
        solution = triangular_fixed_point(lambda x: y + x @ matrix.T, start, passes=9)
        torch.testing.assert_close(solution.value, expected, rtol=1e-10, atol=1e-10)
        assert solution.iterations <= 9


def test_a_strictly_triangular_iteration_stops_when_nothing_changes():
    matrix, y = 1e-3 * strictly_triangular(50), torch.randn(4, 50, dtype=torch.float64)
    solution = triangular_fixed_point(lambda x: y + x @ matrix.T, y, passes=50)
    assert 2 < solution.iterations < 12
    assert solution.residual < 1e-14
    torch.testing.assert_close(solution.value, y + solution.value @ matrix.T, rtol=0, atol=1e-14)


def test_no_elements_and_no_events_are_solved_in_one_pass():
    assert triangular_fixed_point(lambda x: x, torch.zeros(0, 3), passes=3).iterations == 1
    with pytest.raises(ValueError, match="passes must be at least 1, got 0"):
        triangular_fixed_point(lambda x: x, torch.zeros(1, 3), passes=0)


def test_derivatives_of_a_strictly_triangular_fixed_point_are_those_of_the_implicit_function():
    matrix = strictly_triangular(5).requires_grad_()
    y = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)

    def solve(y, matrix):
        update = lambda x: y.sin() + x.tanh() @ matrix.tril(-1).T  # noqa: E731
        return triangular_fixed_point(update, torch.zeros_like(y), passes=5).value

    assert torch.autograd.gradcheck(solve, (y, matrix))
    assert torch.autograd.gradgradcheck(solve, (y, matrix))


def test_a_residual_is_inverted_down_to_rounding_and_each_event_on_its_own():
    matrix = torch.randn(5, 5, dtype=torch.float64)
    matrix *= 0.8 / torch.linalg.matrix_norm(matrix, 2)
    z = torch.randn(6, 5, dtype=torch.float64) * torch.logspace(-4, 4, 6, dtype=torch.float64)[:, None]
    solution = invert_residual(lambda x: x.tanh() @ matrix.T, z)
    x = solution.value
    assert ((x + x.tanh() @ matrix.T - z).abs().amax(1) <= 1e-15 * z.abs().amax(1).clamp_min(1)).all()
    assert solution.residual <= 1e-15
    assert solution.iterations <= 200
    alone = invert_residual(lambda x: x.tanh() @ matrix.T, z[:1])
    torch.testing.assert_close(alone.value, x[:1], rtol=1e-14, atol=1e-16)


def test_a_residual_of_no_events_is_inverted_at_once():
    assert invert_residual(lambda x: x, torch.zeros(0, 3)).residual == 0


@pytest.mark.parametrize("slope", [1.0, -1.5, 2.0])
def test_an_expansion_is_reported_and_not_iterated_for_long(slope):
    with pytest.raises(ConvergenceError, match=r"after \d iterations; it needs .* constant below 1") as error:
        invert_residual(lambda x: slope * x, column(1.0, 2.0))
    assert "residual of" in str(error.value)


def test_derivatives_of_an_inverted_residual_are_those_of_the_implicit_function():
    matrix = torch.tensor([[0.3, -0.4], [0.2, 0.1]], dtype=torch.float64, requires_grad=True)
    z = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)

    def solve(z, matrix):
        return invert_residual(lambda x: x.tanh() @ matrix.T, z).value

    assert torch.autograd.gradcheck(solve, (z, matrix))
    assert torch.autograd.gradgradcheck(solve, (z, matrix), fast_mode=True)
