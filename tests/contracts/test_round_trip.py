"""Round trips in both orders, on every batch size and memory layout, in single and double precision."""

import pytest
import torch

from tests.contracts.registry import (
    each_continuous_flow,
    each_continuous_layer,
    each_discrete_flow,
    each_layer,
    each_layer_class,
)

TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-4}
each_batch = pytest.mark.parametrize(
    ("batch", "precision"),
    [(0, torch.float64), (1, torch.float64), (7, torch.float64), (7, torch.float32)],
    ids=["0-float64", "1-float64", "7-float64", "7-float32"],
)


def latents(case, layer, batch, device, precision, context):
    """Draw any latents; where data or latents lie in (0, 1) those of data, as float32 rounds far from the center."""
    x = case.data(batch, device, precision)
    return layer(x, context)[0].detach() if case.unit or case.unit_latents else torch.randn_like(layer(x, context)[0])


@each_batch
@each_layer
def test_data_come_back(case, precision, batch, device):
    layer = case.perturbed(device, precision)
    x, context = case.data(batch, device, precision), case.draw_context(batch, device, precision)
    z, log_det = layer(x, context)
    back, log_det_back = layer.inverse(z, context)
    assert back.shape == x.shape
    assert back.dtype == x.dtype or case.levels is not None
    torch.testing.assert_close(back.to(x.dtype), x, rtol=0, atol=TOLERANCE[precision])
    torch.testing.assert_close(log_det, -log_det_back, rtol=0, atol=TOLERANCE[precision] * (1 + x[:1].numel()))


@each_batch
@each_continuous_layer
def test_latents_come_back(case, precision, batch, device):
    layer = case.perturbed(device, precision)
    context = case.draw_context(batch, device, precision)
    z = latents(case, layer, batch, device, precision, context)
    x, log_det = layer.inverse(z, context)
    back, log_det_back = layer(x, context)
    assert back.shape == z.shape
    assert back.dtype == z.dtype
    torch.testing.assert_close(back, z, rtol=0, atol=TOLERANCE[precision])
    torch.testing.assert_close(log_det, -log_det_back, rtol=0, atol=TOLERANCE[precision] * (1 + z[:1].numel()))


def channels_last(x):
    """Store channels innermost."""
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def strided(x):
    """Take every other element of a larger tensor, along every axis."""
    larger = x.new_full([2 * size for size in x.shape], 77)
    view = larger[tuple(slice(1, None, 2) for _ in x.shape)]
    return view.copy_(x)


def transposed(x):
    """Store the last axis outermost."""
    return x.movedim(-1, 0).contiguous().movedim(0, -1)


@pytest.mark.parametrize("layout", [channels_last, strided, transposed])
@each_layer_class
def test_the_layout_in_memory_does_not_matter(case, layout, device, dtype):
    layer = case.perturbed(device, dtype)
    x, context = case.data(4, device, dtype), case.draw_context(4, device, dtype)
    torch.manual_seed(1)
    z, log_det = layer(x, context)
    torch.manual_seed(1)
    z_of_view, log_det_of_view = layer(layout(x), None if context is None else layout(context))
    torch.testing.assert_close(z_of_view, z)
    torch.testing.assert_close(log_det_of_view, log_det)

    x, log_det = layer.inverse(z, context)
    x_of_view, log_det_of_view = layer.inverse(layout(z), None if context is None else layout(context))
    torch.testing.assert_close(x_of_view, x)
    torch.testing.assert_close(log_det_of_view, log_det)


@each_layer_class
def test_a_batch_that_repeats_one_event_by_stride_zero_is_taken(case, device, dtype):
    layer = case.perturbed(device, dtype)
    x, context = case.data(1, device, dtype), case.draw_context(1, device, dtype)
    context = None if context is None else context.expand(3, *context.shape[1:])
    torch.manual_seed(1)
    z, _ = layer(x.expand(3, *x.shape[1:]), context)
    torch.manual_seed(1)
    z_of_copy, _ = layer(x.repeat(3, *[1] * len(case.shape)), context)
    torch.testing.assert_close(z, z_of_copy)


@each_batch
@each_continuous_flow
def test_a_flow_decodes_what_it_encoded(case, precision, batch, device):
    flow = case.perturbed(device, precision)
    x, context = case.data(batch, device, precision), case.draw_context(batch, device, precision)
    z = flow.encode(x, context)
    assert z.shape == (batch, flow.dims)
    torch.testing.assert_close(flow.decode(z, context), x, rtol=0, atol=TOLERANCE[precision])


@each_batch
@each_continuous_flow
def test_a_flow_encodes_what_it_decoded(case, precision, batch, device):
    flow = case.perturbed(device, precision)
    z = torch.randn(batch, flow.dims, device=device, dtype=precision)
    context = case.draw_context(batch, device, precision)
    tolerance = TOLERANCE[precision]
    torch.testing.assert_close(flow.encode(flow.decode(z, context), context), z, rtol=tolerance, atol=tolerance)


@each_batch
@each_discrete_flow
def test_a_flow_decodes_grey_levels_exactly(case, precision, batch, device):
    flow = case.perturbed(device, precision)
    x, context = case.data(batch, device, precision), case.draw_context(batch, device, precision)
    back = flow.decode(flow.encode(x, context), context)
    assert back.dtype == x.dtype
    assert torch.equal(back, x)
