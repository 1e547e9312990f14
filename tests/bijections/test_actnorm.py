import pytest
import torch

from inverseflow.bijections import (
    ActNorm,
    AffineCoupling,
    Compose,
    Inverse,
    Multiscale,
    Scale,
    Squeeze,
    initialize_from_data,
)
from inverseflow.nets import MLP


@pytest.mark.parametrize("shape", [(512, 3), (64, 3, 7), (16, 3, 4, 5), (8, 3, 2, 3, 4)])
def test_initialization_whitens_every_channel(shape):
    scale, shift = torch.tensor([0.01, 1.0, 300.0]), torch.tensor([5.0, 0.0, -1e3])
    x = (torch.randn(shape).movedim(1, -1) * scale + shift).movedim(-1, 1)
    layer = ActNorm(3)
    initialize_from_data(layer, x)
    z = layer(x)[0].transpose(0, 1).flatten(1)
    torch.testing.assert_close(z.mean(1), torch.zeros(3), rtol=0, atol=1e-3)
    torch.testing.assert_close(z.std(1, correction=0), torch.ones(3), rtol=0, atol=1e-3)


def test_it_is_the_identity_before():
    x = torch.randn(2, 3, 4, 4)
    z, log_det = ActNorm(3)(x)
    assert torch.equal(z, x)
    assert log_det.tolist() == [0.0, 0.0]


def test_its_log_determinant_counts_every_pixel():
    layer = ActNorm(2)
    with torch.no_grad():
        layer.log_scale.copy_(torch.tensor([0.1, 0.3]))
    assert layer(torch.zeros(1, 2, 3, 5))[1].item() == pytest.approx(15 * 0.4)


def test_a_constant_channel_keeps_its_scale():
    layer = ActNorm(2)
    x = torch.stack([torch.full((50,), 7.0), torch.randn(50)], dim=1)
    initialize_from_data(layer, x)
    assert layer.log_scale[0] == 0
    torch.testing.assert_close(layer(x)[0][:, 0], torch.zeros(50))


def test_one_event_of_one_pixel_is_only_shifted():
    layer = ActNorm(2)
    initialize_from_data(layer, torch.tensor([[3.0, -4.0]]))
    assert layer.bias.tolist() == [-3.0, 4.0]
    assert layer.log_scale.tolist() == [0.0, 0.0]


def test_it_happens_once():
    layer = ActNorm(2)
    initialize_from_data(layer, torch.randn(50, 2))
    state = {name: value.clone() for name, value in layer.state_dict().items()}
    initialize_from_data(layer, 9 + 5 * torch.randn(50, 2))
    assert all(torch.equal(value, state[name]) for name, value in layer.state_dict().items())


def test_a_reloaded_layer_remembers_that_it_is_initialized():
    layer = ActNorm(2)
    initialize_from_data(layer, 3 + torch.randn(50, 2))
    other = ActNorm(2)
    other.load_state_dict(layer.state_dict())
    initialize_from_data(other, 100 + torch.randn(50, 2))
    assert torch.equal(other.bias, layer.bias)


def test_plain_calls_and_inverses_never_initialize():
    layer = ActNorm(2)
    for mode in (True, False):
        layer.train(mode)
        layer(5 + torch.randn(50, 2))
        layer.inverse(5 + torch.randn(50, 2))
    assert not layer.initialized
    assert layer.bias.tolist() == [0.0, 0.0]


def test_every_layer_of_a_stack_whitens_what_reaches_it():
    net = MLP(2, 4, width=4)
    torch.nn.init.normal_(net[-1].weight)
    flow = Compose(ActNorm(4), Scale(30.0, shift=2.0), AffineCoupling(4, net), ActNorm(4))
    x = 8 * torch.randn(500, 4)
    initialize_from_data(flow, x)
    z, _ = flow(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(4), rtol=0, atol=1e-4)


def test_it_reaches_every_scale():
    flow = Multiscale([Compose(Squeeze(), ActNorm(4)), Compose(Squeeze(), ActNorm(8))], (1, 4, 8))
    initialize_from_data(flow, 3 + torch.randn(20, 1, 4, 8))
    assert all(module.initialized for module in flow.modules() if isinstance(module, ActNorm))


def test_a_layer_used_twice_is_set_by_what_reaches_it_first():
    layer = ActNorm(2)
    x = 5 + torch.randn(50, 2)
    initialize_from_data(Compose(layer, Scale(2.0, shift=1.0), layer), x)
    torch.testing.assert_close(layer.bias, -x.mean(0))


def test_it_leaves_no_hook_and_no_gradient_behind():
    flow = Compose(ActNorm(2), ActNorm(2))
    initialize_from_data(flow, torch.randn(50, 2))
    assert all(not layer._forward_pre_hooks for layer in flow.layers)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in flow.parameters())


def test_an_error_in_the_pass_leaves_no_hook_behind():
    flow = Compose(ActNorm(2), ActNorm(3))
    with pytest.raises(ValueError, match="3 channels"):
        initialize_from_data(flow, torch.randn(50, 2))
    assert all(not layer._forward_pre_hooks for layer in flow.layers)
    assert not flow.layers[0].initialized


def test_evaluation_mode_is_refused():
    layer = ActNorm(2).eval()
    with pytest.raises(RuntimeError, match=r"in evaluation mode; call .train\(\) first"):
        initialize_from_data(layer, torch.randn(50, 2))
    assert not layer.initialized


def test_layers_that_the_pass_does_not_reach_are_named():
    flow = Compose(ActNorm(2), Inverse(ActNorm(2)))
    with pytest.raises(RuntimeError, match=r"does not reach layers.1.bijection; initialize them with .whiten\(batch\)"):
        initialize_from_data(flow, torch.randn(50, 2))
    assert not flow.layers[0].initialized


@pytest.mark.parametrize("unit", [1e-30, 1e-6, 1e6, 1e30])
def test_data_of_any_unit_are_whitened(unit):
    layer, x = ActNorm(3), unit * (torch.randn(200, 3) * torch.tensor([1.0, 3.0, 0.1]) + 2)
    initialize_from_data(layer, x)
    z, log_det = layer(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(3), rtol=0, atol=1e-4)
    assert log_det.isfinite().all()


@pytest.mark.parametrize("value", [0.0, 1e-6, 0.1, 1e30])
def test_a_channel_that_is_constant_in_any_unit_is_only_shifted(value):
    layer = ActNorm(1)
    initialize_from_data(layer, torch.full((1000, 1), value))
    assert layer.log_scale.tolist() == [0.0]
    torch.testing.assert_close(layer.bias, torch.tensor([-value]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_statistics_of_half_precision_are_summed_in_single_precision(dtype):
    layer = ActNorm(1).to(dtype)
    x = (300 * torch.randn(4000, 1)).to(dtype)
    initialize_from_data(layer, x)
    assert layer(x)[0].float().std().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_refused_with_the_layer_it_reached_and_changes_nothing(value):
    flow = Compose(ActNorm(2), Compose(Scale(1.0), ActNorm(2)))
    flow.layers[0].initialized.fill_(True)
    x = torch.randn(50, 2)
    x[3, 1] = value
    with pytest.raises(ValueError, match=r"^layers.1.layers.1: ActNorm can't whiten .* 1 of 100 values are not finite"):
        initialize_from_data(flow, x)
    assert not flow.layers[1].layers[1].initialized
    assert flow.layers[1].layers[1].bias.tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match=r"^ActNorm can't whiten"):
        initialize_from_data(ActNorm(2), x)


def test_deviations_without_a_finite_scale_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"deviations range from 1.*e-40 to .* change the unit of the data"):
        initialize_from_data(ActNorm(1), torch.tensor([[0.0], [2e-40]]))


def test_a_batch_of_nothing_is_refused_and_changes_nothing():
    layer = ActNorm(2)
    with pytest.raises(ValueError, match="empty batch"):
        initialize_from_data(layer, torch.zeros(0, 2))
    assert not layer.initialized
    assert layer.bias.tolist() == layer.log_scale.tolist() == [0.0, 0.0]
