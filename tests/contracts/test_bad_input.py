"""Every layer and flow refuses what it can't take, with an error that names the value and the remedy."""

import re

import pytest
import torch

from inverseflow.bijections import Bijection, Compose, Dequantize, Logit, Scale, SplineActivation, Squeeze
from tests.contracts.registry import (
    FLOWS,
    LAYERS,
    ONE_OF_EACH_CLASS,
    each,
    each_continuous_flow,
    each_discrete_flow,
    each_flow,
    each_layer_class,
)

ANY_CHANNELS = (Dequantize, Logit, Scale, Squeeze)


def bound_to_channels(case):
    layer = case.build()
    of_any = isinstance(layer, ANY_CHANNELS) or (isinstance(layer, SplineActivation) and layer.channels is None)
    return not of_any and case.name not in ("Compose", "Compose-nothing", "Inverse-squeeze")


CHANNEL_LAYERS = [case for case in ONE_OF_EACH_CLASS if bound_to_channels(case)]
PARAMETRIC_LAYERS = [case for case in ONE_OF_EACH_CLASS if case.continuous and list(case.build().parameters())]
PLANAR_LAYERS = [
    case
    for case in ONE_OF_EACH_CLASS
    if case.build().spatial_axes == 2
    or "Conv2d" in case.name
    or case.name.startswith(("MaCow", "Squeeze", "Inverse-squeeze", "Multiscale-l"))
]
TIED_LAYERS = [case for case in ONE_OF_EACH_CLASS if case.build().size]
CONDITIONAL = [case for case in LAYERS + FLOWS if case.context is not None]


def both_directions(layer: Bijection):
    """Return forward and inverse."""
    return layer, layer.inverse


def zeros_for(layer, direction, shape):
    """Return zeros of a dtype that this direction of a layer takes."""
    integers = direction == layer and any(isinstance(module, Dequantize) for module in layer.modules())
    return torch.zeros(shape, dtype=torch.uint8 if integers else torch.float32)


def shape_in_text(shape):
    return re.escape(str(tuple(shape)))


@each_layer_class
def test_a_vector_without_a_batch_is_refused_with_its_shape(case):
    layer = case.build()
    for direction in both_directions(layer):
        with pytest.raises(ValueError, match=r"expects a batch \(B, C, \*spatial\), got shape \(4,\); add the missing"):
            direction(torch.zeros(4))


@each(CHANNEL_LAYERS)
def test_another_number_of_channels_is_refused_with_the_shape(case):
    layer = case.build()
    shapes = case.shape, layer.output_shape(case.shape)
    for direction, shape in zip(both_directions(layer), shapes, strict=True):
        for channels in (shape[0] + 1, 2 * shape[0]):
            bad = (channels, *shape[1:])
            with pytest.raises(ValueError, match=shape_in_text(bad)):
                direction(
                    zeros_for(layer, direction, (2, *bad)),
                    case.draw_context(2, "cpu", torch.float32),
                )


@each(CHANNEL_LAYERS)
def test_another_number_of_channels_is_refused_when_a_model_is_put_together(case):
    bad = (case.shape[0] + 1, *case.shape[1:])
    with pytest.raises(ValueError, match=shape_in_text(bad)):
        Compose(Scale(2.0), case.build()).output_shape(bad)


@each(PLANAR_LAYERS)
def test_a_layer_for_images_refuses_other_numbers_of_axes(case):
    layer = case.build()
    shapes = case.shape, layer.output_shape(case.shape)
    for direction, shape in zip(both_directions(layer), shapes, strict=True):
        if len(shape) == 1:  # the flat latent of a multi-scale layer
            continue
        for bad in ((*shape, 1), shape[:-1], shape[:1]):
            with pytest.raises(ValueError, match=shape_in_text(bad)):
                direction(torch.zeros(2, *bad), case.draw_context(2, "cpu", torch.float32))


@each(TIED_LAYERS)
def test_a_layer_tied_to_a_size_refuses_another_with_both(case):
    layer = case.build()
    bad = (*case.shape[:-1], case.shape[-1] + 1)
    message = f"is tied to the size {shape_in_text(case.shape[1:])} .* got an event of shape {shape_in_text(bad)}"
    for direction in both_directions(layer):
        with pytest.raises(ValueError, match=message):
            direction(torch.zeros(2, *bad), case.draw_context(2, "cpu", torch.float32))
    with pytest.raises(ValueError, match=message):
        Compose(Scale(2.0), layer).output_shape(bad)


@each([case for case in ONE_OF_EACH_CLASS if case.continuous])
def test_integers_are_refused_by_a_layer_of_floating_point_numbers(case):
    layer = case.build()
    for direction in both_directions(layer):
        with pytest.raises(
            TypeError, match=r"floating-point input, got torch.uint8; convert with .float\(\) or put Deq"
        ):
            direction(torch.zeros(2, *case.shape, dtype=torch.uint8))


@each([case for case in LAYERS if case.levels is not None])
def test_floating_point_numbers_are_refused_by_dequantization(case):
    with pytest.raises(TypeError, match=r"got torch.float32; convert with .to\(torch.uint8\), or build .* levels=None"):
        case.build()(torch.zeros(2, *case.shape))


@each(PARAMETRIC_LAYERS)
def test_another_dtype_is_refused_by_a_layer_with_parameters(case):
    layer = case.build()
    x, context = case.data(2, "cpu", torch.float64), case.draw_context(2, "cpu", torch.float32)
    for direction in both_directions(layer):
        x = x.reshape(2, *(layer.output_shape(case.shape) if direction == layer.inverse else case.shape))
        with pytest.raises(
            TypeError, match=r"parameters of torch.float32, got input of torch.float64; convert one with"
        ):
            direction(x, context)


@each(PARAMETRIC_LAYERS)
def test_another_device_is_refused_by_a_layer_with_parameters(case):
    context = case.draw_context(2, "cpu", torch.float32)
    with pytest.raises(ValueError, match=r"lives on cpu, got input on meta; move one with .to\(\)"):
        case.build()(torch.zeros(2, *case.shape, device="meta"), context)


@each(CONDITIONAL)
def test_a_missing_context_is_refused_with_the_shape_it_should_have(case):
    module = case.build()
    with pytest.raises(ValueError, match=rf"is conditional: pass a context of shape \(2, {case.context[0]}\)"):
        module(case.data(2, "cpu", torch.float32))


@each(CONDITIONAL)
def test_a_context_of_another_shape_is_refused_with_both_shapes(case):
    module = case.build()
    channels = case.context[0]
    for bad in ((channels,), (3, channels), (1, channels), (2, channels + 1), (2, channels, 7, 7), ()):
        with pytest.raises(
            ValueError, match=rf"expects a context of shape \(2, {channels}\).* got {shape_in_text(bad)}"
        ):
            module(case.data(2, "cpu", torch.float32), torch.zeros(bad))


@each(CONDITIONAL)
def test_a_context_on_another_device_is_refused(case):
    context = case.draw_context(2, "meta", torch.float32)
    with pytest.raises(ValueError, match=r"context on meta"):
        case.build()(case.data(2, "cpu", torch.float32), context)


@each_flow
def test_a_flow_refuses_events_of_another_shape_with_both_shapes(case):
    flow = case.build()
    good = ", ".join(map(str, case.shape))
    x = case.data(2, "cpu", torch.float32)
    for bad in (x[0], x[..., None], x[..., :-1], x.flatten(0, 1), torch.cat([x, x], 1)):
        for method in (flow, flow.log_prob, flow.bits_per_dim, flow.encode):
            with pytest.raises(ValueError, match=rf"shape \(B, {good}\), got {shape_in_text(bad.shape)}"):
                method(bad)


@each_flow
def test_a_flow_refuses_latents_of_another_shape_with_both_shapes(case):
    flow = case.build()
    for bad in ((flow.dims,), (2, flow.dims + 1), (2, *case.shape, 1)):
        with pytest.raises(ValueError, match=rf"shape \(B, {flow.dims}\), got {shape_in_text(bad)}"):
            flow.decode(torch.zeros(bad))


@each_discrete_flow
def test_a_flow_of_grey_levels_refuses_floating_point_images(case):
    flow = case.build()
    for method in (flow.log_prob, flow.encode):
        with pytest.raises(
            TypeError, match=r"got torch.float32; convert with .to\(torch.uint8\), or build .* levels=None"
        ):
            method(torch.rand(2, *case.shape), case.draw_context(2, "cpu", torch.float32))


@each_continuous_flow
def test_a_flow_of_continuous_data_refuses_integers_and_other_dtypes(case):
    flow = case.build()
    context = case.draw_context(2, "cpu", torch.float32)
    for method in (flow.log_prob, flow.encode):
        with pytest.raises(TypeError, match=r"floating-point input, got torch.int64"):
            method(torch.zeros(2, *case.shape, dtype=torch.int64), context)
        with pytest.raises(TypeError, match=r"parameters of torch.float32, got input of torch.float64"):
            method(torch.zeros(2, *case.shape, dtype=torch.float64), context)


@each([case for case in LAYERS + FLOWS if case.levels not in (None, 256)])
@pytest.mark.parametrize("offset", [-1, 1])
def test_grey_levels_out_of_range_are_refused_with_the_range_and_the_values(case, offset):
    x = torch.zeros(2, *case.shape, dtype=torch.int32)
    x[-1, -1] = case.levels if offset > 0 else -1
    low, high = min(x.min().item(), 0), max(x.max().item(), 0)
    message = (
        rf"from 0 to {case.levels - 1}, got values from {low} to {high}; build the model with the number of levels"
    )
    context = case.draw_context(2, "cpu", torch.float32)
    with pytest.raises(ValueError, match=message):
        case.build()(x, context)


@each([case for case in FLOWS if case.levels is not None])
def test_encoding_checks_grey_levels_too(case):
    x = torch.full((2, *case.shape), case.levels, dtype=torch.int32)
    with pytest.raises(ValueError, match=f"got values from {case.levels} to {case.levels}"):
        case.build().encode(x, case.draw_context(2, "cpu", torch.float32))
