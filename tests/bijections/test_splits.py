from functools import partial

import pytest
import torch

from inverseflow.bijections import Channels, Checkerboard, Coupling, Halves, Mask
from inverseflow.nets import MLP, ConvNet
from tests.contracts.registry import perturb

CHECKERBOARD = torch.tensor([[True, False, True], [False, True, False]])  # where a pixel is copied


def changed_elements(layer, x):
    """Return where z differs from x."""
    z, _ = layer(x)
    return (z != x)[0]


@pytest.mark.parametrize("parity", [0, 1])
def test_a_checkerboard_changes_the_pixels_of_one_color_given_those_of_the_other(parity):
    layer = perturb(Coupling(2, partial(ConvNet, width=4), split=Checkerboard(parity)))
    x = torch.randn(1, 2, 2, 3)
    copied = CHECKERBOARD if parity == 0 else ~CHECKERBOARD
    assert torch.equal(changed_elements(layer, x), ~copied.expand(2, 2, 3))
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x)[0], x).reshape(12, 12)
    others = (~copied.expand(2, 2, 3)).flatten()
    assert torch.equal(jacobian[others][:, others], jacobian[others][:, others].diag().diag())


@pytest.mark.parametrize("size", [(5,), (3, 3), (2, 3), (3, 1, 2)])
@pytest.mark.parametrize("parity", [0, 1])
def test_a_checkerboard_copies_elements_whose_coordinates_have_an_even_sum_or_an_odd_one(size, parity):
    seen, changed = Checkerboard(parity).take(torch.ones(1, 1, *size))
    even = torch.stack(torch.meshgrid(*map(torch.arange, size), indexing="ij")).sum(0) % 2 == parity
    assert torch.equal(seen[0, 0].bool(), even)
    assert changed.shape == (1, int((~even).sum()))


def test_chosen_channels_condition_and_the_others_change():
    layer = perturb(Coupling(4, partial(MLP, width=4), split=Channels([2, 0])))
    x = torch.randn(1, 4)
    assert changed_elements(layer, x).tolist() == [False, True, False, True]


def test_channels_in_two_parts_are_halves():
    halves = perturb(Coupling(5, partial(MLP, width=4), split=Halves(3, swap=True)))
    channels = Coupling(5, halves.net, split=Channels([2, 3, 4]))
    x = torch.randn(3, 5)
    torch.testing.assert_close(channels(x), halves(x), rtol=0, atol=0)


def test_a_mask_changes_exactly_its_false_elements_and_counts_only_these():
    mask = torch.randn(2, 3, 4) > 0
    layer = perturb(Coupling(2, partial(ConvNet, width=4), split=Mask(mask)).double())
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64)
    z, log_det = layer(x)
    assert torch.equal((z != x)[0], ~mask)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x)[0], x).reshape(24, 24)
    torch.testing.assert_close(jacobian.diagonal()[~mask.flatten()].log().sum(), log_det[0])
    assert (jacobian.diagonal()[mask.flatten()] == 1).all()


def test_the_network_behind_a_mask_does_not_see_what_it_changes():
    layer = perturb(Coupling(3, partial(MLP, width=4), split=Mask(torch.tensor([True, False, True]))))
    x = torch.randn(1, 3)
    other = x.clone()
    other[0, 1] = torch.nan
    assert torch.equal(layer(other)[0][0, [0, 2]], x[0, [0, 2]])
    parameters = [layer.net(layer.split.take(event)[0]) for event in (x, other)]
    assert torch.equal(*parameters)


@pytest.mark.parametrize("value", [True, False])
def test_a_mask_of_one_value_is_refused(value):
    with pytest.raises(ValueError, match=f"and is {value} everywhere; a coupling needs both"):
        Mask(torch.full((2, 3), value))


@pytest.mark.parametrize("mask", [torch.ones(3), [True, False], torch.tensor(True)])
def test_a_mask_that_is_no_boolean_tensor_is_refused(mask):
    with pytest.raises(TypeError, match="mask must be a boolean tensor of the shape of an event, got"):
        Mask(mask)


def test_a_mask_of_another_shape_is_refused_with_both_shapes():
    layer = Coupling(2, partial(ConvNet, width=4), split=Mask(torch.eye(2, 3).bool()[:, :, None].expand(2, 3, 4)))
    with pytest.raises(ValueError, match=r"the mask splits events of shape \(2, 3, 4\), got \(2, 4, 3\)"):
        layer.output_shape((2, 4, 3))


@pytest.mark.parametrize("numbers", [[], [0, 1, 2], [3], [0, 5]])
def test_channels_that_are_none_or_all_or_not_there_are_refused(numbers):
    with pytest.raises(ValueError, match=r"must be some, but not all, of 0 … 2, got"):
        Coupling(3, partial(MLP, width=4), split=Channels(numbers))


@pytest.mark.parametrize("split", [Halves(), Channels([0])])
def test_one_channel_can_not_be_split_and_the_error_says_what_can_be_done(split):
    message = "a coupling needs at least 2 channels, got 1; use SplineActivation or an autoregressive layer"
    with pytest.raises(ValueError, match=message):
        Coupling(1, partial(MLP, width=4), split=split)


def test_a_checkerboard_of_one_pixel_is_refused():
    layer = Coupling(4, partial(ConvNet, width=4), split=Checkerboard())
    with pytest.raises(ValueError, match=r"at least 2 pixels, got an event of shape \(4, 1, 1\); split channels"):
        layer(torch.randn(2, 4, 1, 1))


def test_the_network_behind_a_mask_must_return_whole_events():
    layer = Coupling(3, MLP(3, 4, width=4), split=Mask(torch.tensor([True, False, True])))
    with pytest.raises(ValueError, match=r"changes \(5, 1\) must return \(5, 6\), got \(5, 4\)"):
        layer(torch.randn(5, 3))


def test_a_mask_of_other_channels_is_refused_when_the_coupling_is_built():
    with pytest.raises(ValueError, match=r"a mask of shape \(3,\) splits events of 3 channels, not 4"):
        Coupling(4, partial(MLP, width=4), split=Mask(torch.tensor([True, False, True])))


def test_chosen_channels_can_be_shared_by_couplings_of_equal_channels_alone():
    split, net = Channels([0]), partial(MLP, width=4)
    first, second = (Coupling(3, net, split=split) for _ in range(2))
    with pytest.raises(ValueError, match="already belongs to a coupling of 3 channels, not 4; make another"):
        Coupling(4, net, split=split)
    x = torch.randn(2, 3)
    assert torch.equal(first(x)[0], second(x)[0])


@pytest.mark.parametrize("numbers", [1, "01"])
def test_channels_that_are_no_sequence_are_refused(numbers):
    with pytest.raises(TypeError, match=r"conditioning must be a sequence of whole numbers such as \[0, 2\], got"):
        Channels(numbers)


def test_a_layer_on_the_meta_device_needs_a_mask_with_values_and_loads_like_any_other():
    mask = torch.tensor([True, False, True])
    with pytest.raises(
        ValueError, match="mask must hold values, and a meta tensor has none; make it with device='cpu'"
    ):
        Mask(mask.to("meta"))
    layer = perturb(Coupling(3, partial(MLP, width=4), split=Mask(mask)))
    with torch.device("meta"):
        other = Coupling(3, partial(MLP, width=4), split=Mask(mask))
    other.to_empty(device="cpu").load_state_dict(layer.state_dict())
    x = torch.randn(2, 3)
    assert torch.equal(other(x)[0], layer(x)[0])
