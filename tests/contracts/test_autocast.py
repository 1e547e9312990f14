"""Under autocast to bfloat16 everything stays finite and close, and the two directions stay inverses."""

import pytest
import torch

from tests.contracts.registry import ONE_OF_EACH_CLASS, each, each_continuous_flow, each_discrete_flow, each_flow

CLOSE = 0.02  # bfloat16 has 8 significant bits: a few of its roundings


@pytest.fixture(autouse=True)
def bfloat16(device):
    with torch.autocast(device.type, torch.bfloat16):
        yield


def in_full_precision(function, device, *args):
    with torch.autocast(device.type, enabled=False):
        return function(*args)


@each([case for case in ONE_OF_EACH_CLASS if case.continuous])
def test_a_layer_stays_finite_and_close(case, device):
    layer = case.perturbed(device, torch.float32)
    x, context = case.data(4, device, torch.float32), case.draw_context(4, device, torch.float32)
    z, log_det = layer(x, context)
    expected_z, expected_log_det = in_full_precision(layer, device, x, context)
    torch.testing.assert_close(z.float(), expected_z, rtol=CLOSE, atol=CLOSE)
    torch.testing.assert_close(log_det, expected_log_det, rtol=CLOSE, atol=CLOSE * x[0].numel())


@each([case for case in ONE_OF_EACH_CLASS if case.continuous])
def test_a_layer_stays_invertible(case, device):
    layer = case.perturbed(device, torch.float32)
    x, context = case.data(4, device, torch.float32), case.draw_context(4, device, torch.float32)
    z, log_det = layer(x, context)
    back, log_det_back = layer.inverse(z, context)
    assert z.dtype == back.dtype == log_det.dtype == log_det_back.dtype == torch.float32
    torch.testing.assert_close(back, x, rtol=0, atol=1e-4)
    torch.testing.assert_close(log_det, -log_det_back, rtol=0, atol=1e-4 * (1 + x[0].numel()))


@each_flow
def test_the_likelihood_of_a_flow_stays_finite_and_close_and_so_do_its_gradients(case, device):
    flow = case.perturbed(device, torch.float32)
    x, context = case.data(4, device, torch.float32), case.draw_context(4, device, torch.float32)

    def bits_per_dim():
        torch.manual_seed(7)
        return flow.bits_per_dim(x, context)

    bits = bits_per_dim()
    assert bits.dtype == torch.float32
    torch.testing.assert_close(bits, in_full_precision(bits_per_dim, device), rtol=CLOSE, atol=CLOSE)
    bits.mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in flow.parameters())


@each_continuous_flow
def test_a_flow_decodes_what_it_encoded(case, device):
    flow = case.perturbed(device, torch.float32)
    x, context = case.data(4, device, torch.float32), case.draw_context(4, device, torch.float32)
    torch.testing.assert_close(flow.decode(flow.encode(x, context), context), x, rtol=0, atol=1e-4)


@each_discrete_flow
def test_a_flow_decodes_grey_levels_exactly(case, device):
    flow = case.perturbed(device, torch.float32)
    x, context = case.data(4, device, torch.float32), case.draw_context(4, device, torch.float32)
    assert torch.equal(flow.decode(flow.encode(x, context), context), x)


@each_flow
def test_a_flow_samples_finite_data(case, device):
    flow = case.perturbed(device, torch.float32)
    sample = flow.sample(4, case.draw_context(4, device, torch.float32))
    assert sample.shape == (4, *case.shape)
    assert sample.isfinite().all()
