from functools import partial

import pytest
import torch

from inverseflow.bijections import (
    ActNorm,
    CheckpointedCompose,
    Compose,
    Conv1x1,
    Coupling,
    Dequantize,
    Halves,
    Inverse,
    InverseConv2d,
    Logit,
    Permute,
    ReversibleCompose,
    Scale,
    Squeeze,
)
from inverseflow.nets import ResNet


def test_a_composition_applies_its_layers_in_the_order_they_are_written():
    x = torch.tensor([[1.0, 2.0]])
    z, log_det = Compose(Scale(2.0), Scale(1.0, shift=10.0), Permute([1, 0]))(x)
    assert z.tolist() == [[14.0, 12.0]]
    assert log_det.item() == pytest.approx(2 * torch.log(torch.tensor(2.0)).item())


def test_its_log_determinant_is_the_sum_over_its_layers():
    layers = [Scale(2.0), Conv1x1(3), ActNorm(3), Scale(-0.5)]
    torch.nn.init.normal_(layers[1].weight)
    torch.nn.init.normal_(layers[2].log_scale)
    x = torch.randn(2, 3, 4, 5)
    total, y = torch.zeros(2), x
    for layer in layers:
        y, log_det = layer(y)
        total = total + log_det
    z, log_det = Compose(*layers)(x)
    torch.testing.assert_close(z, y)
    torch.testing.assert_close(log_det, total)


def test_composition_is_associative():
    a, b, c = Scale(2.0), Conv1x1(3), ActNorm(3)
    x = torch.randn(2, 3)
    torch.testing.assert_close(Compose(a, Compose(b, c))(x), Compose(Compose(a, b), c)(x))


def test_a_composition_of_nothing_is_the_identity():
    x = torch.randn(2, 3)
    z, log_det = Compose()(x)
    assert torch.equal(z, x)
    assert log_det.tolist() == [0.0, 0.0]
    assert torch.equal(Compose().inverse(x)[0], x)


def test_shapes_run_through_it_both_ways():
    layer = Compose(Squeeze(), InverseConv2d(8), Squeeze())
    assert layer.output_shape((2, 8, 12)) == (32, 2, 3)
    assert layer.input_shape((32, 2, 3)) == (2, 8, 12)
    with pytest.raises(ValueError, match=r"height 3 of an event of shape \(8, 3, 6\) by 2"):
        layer.output_shape((2, 6, 12))


def test_a_layer_used_twice_shares_its_parameters():
    layer = ActNorm(2)
    flow = Compose(layer, Permute.reverse(2), layer)
    assert len(list(flow.parameters())) == 2
    torch.nn.init.constant_(layer.log_scale, 0.5)
    _, log_det = flow(torch.zeros(1, 2))
    assert log_det.item() == pytest.approx(2.0)


def test_only_a_composition_that_begins_with_dequantization_takes_integers():
    x = torch.randint(4, (2, 3), dtype=torch.uint8)
    flow = Compose(Dequantize(4), Logit())
    assert torch.equal(flow.inverse(flow(x)[0])[0], x)
    with pytest.raises(TypeError, match="Logit expects floating-point input"):
        Compose(Logit(), Scale(2.0))(x)


def test_the_inverse_swaps_the_directions_and_shares_the_parameters():
    layer = Conv1x1(3)
    x = torch.randn(2, 3, 4, 5)
    assert Inverse(layer).bijection is layer
    torch.testing.assert_close(Inverse(layer)(x), layer.inverse(x), rtol=0, atol=0)
    torch.testing.assert_close(Inverse(layer).inverse(x), layer(x), rtol=0, atol=0)
    torch.testing.assert_close(Inverse(Inverse(layer))(x), layer(x), rtol=0, atol=0)


def test_a_composition_with_its_inverse_is_the_identity():
    layer = Compose(Squeeze(), Conv1x1(4), ActNorm(4))
    x = torch.randn(2, 1, 4, 6)
    z, log_det = Compose(layer, Inverse(layer))(x)
    torch.testing.assert_close(z, x)
    torch.testing.assert_close(log_det, torch.zeros(2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("combinator", [Compose, Inverse])
def test_what_is_no_bijection_is_refused(combinator):
    with pytest.raises(TypeError, match="got 3"):
        combinator(3)


def test_a_composition_reports_the_layer_that_refuses_its_input():
    flow = Compose(Scale(2.0), Compose(Squeeze(), Compose(InverseConv2d(8))))
    with pytest.raises(ValueError, match=r"^InverseConv2d is built for 8 channels, got an event of shape \(4, 2, 2\)"):
        flow(torch.zeros(2, 1, 4, 4))


def test_an_input_is_checked_once_however_deep_the_nesting(monkeypatch):
    flow = Compose(Compose(Inverse(Compose(InverseConv2d(2)))))
    checked = []
    monkeypatch.setattr(InverseConv2d, "_check_shape", lambda self, shape: checked.append(shape))
    flow.inverse(flow(torch.zeros(3, 2, 4, 5))[0])
    assert checked == [(2, 4, 5)] * 2


def test_the_inverse_of_dequantization_takes_integers_back():
    x = torch.randint(256, (2, 3), dtype=torch.uint8)
    layer = Inverse(Dequantize(256)).double()
    levels, log_det = layer(layer.inverse(x)[0])
    assert torch.equal(levels, x)
    assert log_det.dtype == torch.float64


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_recomputed_activations_give_the_same_values_and_gradients(direction):
    step = CheckpointedCompose(ActNorm(4), Squeeze(), Conv1x1(16), InverseConv2d(16)).double()
    x = torch.randn(3, *((4, 6, 8) if direction == "forward" else (16, 3, 4)), dtype=torch.float64)
    results = []
    for step.gradient_checkpointing in (False, True):
        leaf = x.clone().requires_grad_()
        value, log_det = getattr(step, direction)(leaf)
        loss = value.square().sum() + log_det.sum()
        results.append((value, log_det, *torch.autograd.grad(loss, [leaf, *step.parameters()])))
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_recomputation_stores_only_the_input():
    step = CheckpointedCompose(*(Conv1x1(4) for _ in range(5)))
    stored = []
    for step.gradient_checkpointing in (False, True):
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, saved=saved: saved.append(tensor) or tensor, lambda x: x
        ):
            step(torch.randn(2, 4, 8, 8, requires_grad=True))
        stored.append(sum(tensor.numel() for tensor in saved))
    assert stored[1] <= 2 * 2 * 4 * 8 * 8 < stored[0]


def test_recomputation_draws_the_same_noise():
    step = CheckpointedCompose(Dequantize(4), Logit(0.05), ActNorm(3))
    step.gradient_checkpointing = True
    x = torch.randint(4, (5, 3))
    torch.manual_seed(0)
    z, _ = step(x)
    (gradient,) = torch.autograd.grad(z.sum(), step.layers[2].log_scale)
    torch.testing.assert_close(gradient, z.sum(0))


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_recomputed_activations_have_second_derivatives(direction):
    step = CheckpointedCompose(ActNorm(2), InverseConv2d(2, 2)).double()
    step.gradient_checkpointing = True
    leaves = [torch.randn(1, 2, 2, 3, dtype=torch.float64, requires_grad=True), *step.parameters()]
    assert torch.autograd.gradgradcheck(lambda x, *_: getattr(step, direction)(x), leaves, fast_mode=True)


def test_parameters_that_were_replaced_are_not_silently_recomputed_with_others():
    step = CheckpointedCompose(Conv1x1(2))
    step.gradient_checkpointing = True
    other = {"layers.0.weight": torch.randn(2, 2, requires_grad=True)}
    z, _ = torch.func.functional_call(step, other, (torch.randn(3, 2),))
    with pytest.raises(RuntimeError, match="parameters were replaced .* set gradient_checkpointing = False"):
        z.sum().backward()


def deep(kind, dtype=torch.float64, depth=4):
    torch.manual_seed(0)
    net = partial(ResNet, width=4, context_channels=2)
    layers = [Coupling(4, net, context_channels=2, split=Halves(swap=bool(i % 2))) for i in range(depth)]
    step = kind(ActNorm(4), *layers, InverseConv2d(4, 3)).to(dtype)
    for parameter in step.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return step


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("dtype, bound", [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_a_reversible_chain_has_the_gradients_of_a_plain_one(direction, dtype, bound):
    x, context = torch.randn(3, 4, 6, 8, dtype=dtype), torch.randn(3, 2, dtype=dtype)
    results = []
    for kind in (Compose, ReversibleCompose):
        step, leaves = deep(kind, dtype), [x.clone().requires_grad_(), context.clone().requires_grad_()]
        value, log_det = getattr(step, direction)(*leaves)
        loss = value.square().sum() + log_det.square().sum()
        results.append((value, log_det, *torch.autograd.grad(loss, [*leaves, *step.parameters()])))
    for plain, reversible in zip(*results, strict=True):
        torch.testing.assert_close(reversible, plain, rtol=bound, atol=bound * float(plain.detach().abs().max()))


def test_a_reversible_chain_stores_its_result_alone_however_deep_it_is():
    stored = []
    for depth in (2, 8):
        step, saved = deep(ReversibleCompose, depth=depth), []
        parameters = {parameter.data_ptr() for parameter in step.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, saved=saved: saved.append(tensor) or tensor, lambda x: x
        ):
            step(torch.randn(3, 4, 6, 8, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64))
        stored.append(sum(tensor.numel() for tensor in saved if tensor.data_ptr() not in parameters))
    assert stored == [3 * 4 * 6 * 8 + 3 * 2] * 2


def test_parameters_shared_by_layers_of_a_reversible_chain_get_the_sum_of_their_gradients():
    x, gradients = torch.randn(3, 2, dtype=torch.float64), []
    for kind in (Compose, ReversibleCompose):
        layer = Conv1x1(2).double()
        torch.nn.init.constant_(layer.weight, 0.5)
        layer.weight.data += torch.eye(2)
        step = kind(layer, Scale(2.0).double(), layer)
        gradients.append(torch.autograd.grad(step(x)[0].square().sum() + step(x)[1].sum(), layer.weight))
    torch.testing.assert_close(*gradients)


def test_a_reversible_chain_trains_parameters_alone_and_an_input_alone():
    step = deep(ReversibleCompose)
    x, context = torch.randn(3, 4, 6, 8, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    step(x, context)[0].sum().backward()
    assert all(parameter.grad is not None for parameter in step.parameters())
    step.requires_grad_(False)
    leaf = x.requires_grad_()
    step(leaf, context)[1].sum().backward()
    assert leaf.grad is not None and step(x.detach(), context)[0].grad_fn is None
