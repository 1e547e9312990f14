"""The three custom operators as PyTorch sees them."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from inverseflow.ops import CORNERS, causal_conv2d, inv_conv2d

OPERATORS = torch.ops.inverseflow

# opcheck of torch 2.14
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")


def problem(dtype=torch.float32, *, gradients=True):
    x = torch.randn(2, 4, 3, 5, dtype=dtype, requires_grad=gradients)
    kernel = 0.2 * torch.randn(4, 2, 2, 3, dtype=dtype)
    kernel[:, :, -1, -1] = torch.eye(2, dtype=dtype).repeat(2, 1)
    return x, kernel.requires_grad_(gradients)


CHECKS = ["test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("diagonal", ["free", "unit", "zero"])
def test_torch_finds_nothing_to_object_to_in_the_convolution(check, diagonal, transposed):
    arguments = (*problem(), "top_right", 2, diagonal, transposed)
    torch.library.opcheck(OPERATORS.causal_conv2d, arguments, test_utils=check)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("diagonal", ["free", "unit"])
def test_torch_finds_nothing_to_object_to_in_the_solve(check, diagonal, transposed):
    arguments = (*problem(), "bottom_left", 2, diagonal, transposed)
    torch.library.opcheck(OPERATORS.inv_conv2d, arguments, test_utils=check)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("diagonal", ["free", "unit", "zero"])
def test_torch_finds_nothing_to_object_to_in_the_weight_gradient(check, diagonal):
    x, kernel = problem()
    grad = torch.randn_like(x, requires_grad=True)
    arguments = (x, grad, kernel.detach(), "bottom_right", 2, diagonal)
    torch.library.opcheck(OPERATORS.causal_conv2d_weight, arguments, test_utils=check)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("operator", [causal_conv2d, inv_conv2d])
def test_what_the_compiler_expects_of_a_result_is_what_it_gets(operator, memory_format):
    x, kernel = problem(gradients=False)
    x = x.contiguous(memory_format=memory_format)
    result = operator(x, kernel, groups=2, unitriangular=True)
    with FakeTensorMode() as fake:
        expected = operator(fake.from_tensor(x), fake.from_tensor(kernel), groups=2, unitriangular=True)
    assert (result.shape, result.stride(), result.dtype) == (expected.shape, expected.stride(), expected.dtype)


@pytest.mark.parametrize("operator", [causal_conv2d, inv_conv2d])
def test_a_compiled_call_is_one_graph_with_the_same_gradients(operator):
    torch.compiler.reset()
    x, kernel = problem(torch.float64)

    def function(x, kernel):
        return sum(operator(x, kernel, corner=corner, groups=2) for corner in CORNERS)

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, kernel), function(x, kernel))
    of_compiled = torch.autograd.grad(compiled(x, kernel).square().sum(), (x, kernel))
    torch.testing.assert_close(of_compiled, torch.autograd.grad(function(x, kernel).square().sum(), (x, kernel)))


def registered_solve(y, weight, groups):
    return OPERATORS.inv_conv2d(y, weight, "top_left", groups, "free", False)


@pytest.mark.parametrize("call", [inv_conv2d, registered_solve])
def test_the_backward_pass_of_the_solve_keeps_only_the_result_and_the_kernel(call):
    y, weight = problem()
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor.shape) or tensor, lambda t: t):
        x = call(y, weight, groups=2)
    assert sorted(saved) == sorted([x.shape, weight.shape])
