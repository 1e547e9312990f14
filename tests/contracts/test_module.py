"""Promises of every layer and flow as a module: shapes, dtypes, devices, no side effects, a readable repr."""

import re

import pytest
import torch

from tests.contracts.registry import (
    FLOWS,
    KINDS_OF_FLOWS,
    LAYERS,
    ONE_OF_EACH_CLASS,
    each,
    each_continuous_flow,
    each_layer,
    each_layer_class,
)


def seeded(function, *args, **kwargs):
    """Call with the same noise every time."""
    torch.manual_seed(7)
    return function(*args, **kwargs)


@each_layer
def test_shapes_are_known_before_the_layer_runs(case, device, dtype):
    layer = case.perturbed(device, dtype)
    z, _ = layer(case.data(2, device, dtype), case.draw_context(2, device, dtype))
    assert layer.output_shape(case.shape) == tuple(z.shape[1:])
    assert layer.input_shape(tuple(z.shape[1:])) == case.shape


@pytest.mark.parametrize("batch", [0, 3])
@each_layer_class
def test_log_determinants_have_one_entry_for_each_event_in_the_dtype_of_the_data(case, batch, device, dtype):
    layer = case.perturbed(device, dtype)
    context = case.draw_context(batch, device, dtype)
    z, log_det = layer(case.data(batch, device, dtype), context)
    _, log_det_back = layer.inverse(z, context)
    for one in (log_det, log_det_back):
        assert one.shape == (batch,)
        assert one.dtype == z.dtype == dtype
        assert one.device == z.device


@each_layer
def test_events_of_a_batch_do_not_see_each_other(case, device, dtype):
    layer = case.perturbed(device, dtype)
    x, context = case.data(3, device, dtype), case.draw_context(3, device, dtype)
    z, log_det = layer(x, context)
    if case.continuous:
        z_of_last, log_det_of_last = layer(x[2:], None if context is None else context[2:])
        torch.testing.assert_close((z_of_last, log_det_of_last), (z[2:], log_det[2:]))
    x_of_last, log_det_of_last = layer.inverse(z[2:], None if context is None else context[2:])
    x, log_det = layer.inverse(z, context)
    torch.testing.assert_close((x_of_last, log_det_of_last), (x[2:], log_det[2:]))


@each([case for case in ONE_OF_EACH_CLASS if case.name != "BatchNorm"])
def test_evaluation_mode_computes_the_same(case, device, dtype):
    layer = case.perturbed(device, dtype)
    x, context = case.data(3, device, dtype), case.draw_context(3, device, dtype)
    in_training = seeded(layer.train(), x, context)
    in_evaluation = seeded(layer.eval(), x, context)
    torch.testing.assert_close(in_evaluation, in_training, rtol=0, atol=0)
    backwards = [layer.train(mode).inverse(in_training[0], context) for mode in (True, False)]
    torch.testing.assert_close(*backwards, rtol=0, atol=0)


@each(KINDS_OF_FLOWS)
def test_a_flow_in_evaluation_mode_computes_the_same(case, device, dtype):
    flow = case.perturbed(device, dtype)
    x, context = case.data(3, device, dtype), case.draw_context(3, device, dtype)
    torch.testing.assert_close(seeded(flow.eval(), x, context), seeded(flow.train(), x, context), rtol=0, atol=0)


@each(ONE_OF_EACH_CLASS + KINDS_OF_FLOWS)
def test_two_runs_in_a_row_give_the_same_to_the_bit(case, device, dtype):
    module = case.perturbed(device, dtype)
    x, context = case.data(3, device, dtype), case.draw_context(3, device, dtype)
    torch.testing.assert_close(seeded(module, x, context), seeded(module, x, context), rtol=0, atol=0)


@each_layer_class
def test_neither_direction_touches_its_input_or_the_layers_state(case, device, dtype):
    layer = case.perturbed(device, dtype)
    x, context = case.data(3, device, dtype), case.draw_context(3, device, dtype)
    state = {name: value.clone() for name, value in layer.state_dict().items()}
    x_before, context_before = x.clone(), None if context is None else context.clone()
    z, _ = layer(x, context)
    z_before = z.clone()
    layer.inverse(z, context)
    assert torch.equal(x, x_before)
    assert torch.equal(z, z_before)
    assert context is None or torch.equal(context, context_before)
    assert all(torch.equal(value, state[name]) for name, value in layer.state_dict().items())


@each_layer_class
def test_results_are_contiguous(case, device, dtype):
    layer = case.perturbed(device, dtype)
    context = case.draw_context(3, device, dtype)
    z, log_det = layer(case.data(3, device, dtype), context)
    x, log_det_back = layer.inverse(z, context)
    assert all(tensor.is_contiguous() for tensor in (z, log_det, x, log_det_back))


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
@each([case for case in ONE_OF_EACH_CLASS if case.continuous])
def test_both_directions_run_in_half_precision(case, low, device):
    layer = case.perturbed(device, torch.float32)
    x, context = case.data(3, device, low), case.draw_context(3, device, low)
    exact, exact_log_det = layer.to(low).to(torch.float32)(x.float(), None if context is None else context.float())
    layer = layer.to(low)
    z, log_det = layer(x, context)
    back, log_det_back = layer.inverse(z, context)
    assert z.dtype == back.dtype == low
    assert log_det.dtype == log_det_back.dtype == torch.float32
    precision = 16 * torch.finfo(low).eps
    assert (z.float() - exact).abs().max() <= precision * exact.abs().max().clamp_min(1)
    assert (log_det - exact_log_det).abs().max() <= precision * exact_log_det.abs().max().clamp_min(x[0].numel())
    if case.unit_latents:
        return  # half precision does not tell probabilities near 1 apart
    assert (back.float() - x.float()).abs().max() <= 4 * precision * z.float().abs().max().clamp_min(1)


@each(ONE_OF_EACH_CLASS + FLOWS)
def test_a_module_built_without_memory_is_whole_once_its_state_is_loaded(case, device):
    original = case.perturbed(device, torch.float32)
    with torch.device("meta"):
        module = case.build()
    assert repr(module)
    module = module.to_empty(device=device)
    module.load_state_dict(original.state_dict())
    x, context = case.data(3, device, torch.float32), case.draw_context(3, device, torch.float32)
    z, log_det = seeded(original, x, context) if case in LAYERS else (original.encode(x, context), None)
    if case in LAYERS:
        torch.testing.assert_close(seeded(module, x, context), (z, log_det), rtol=0, atol=0)
        torch.testing.assert_close(module.inverse(z, context), original.inverse(z, context), rtol=0, atol=0)
    else:
        torch.testing.assert_close(module.encode(x, context), z, rtol=0, atol=0)
        torch.testing.assert_close(module.decode(z, context), original.decode(z, context), rtol=0, atol=0)


@each([case for case in ONE_OF_EACH_CLASS if case.context is None])
def test_an_unconditional_layer_ignores_the_context(case, device, dtype):
    layer = case.perturbed(device, dtype)
    x, of_any_shape = case.data(3, device, dtype), torch.full((5, 7), torch.nan, device=device, dtype=dtype)
    z, log_det = seeded(layer, x)
    torch.testing.assert_close(seeded(layer, x, of_any_shape), (z, log_det), rtol=0, atol=0)
    torch.testing.assert_close(layer.inverse(z, of_any_shape), layer.inverse(z), rtol=0, atol=0)


@each([case for case in LAYERS if case.context is not None])
def test_a_conditional_layer_heeds_the_context(case, device, dtype):
    layer = case.perturbed(device, dtype)
    x, context = case.data(3, device, dtype), case.draw_context(3, device, dtype)
    assert not torch.allclose(layer(x, context)[0], layer(x, context + 1)[0])


@each([case for case in ONE_OF_EACH_CLASS if case.continuous])
def test_double_precision_gives_what_single_precision_gives_but_finer(case, device):
    layer = case.perturbed(device, torch.float64)
    x, context = case.data(3, device, torch.float64), case.draw_context(3, device, torch.float64)
    fine, fine_log_det = layer(x, context)
    layer = layer.to(torch.float32)
    coarse, coarse_log_det = layer(x.float(), None if context is None else context.float())
    assert coarse.dtype == coarse_log_det.dtype == torch.float32
    torch.testing.assert_close(coarse, fine.float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(coarse_log_det, fine_log_det.float(), rtol=1e-4, atol=1e-3)


@each_continuous_flow
def test_a_flow_in_single_precision_agrees_with_double_precision(case, device):
    flow = case.perturbed(device, torch.float64)
    x, context = case.data(3, device, torch.float64), case.draw_context(3, device, torch.float64)
    fine = flow.log_prob(x, context)
    coarse = flow.to(torch.float32).log_prob(x.float(), None if context is None else context.float())
    assert coarse.dtype == torch.float32
    torch.testing.assert_close(coarse, fine.float(), rtol=1e-4, atol=1e-3)
    context = None if context is None else context.float()
    assert flow.sample(3, context).dtype == flow.encode(x.float(), context).dtype == torch.float32


@each(ONE_OF_EACH_CLASS + FLOWS)
def test_the_repr_says_what_it_is_in_short_lines(case):
    module = case.build()
    text = repr(module)
    assert text.startswith(type(module).__name__)
    assert " at 0x" not in text
    assert "lambda" not in text
    assert max(map(len, text.splitlines())) <= 120


@each([case for case in LAYERS if "Conv2d" in case.name or case.name.startswith("MaCow")])
def test_a_convolution_made_of_others_has_its_own_attributes_repr_and_errors(case):
    layer = case.build()
    name = type(layer).__name__
    assert layer.channels == case.shape[0]
    assert len(layer.kernel_size) == 2
    assert re.match(rf"{name}\(\s*channels={layer.channels}, kernel_size=", repr(layer))
    bad = torch.zeros(2, layer.channels + 1, *case.shape[1:])
    for direction in (layer, layer.inverse):
        with pytest.raises(ValueError, match=rf"^{name} is built for {layer.channels} channels, got an event of shape"):
            direction(bad)


DETAILS = {
    "Dequantize-8-bit": "levels=256",
    "Logit-bare": "alpha=0",
    "Scale": "2, shift=-0.5",
    "ActNorm": "channels=4",
    "LUConv1x1": "channels=4",
    "CausalConv2d-bound": "max_row_sum=0.9, groups=2",
    "CausalConv2d-free-diagonal": "diagonal='free'",
    "InverseConv2d-bottom-right": "kernel_size=(2, 6), corner='bottom_right'",
    "FInCConv2d-all": "channels=4, kernel_size=(3, 2)",
    "PeriodicConv2d-even-kernel": "channels=2, kernel_size=(2, 3)",
    "ExponentialConv2d-strong": "channels=2, kernel_size=(3, 3), max_spectral_norm=3",
    "ExactConv2d-pointwise": "channels=3, kernel_size=(1, 1)",
    "SelfNormalizingConv2d-exact-gradient": "gradient='exact'",
    "Woodbury": "channels=4, size=(3, 5)",
    "MaskedConvFlow-columns-right": "channels=2, kernel_size=(3, 1), order='D', width=8",
    "Butterfly-shared": "channels=3, size=(4, 2), factors=(2, 0, 2), shared=True",
    "MintNet-mirrored": "channels=2, kernel_size=3, size=(4, 3), width=4, order='B'",
    "AffineCoupling-odd-swap": "channels=3, num_conditioning=2, swap=True",
    "QuadCoupling-two-blocks": "channels=6, blocks=2",
    "SplineActivation-elements": "channels=2, size=(2, 3), bins=3, bound=2",
    "SplineActivation-shared": "bins=4, bound=1.5",
    "Squeeze-by-3": "factor=3",
    "Permute-vector": "[2, 0, 3, 1]",
}


@each([case for case in LAYERS if case.name in DETAILS])
def test_the_repr_tells_what_the_layer_was_built_with(case):
    assert DETAILS[case.name] in repr(case.build())
