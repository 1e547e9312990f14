"""The pair of operators under `torch.func` and in forward mode, against reverse mode through dense matrices."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, linearize, vjp, vmap

from inverseflow.ops import causal_conv2d, inv_conv2d
from tests.ops import oracle

REFERENCES = {causal_conv2d: oracle.convolve, inv_conv2d: oracle.solve}
BOTH = (0, 1)


class Case:
    """An operator with its options, its reference, and what to put into it."""

    def __init__(self, operator, unitriangular, corner, groups):
        options = {"unitriangular": unitriangular, "corner": corner, "groups": groups}
        self.operator = lambda x, weight: operator(x, weight, **options)
        self.reference = lambda x, weight: REFERENCES[operator](x, weight, **options)
        self.matrix = lambda weight: oracle.dense_matrix(weight, 2, 3, **options)
        self.inverts = operator is inv_conv2d
        self.x = torch.randn(1, 2 * groups, 2, 3, dtype=torch.float64)
        self.weight = 0.3 * torch.randn(2 * groups, 2, 2, 2, dtype=torch.float64)
        self.weight[:, :, -1, -1] += torch.eye(2).repeat(groups, 1)
        self.at = self.x, self.weight
        self.along = torch.randn_like(self.x), torch.randn_like(self.weight)

    def loss(self, x, weight):
        return self.operator(x, weight).pow(3).sum()

    def reference_loss(self, x, weight):
        return self.reference(x, weight).pow(3).sum()


@pytest.fixture(params=[("top_left", 1), ("bottom_right", 2)], ids=str)
def corner_and_groups(request):
    return request.param


@pytest.fixture(params=[True, False], ids=["unit", "free"])
def unitriangular(request):
    return request.param


@pytest.fixture(params=REFERENCES)
def case(request, unitriangular, corner_and_groups):
    return Case(request.param, unitriangular, *corner_and_groups)


@pytest.fixture(params=REFERENCES)
def small(request):
    return Case(request.param, False, "top_right", 1)


@pytest.mark.parametrize("transform", [jacrev, jacfwd])
def test_jacobians_are_those_of_the_dense_matrix(case, transform):
    of_x, of_weight = transform(case.operator, BOTH)(*case.at)
    matrix = case.matrix(case.weight)
    torch.testing.assert_close(
        of_x.reshape(matrix.shape), torch.linalg.inv(matrix) if case.inverts else matrix, rtol=1e-9, atol=1e-10
    )
    expected = torch.autograd.functional.jacobian(lambda weight: case.reference(case.x, weight), case.weight)
    torch.testing.assert_close(of_weight, expected, rtol=1e-9, atol=1e-10)


def test_products_with_the_jacobian_from_both_sides_are_those_of_the_reference(case):
    expected = torch.autograd.functional.jvp(case.reference, case.at, case.along)
    torch.testing.assert_close(jvp(case.operator, case.at, case.along), expected)
    _, expected = torch.autograd.functional.vjp(case.reference, case.at, case.along[0])
    torch.testing.assert_close(vjp(case.operator, *case.at)[1](case.along[0]), expected)


@pytest.mark.parametrize("outer", [jacrev, jacfwd])
@pytest.mark.parametrize("inner", [jacrev, jacfwd])
def test_a_hessian_is_the_same_by_every_order_of_the_modes(case, outer, inner):
    expected = torch.autograd.functional.hessian(case.reference_loss, case.at)
    torch.testing.assert_close(outer(inner(case.loss, BOTH), BOTH)(*case.at), expected)


def test_gradients_of_the_weight_for_each_sample_are_those_of_a_loop(case):
    images = torch.randn(3, *case.x.shape, dtype=torch.float64)
    mapped = vmap(grad(case.loss, 1), (0, None))(images, case.weight)
    expected = [torch.autograd.functional.jacobian(case.reference_loss, (x, case.weight))[1] for x in images]
    torch.testing.assert_close(mapped, torch.stack(expected))


@pytest.mark.parametrize("axis", [0, 4])
def test_a_mapped_kernel_and_a_mapped_image_may_nest(case, axis):
    images, weights = torch.stack([case.x, -2 * case.x]), torch.stack([case.weight, 0.8 * case.weight], axis)
    mapped = vmap(vmap(case.operator, (0, None)), (None, axis))(images, weights)
    expected = torch.stack([torch.stack([case.reference(x, w) for x in images]) for w in weights.unbind(axis)])
    torch.testing.assert_close(mapped, expected)


def test_finite_differences_agree_with_forward_and_batched_derivatives(case):
    leaves = [tensor.clone().requires_grad_() for tensor in case.at]
    assert torch.autograd.gradcheck(
        case.operator, leaves, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )
    assert torch.autograd.gradgradcheck(case.operator, leaves, check_fwd_over_rev=True, check_batched_grad=True)


@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True)])
def test_a_tangent_outside_of_torch_func_has_a_gradient_of_its_own(case, wanted):
    leaves = [tensor.clone().requires_grad_() for tensor in case.at]
    along = [tangent if want else torch.zeros_like(tangent) for tangent, want in zip(case.along, wanted, strict=True)]
    with forward_ad.dual_level():
        duals = [
            forward_ad.make_dual(leaf, tangent) if want else leaf
            for leaf, tangent, want in zip(leaves, along, wanted, strict=True)
        ]
        value, tangent = forward_ad.unpack_dual(case.operator(*duals))
        gradients = torch.autograd.grad(tangent.square().sum() + value.sum(), leaves)
    value, tangent = torch.autograd.functional.jvp(case.reference, tuple(leaves), tuple(along), create_graph=True)
    torch.testing.assert_close(gradients, torch.autograd.grad(tangent.square().sum() + value.sum(), leaves))


def test_a_tangent_is_there_where_no_gradient_is_wanted(small):
    with torch.no_grad(), forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(small.operator(forward_ad.make_dual(small.x, small.along[0]), small.weight))[1]
    torch.testing.assert_close(tangent, small.operator(small.along[0], small.weight))


def test_ordinary_gradients_go_through_a_transform(small):
    weight = small.weight.clone().requires_grad_()
    of_x, of_weight = vjp(small.operator, small.x, weight)[1](small.along[0])
    result = torch.autograd.grad(of_x.square().sum() + of_weight.square().sum(), weight)

    def reference(weight):
        inner = (small.reference(small.x.requires_grad_(), weight) * small.along[0]).sum()
        of_x, of_weight = torch.autograd.grad(inner, (small.x, weight), create_graph=True)
        return of_x.square().sum() + of_weight.square().sum()

    torch.testing.assert_close(result, torch.autograd.grad(reference(weight), weight))


def test_a_zero_on_the_diagonal_of_one_mapped_kernel_is_named():
    case = Case(inv_conv2d, False, "top_left", 2)
    weights = torch.stack([case.weight, case.weight], -1)
    weights[2, 0, -1, -1, 1] = 0
    for function in (case.operator, grad(case.loss, 1)):
        with pytest.raises(ValueError, match="zero at channel 2"):
            vmap(function, (None, -1))(case.x, weights)


def test_fake_tensors_have_jacobians(small):
    with FakeTensorMode() as fake:
        at = [fake.from_tensor(tensor) for tensor in small.at]
        assert jacfwd(small.operator, 1)(*at).shape == small.x.shape + small.weight.shape


@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning")  # torch of its own trace
def test_a_linearisation_is_traced_once_for_many_tangents(small):
    expected = jvp(small.operator, small.at, small.along)[1]
    torch.testing.assert_close(linearize(small.operator, *small.at)[1](*small.along), expected)


def test_tangents_under_autocast_are_in_single_precision(small):
    at, along = ([tensor.float() for tensor in tensors] for tensors in (small.at, small.along))
    with torch.autocast("cpu", torch.bfloat16):
        result = jvp(small.operator, tuple(at), tuple(along))
    torch.testing.assert_close(result, jvp(small.operator, tuple(at), tuple(along)))


def test_where_no_gradient_arrives_none_leaves(small):
    class Drop(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            return None

    x = small.x.requires_grad_()
    assert torch.autograd.grad(Drop.apply(small.operator(x, small.weight)).sum(), x, allow_unused=True) == (None,)


def tangent_in_a_dual_level(case, x, along):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(case.operator(forward_ad.make_dual(x, along), case.weight)).tangent


DIFFERENTIATED = {
    "jvp": lambda case: lambda x, along: jvp(lambda x: case.operator(x, case.weight), (x,), (along,))[1],
    "dual level": lambda case: lambda x, along: tangent_in_a_dual_level(case, x, along),
    "hessian": lambda case: lambda x, along: hessian(lambda x: case.loss(x, case.weight))(x),
    "vmap of grad": lambda case: lambda x, along: vmap(grad(case.loss, 1), (0, None))(x[None], case.weight),
}


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_a_compiled_transform_runs_uncompiled_or_is_refused(name):
    case = Case(causal_conv2d if name == "jvp" else inv_conv2d, False, "top_right", 1)  # one call serves all operators
    function, arguments = DIFFERENTIATED[name](case), (case.x, case.along[0])
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(function, backend="aot_eager")(*arguments), function(*arguments))
    torch.compiler.reset()
    # torch 2.6 refuses the ``with`` in its own transforms before it gets to the operator.
    with pytest.raises(Exception, match="can't be compiled|missing: WITH_EXCEPT_START"):
        torch.compile(function, backend="aot_eager", fullgraph=True)(*arguments)


def test_a_compiled_operator_may_be_transformed(small):
    compiled = torch.compile(small.operator, backend="aot_eager")
    compiled(*small.at)
    expected = jvp(small.operator, small.at, small.along)
    torch.testing.assert_close(jvp(compiled, small.at, small.along), expected)


def test_a_registered_operator_refuses_tangents_instead_of_dropping_them(small):
    def registered(x):
        return torch.ops.inverseflow.inv_conv2d(x, small.weight, "top_left", 1, "free", False)

    with pytest.raises(NotImplementedError, match="has no forward-mode derivative; call"):
        jvp(registered, (small.x,), (small.along[0],))
