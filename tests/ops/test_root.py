import math

import pytest
import torch
from torch.func import grad, hessian, jacfwd, jacrev, vmap

from inverseflow.errors import ConvergenceError
from inverseflow.ops import monotone_root

EPS = torch.finfo(torch.float64).eps


def cubic(x, a, b):
    """Return a x³ + b x and its derivative."""
    return a * x**3 + b * x, 3 * a * x**2 + b


def bend(x, a, b):
    """Return a sinh(x) + b x and its derivative: nothing in it is exact in floating point."""
    return a * x.sinh() + b * x, a * x.cosh() + b


def numbers(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


class Counted:
    """A function that counts how often it is called, and for how many elements in all."""

    def __init__(self, function):
        self.function, self.calls, self.elements = function, 0, 0

    def __call__(self, x, *parameters):
        self.calls += 1
        self.elements += x.numel()
        return self.function(x, *parameters)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("function", [cubic, bend])
def test_roots_are_found_to_the_resolution_of_the_dtype(function, dtype):
    x, a, b = torch.randn(3, 500, dtype=dtype) * numbers(5, 1, 1, dtype=dtype)[:, None]
    a, b = a.abs() + 0.1, b.abs() + 0.1
    root = monotone_root(function, function(x, a, b)[0], a, b, start=torch.zeros(()))
    torch.testing.assert_close(root.value, x, rtol=16 * torch.finfo(dtype).eps, atol=16 * torch.finfo(dtype).eps)
    assert root.residual < torch.finfo(dtype).eps ** 0.7


@pytest.mark.parametrize("root", [0.0, 1e-30, -3e5, 1e30])
def test_the_bracket_expands_to_wherever_the_root_lies(root):
    found = monotone_root(lambda x: (x, torch.ones_like(x)), numbers(root), start=numbers(1.0))
    assert found.value.item() == pytest.approx(root, rel=1e-12, abs=1e-12)


def test_a_nearly_linear_function_takes_few_evaluations():
    function = Counted(lambda x: (x + 0.5 * x.tanh(), 1 + 0.5 / x.cosh() ** 2))
    z = torch.linspace(-50, 50, 10_000, dtype=torch.float64)
    root = monotone_root(function, z, start=z, reach=0.5)
    assert root.evaluations == function.calls <= 5
    torch.testing.assert_close(function(root.value)[0], z, rtol=4 * EPS, atol=4 * EPS)


def test_elements_that_are_found_are_not_evaluated_again():
    function = Counted(lambda x, a: (x + a * x**3, 1 + 3 * a * x**2))
    a, z = torch.zeros(9000, dtype=torch.float64), torch.ones(9000, dtype=torch.float64)
    a[::10], z[::10] = 1e6, 1e9
    monotone_root(function, z, a, start=z)
    assert function.calls > 10
    assert function.elements < 2 * 9000 + 900 * function.calls


def test_a_root_does_not_depend_on_the_other_elements():
    z, a, b = numbers(0.0, 3.0, -1e9, 1e-3), numbers(1.0, 1e-6, 1.0, 1e6), numbers(1.0, 0.1, 10.0, 1e-3)
    together = monotone_root(bend, z, a, b, start=torch.zeros(()))
    alone = [monotone_root(bend, *tensors, start=torch.zeros(())) for tensors in zip(z, a, b, strict=True)]
    assert torch.equal(together.value, torch.stack([root.value for root in alone]))
    assert together.evaluations == max(root.evaluations for root in alone)
    assert together.residual == max(root.residual for root in alone)


@pytest.mark.parametrize("start", [0.0, 1.0, 7.0 - 1e-9, 7.0, 1000.0])
@pytest.mark.parametrize("root", [-3.0, 6.9999, 7.0, 7.0001, 40.0])
def test_a_jump_does_not_end_the_search_on_the_wrong_side(start, root):
    def jump(x):
        u = (x - 7) / 1e-12
        return u.sigmoid() + 0.01 * x, u.sigmoid() * (-u).sigmoid() / 1e-12 + 0.01

    z = jump(numbers(root))[0]
    found = monotone_root(jump, z, start=numbers(start))
    assert found.value.item() == pytest.approx(root, rel=1e-11)


@pytest.mark.parametrize("power", [3, 5, 9])
def test_a_root_of_zero_slope_is_found(power):
    found = monotone_root(lambda x: (x**power, power * x ** (power - 1)), numbers(0.0), start=numbers(2.0))
    assert abs(found.value.item()) < 1e-2
    assert abs(found.value.item()) ** power < 1e-11


def test_a_slope_that_is_wrong_or_infinite_costs_evaluations_but_no_accuracy():
    for slope in (-1.0, 0.0, 1e-3, 1e3, math.inf, math.nan):
        found = monotone_root(lambda x, slope=slope: (x + x**3, slope + 0 * x), numbers(10.0), start=numbers(0.0))
        assert found.value.item() == pytest.approx(2, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_value_that_the_function_does_not_reach_raises(dtype):
    z = numbers(0.5, 1.5, dtype=dtype)
    with pytest.raises(ConvergenceError, match=r"no root .* 1 values, such as 1.5, within .* evaluations.*pass values"):
        monotone_root(lambda x: (x.tanh(), 1 / x.cosh() ** 2), z, start=torch.zeros(()))


def test_too_few_evaluations_raise_with_the_bracket():
    with pytest.raises(ConvergenceError, match=r"such as 10, within 3 evaluations.*\[1, 3\]"):
        monotone_root(cubic, numbers(10.0), numbers(1.0), numbers(1e-6), start=numbers(0.0), max_evaluations=3)


def test_what_is_not_finite_stays_so_and_harms_no_other_element():
    z = numbers(math.nan, math.inf, -math.inf, 10.0, 2.0)
    a = numbers(1.0, 1.0, 1.0, math.nan, 1.0)
    found = monotone_root(cubic, z, a, torch.ones_like(a), start=torch.zeros(()))
    torch.testing.assert_close(found.value, numbers(math.nan, math.inf, -math.inf, math.nan, 1.0), equal_nan=True)


def test_the_reported_error_is_the_effect_of_rounding_z():
    slope = numbers(1e-6, 1.0)
    found = monotone_root(lambda x, slope: (3 + slope * x, slope), numbers(3.0, 3.0), slope, start=torch.zeros(()))
    assert found.error == pytest.approx(3 * EPS / 1e-6, rel=1e-6)


@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_the_root_has_the_shape_of_the_value(shape):
    z = torch.randn(shape, dtype=torch.float64)
    found = monotone_root(cubic, z, *torch.ones(2).double(), start=torch.zeros(()))
    assert found.value.shape == shape
    assert found.evaluations >= 1


def solve(z, a, b):
    return monotone_root(bend, z, a, b, start=torch.zeros(())).value


def test_gradients_are_those_of_the_implicit_function():
    inputs = [tensor.requires_grad_() for tensor in (numbers(-2.0, 0.0, 9.0), numbers(1.0, 0.2, 3.0), numbers(0.5))]
    assert torch.autograd.gradcheck(solve, inputs)
    assert torch.autograd.gradgradcheck(solve, inputs)


def test_gradients_can_be_taken_in_functional_form():
    z, a, b = numbers(2.0, -9.0), numbers(0.7, 0.1), numbers(1.0, 0.3)
    x = solve(z, a, b)
    first = 1 / (a * x.cosh() + b)
    second = -a * x.sinh() * first**3
    for transform in (jacrev, jacfwd):
        torch.testing.assert_close(transform(solve)(z, a, b), first.diag())
    torch.testing.assert_close(vmap(hessian(solve))(z, a, b), second)
    torch.testing.assert_close(vmap(grad(grad(solve)))(z, a, b), second)
    torch.testing.assert_close(vmap(solve, (0, None, None))(z, a[0], b[0]), solve(z, a[:1], b[:1]))


def test_an_error_is_raised_under_a_map_too():
    with pytest.raises(ConvergenceError, match="1 values, such as 2"):
        vmap(lambda z: monotone_root(lambda x: (x.tanh(), 1 / x.cosh() ** 2), z, start=torch.zeros(())).value)(
            numbers(0.5, 2.0)
        )


def test_compiled_code_solves_outside_of_its_graph():
    torch.compiler.reset()
    z, a, b = numbers(2.0, -9.0), numbers(0.7, 0.1), numbers(1.0, 0.3)
    compiled = torch.compile(lambda z, a, b: 2 * solve(z, a, b), backend="eager")
    torch.testing.assert_close(compiled(z, a, b), 2 * solve(z, a, b))
