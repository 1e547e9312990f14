"""Gradients of the input, the parameters and the context, and second ones, against finite differences."""

import pytest
import torch
from torch.func import functional_call

from inverseflow.bijections import Inverse
from tests.contracts.registry import KINDS_OF_FLOWS, LAYERS, ONE_OF_EACH_CLASS, each, each_flow

HONEST = [case for case in LAYERS if not case.surrogate]
LARGE = ("inverse-flow", "image-quad")  # their layers are checked one by one
MANY = 60  # elements from which on a random projection of the Jacobian is checked, not every entry


def check(module, x, context):
    """Compare with finite differences for the input, where it is floating-point, the context and every parameter."""
    parameters = dict(module.named_parameters())

    def function(x, context, *values):
        torch.manual_seed(7)  # the noise of dequantization
        return functional_call(module, dict(zip(parameters, values, strict=True)), (x, context))

    leaves = [
        tensor.detach().clone().requires_grad_() if tensor is not None and tensor.is_floating_point() else tensor
        for tensor in (x, context, *parameters.values())
    ]
    size = sum(leaf.numel() for leaf in leaves if leaf is not None)
    assert torch.autograd.gradcheck(function, leaves, fast_mode=size > MANY)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@each([case for case in HONEST if case.continuous])
def test_gradients_of_a_layer(case, direction, device):
    layer = case.perturbed(device, torch.float64)
    x, context = case.data(2, device, torch.float64), case.draw_context(2, device, torch.float64)
    if direction == "inverse":
        x = layer(x, context)[0]
        layer = Inverse(layer)
    check(layer, x, context)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@each([case for case in ONE_OF_EACH_CLASS if case.continuous])
def test_second_derivatives_of_a_layer(case, direction, device):
    layer = case.perturbed(device, torch.float64).eval()  # in evaluation mode no gradient is a surrogate
    x, context = case.data(2, device, torch.float64), case.draw_context(2, device, torch.float64)
    if direction == "inverse":
        x = layer(x, context)[0]
        layer = Inverse(layer)
    parameters = dict(layer.named_parameters())
    sizes = [parameter.numel() for parameter in parameters.values()]

    def function(x, flat):
        values = [value.view(like.shape) for value, like in zip(flat.split(sizes), parameters.values(), strict=True)]
        return functional_call(layer, dict(zip(parameters, values, strict=True)), (x, context))

    flat = torch.cat([x.new_empty(0), *(parameter.detach().flatten() for parameter in parameters.values())])
    leaves = [x.detach().requires_grad_(), flat.requires_grad_()]
    assert torch.autograd.gradgradcheck(function, leaves, fast_mode=True)


@each([case for case in KINDS_OF_FLOWS if case.name not in LARGE])
def test_gradients_of_log_prob(case, device):
    flow = case.perturbed(device, torch.float64)
    check(flow, case.data(2, device, torch.float64), case.draw_context(2, device, torch.float64))


def assert_every_parameter_is_reached(module, loss, idle=()):
    loss.backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, f"{name} receives no gradient"
        assert parameter.grad.isfinite().all(), name
        assert bool(parameter.grad.any()) is (name not in idle), name


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@each(HONEST)
def test_every_parameter_of_a_layer_receives_a_gradient(case, direction, device, dtype):
    layer = case.perturbed(device, dtype)
    if not list(layer.parameters()):
        return
    x, context = case.data(5, device, dtype), case.draw_context(5, device, dtype)
    value, log_det = layer(x, context)
    if direction == "inverse":
        value, log_det = layer.inverse(value.detach(), context)
    assert_every_parameter_is_reached(layer, value.square().sum() + log_det.sum(), case.idle)


@each_flow
def test_every_parameter_of_a_flow_receives_a_gradient_from_the_likelihood(case, device, dtype):
    flow = case.perturbed(device, dtype)
    x, context = case.data(5, device, dtype), case.draw_context(5, device, dtype)
    assert_every_parameter_is_reached(flow, flow.bits_per_dim(x, context).mean())


@each(KINDS_OF_FLOWS)
def test_after_initialization_a_step_of_gradient_descent_lowers_the_loss_of_its_batch(case, device, dtype):
    flow = case.build().to(device, dtype)
    x, context = case.data(16, device, dtype), case.draw_context(16, device, dtype)
    flow.initialize(x, context)

    def loss():
        torch.manual_seed(7)
        return flow.bits_per_dim(x, context).mean()

    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3)
    before = loss()
    before.backward()
    optimizer.step()
    assert loss() < before


@each(KINDS_OF_FLOWS)
def test_gradient_checkpointing_gives_the_same_loss_and_gradients(case, device, dtype):
    flow = case.perturbed(device, dtype)
    x, context = case.data(4, device, dtype), case.draw_context(4, device, dtype)
    results = []
    for checkpointing in (False, True):
        flow.gradient_checkpointing = checkpointing
        assert flow.gradient_checkpointing is checkpointing
        flow.zero_grad()
        torch.manual_seed(7)
        loss = flow.bits_per_dim(x, context).mean()
        loss.backward()
        results.append([loss.detach(), *(parameter.grad for parameter in flow.parameters())])
    torch.testing.assert_close(*results)
