"""The log-determinant of each direction against the dense Jacobian of that direction."""

import pytest
import torch

from inverseflow.bijections import Inverse
from inverseflow.distributions import StandardLogistic
from tests.contracts.registry import FLOWS, each, each_continuous_flow, each_continuous_layer

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}


def dense_log_det(function, x, context):
    """Return the log absolute determinant of the Jacobian at each event, by automatic differentiation."""

    def of_one(event, event_context):
        value = function(event[None], None if event_context is None else event_context[None])
        return value.flatten()

    log_dets = []
    for i, event in enumerate(x):
        event_context = None if context is None else context[i]
        jacobian = torch.autograd.functional.jacobian(lambda e: of_one(e, event_context), event)  # noqa: B023
        log_dets.append(torch.linalg.slogdet(jacobian.reshape(event.numel(), event.numel()).double()).logabsdet)
    return torch.stack(log_dets)


def log_density(base, z):
    if isinstance(base, StandardLogistic):
        return -2 * (2 * torch.cosh(z / 2)).log().sum(1)
    return torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@each_continuous_layer
def test_it_is_that_of_the_jacobian(case, direction, device, dtype):
    layer = case.perturbed(device, dtype)
    x, context = case.data(2, device, dtype), case.draw_context(2, device, dtype)
    if direction == "inverse":
        x = layer(x, context)[0].detach()
        layer = Inverse(layer)
    _, log_det = layer(x, context)
    expected = dense_log_det(lambda x, context: layer(x, context)[0], x, context)
    torch.testing.assert_close(log_det.double(), expected, rtol=0, atol=TOLERANCE[dtype])


@each_continuous_flow
def test_log_prob_is_that_of_the_latent_plus_the_jacobian(case, device, dtype):
    flow = case.perturbed(device, dtype)
    x, context = case.data(2, device, dtype), case.draw_context(2, device, dtype)
    expected = log_density(flow.base, flow.encode(x, context).double()) + dense_log_det(flow.encode, x, context)
    torch.testing.assert_close(flow.log_prob(x, context).double(), expected, rtol=0, atol=TOLERANCE[dtype])


@each([case for case in FLOWS if case.levels is not None and case.name != "image-variational"])
def test_log_prob_of_grey_levels_is_the_log_density_of_a_point_in_their_cell(case, device, dtype, monkeypatch):
    flow = case.perturbed(device, dtype)
    x, context = case.data(2, device, dtype), case.draw_context(2, device, dtype)
    noise = torch.rand(x.shape, device=device, dtype=dtype)
    monkeypatch.setattr(torch, "rand", lambda *args, **kwargs: noise)

    def latent(point, context):
        preprocessed, _ = flow.preprocessing(point / flow.levels, context)
        return flow.bijection(preprocessed, context)[0].flatten(1)

    point = x + noise  # in units of gray levels, so that a cell has volume 1
    normal = torch.distributions.Normal(0.0, 1.0)
    expected = normal.log_prob(latent(point, context).double()).sum(1) + dense_log_det(latent, point, context)
    torch.testing.assert_close(flow.log_prob(x, context).double(), expected, rtol=0, atol=TOLERANCE[dtype])
