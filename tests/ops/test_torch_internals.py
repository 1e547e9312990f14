"""Each private part of torch that `ops` relies on: what it does, and that it still does."""

import pytest
import torch
from torch import vmap
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import Function, forward_ad
from torch.func import functionalize, grad, jvp

from inverseflow.ops import torch_internals


def during(function, transform, *inputs):
    """Return what a function says inside of a transformed function."""
    said = []
    transform(lambda x: said.append(function()) or x.sum(), *inputs)
    return said


X = torch.arange(3.0)
TRANSFORMS = {
    "vmap": lambda f, x: vmap(f)(x),
    "grad": lambda f, x: grad(f)(x),
    "jvp": lambda f, x: jvp(f, (x,), (x,)),
    "functionalize": lambda f, x: functionalize(f)(x),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_is_seen_while_it_runs_and_not_before_or_after(name):
    assert not torch_internals.transforms_active()
    assert during(torch_internals.transforms_active, TRANSFORMS[name], X) == [True]
    assert not torch_internals.transforms_active()


def test_forward_mode_is_seen_in_a_dual_level_and_in_jvp():
    assert not torch_internals.forward_mode_active()
    assert during(torch_internals.forward_mode_active, TRANSFORMS["jvp"], X) == [True]
    assert during(torch_internals.forward_mode_active, TRANSFORMS["grad"], X) == [False]
    with forward_ad.dual_level():
        assert torch_internals.forward_mode_active()
    assert not torch_internals.forward_mode_active()


class Cube(Function):
    """Notes whether tangents propagate in its rule, as torch calls it and with `enable_tangents`."""

    seen = ()

    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_forward(*inputs)

    @staticmethod
    def jvp(ctx, tangent):
        (x,) = ctx.saved_tensors
        before = torch_internals.tangents_enabled()
        with torch_internals.enable_tangents():
            Cube.seen = (before, torch_internals.tangents_enabled())
            return 3 * forward_ad.unpack_dual(x).primal ** 2 * tangent


def test_tangents_are_off_inside_of_a_rule_until_they_are_enabled_and_then_forward_mode_nests():
    def derivative(x):
        return jvp(Cube.apply, (x,), (torch.ones_like(x),))[1]

    x = torch.tensor(2.0)
    assert derivative(x) == 12
    assert Cube.seen == (False, True)
    assert jvp(derivative, (x,), (torch.ones_like(x),))[1] == 12  # of 3 x²: 6 x
    assert torch_internals.tangents_enabled()


def test_a_dispatch_mode_is_seen():
    assert not torch_internals.dispatch_mode_active()
    with FakeTensorMode():
        assert torch_internals.dispatch_mode_active()


def test_plain_tensors_need_the_dispatcher_for_nothing_but_autograd():
    x = torch.randn(2, requires_grad=True)
    for first in (x, x.detach(), x.double(), torch.nn.Parameter(x.detach()), x[:1], x.view(1, 2)):
        assert torch_internals.only_autograd_at_work(first, x)
    with torch.no_grad():
        assert torch_internals.only_autograd_at_work(x, x)
    with torch.inference_mode():
        assert torch_internals.only_autograd_at_work(x, torch.randn(2))


def test_whatever_else_the_dispatcher_has_to_do_is_noticed():
    x, complex_image = torch.randn(2), torch.randn(2, dtype=torch.complex64)
    for other in (x.to("meta"), x.to_sparse(), complex_image.conj(), complex_image.conj().imag):
        assert not torch_internals.only_autograd_at_work(x, other)
        assert not torch_internals.only_autograd_at_work(other, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch_internals.only_autograd_at_work(x, x)
    with FakeTensorMode() as fake:
        assert not torch_internals.only_autograd_at_work(x, x)
        assert not torch_internals.only_autograd_at_work(fake.from_tensor(x), x)
    assert during(lambda: torch_internals.only_autograd_at_work(x, x), TRANSFORMS["vmap"], X) == [False]


class Square(Function):
    @staticmethod
    def forward(x, factor):
        return factor * x**2

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.factor = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * ctx.factor * x * gradient, None


def test_the_bare_apply_records_the_same_gradient():
    x = torch.tensor(3.0, requires_grad=True)
    y = torch_internals.bare_apply(Square)(x, 5)
    assert y == 45
    (first,) = torch.autograd.grad(y, x, create_graph=True)
    assert first == 30
    assert torch.autograd.grad(first, x)[0] == 10
    with torch.no_grad():
        assert torch_internals.bare_apply(Square)(x, 5).grad_fn is None


def test_the_tensor_beneath_transforms_holds_every_slice_with_mapped_axes_first():
    x = torch.randn(2, 3, 4)
    seen = []

    def read(part):
        plain = torch_internals.unwrap_functorch(part)
        seen.append((tuple(part.shape), tuple(plain.shape), float(plain.sum())))
        return part.sum()

    vmap(vmap(read, -1))(x)
    assert seen == [((3,), (2, 4, 3), float(x.movedim(2, 1).sum()))]
    grad(read)(x)
    assert seen[-1][:2] == ((2, 3, 4), (2, 3, 4))
    assert torch_internals.unwrap_functorch(x) is x
