import pytest
import torch

from inverseflow.nets import MaskedMLP
from tests.contracts.registry import perturb

ORDERS = {"natural": [0, 1, 2, 3, 4], "reversed": [4, 3, 2, 1, 0]}


def allowed(order):
    """Return which output may depend on which input: those before it in the order."""
    place = {channel: number for number, channel in enumerate(order)}
    return torch.tensor([[place[seen] < place[channel] for seen in range(len(order))] for channel in range(len(order))])


def dependencies(net, outputs_per_channel, *context):
    """Return for each channel's outputs whether their derivative by each input is zero at every one of many points."""
    channels = net.in_channels
    x = torch.randn(200, channels, dtype=torch.float64)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: net(row[None], *context)[0]))(x)
    return jacobian.unflatten(1, (outputs_per_channel, channels)).abs().amax((0, 1)) != 0


@pytest.mark.parametrize("order", ["natural", "reversed", [3, 0, 4, 1, 2]])
@pytest.mark.parametrize(("depth", "direct"), [(0, False), (1, False), (1, True), (3, False)])
def test_outputs_depend_on_every_input_before_theirs_and_on_no_other(order, depth, direct):
    net = perturb(MaskedMLP(5, 10, 12, depth, order=order, direct=direct).double())
    assert torch.equal(dependencies(net, 2), allowed(ORDERS.get(order, order) if isinstance(order, str) else order))


@pytest.mark.parametrize("seed", range(20))
def test_random_degrees_let_nothing_through_that_is_not_before(seed):
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed)).tolist()
    net = perturb(MaskedMLP(6, 6, 7, 2, order=order, degree_seed=seed).double())
    assert not (dependencies(net, 1) & ~allowed(order)).any()


def test_random_degrees_are_a_matter_of_the_seed():
    masks = [torch.cat([layer.mask.flatten() for layer in MaskedMLP(6, 6, 8, degree_seed=s).layers]) for s in (1, 1, 2)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_a_direct_map_adds_what_a_narrow_network_misses():
    seen = dependencies(perturb(MaskedMLP(8, 8, 3, direct=True).double()), 1)
    assert torch.equal(seen, allowed(range(8)))


def test_other_masks_share_the_parameters_and_hold_in_their_own_order():
    net = perturb(MaskedMLP(5, 10, 12, context_channels=2, direct=True).double())
    other = net.remasked([3, 0, 4, 1, 2], 1)
    assert [*map(id, other.parameters())] == [*map(id, net.parameters())]
    context = torch.zeros(1, 2, dtype=torch.float64)
    assert not (dependencies(other, 2, context) & ~allowed([3, 0, 4, 1, 2])).any()


def test_63_inputs_see_all_before_them_with_the_least_width_that_can():
    net = perturb(MaskedMLP(63, 63, 62, 1).double())
    assert torch.equal(dependencies(net, 1), torch.ones(63, 63).tril(-1).bool())


def test_a_narrow_network_misses_inputs_but_lets_nothing_through():
    seen = dependencies(perturb(MaskedMLP(8, 8, 3).double()), 1)
    assert not (seen & ~allowed(range(8))).any()
    assert seen[7, :7].all()


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_all_outputs_depend_on_the_context_and_not_only_linearly(channels):
    net = perturb(MaskedMLP(channels, 2 * channels, 16, context_channels=2).double())
    x, context = torch.zeros(1, channels, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    with torch.no_grad():
        one, two, both = (net(x, c[None]) for c in (context[0], context[1], context[:2].sum(0)))
        none = net(x, torch.zeros(1, 2, dtype=torch.float64))
    assert ((one + two - both - none).abs() > 1e-6).all()


def test_the_output_for_a_single_input_is_constant():
    net = perturb(MaskedMLP(1, 3, 4).double())
    assert torch.equal(dependencies(net, 3), torch.zeros(1, 1).bool())


@pytest.mark.parametrize(
    ("channels", "depth", "context", "direct"),
    [(1, 2, None, False), (2, 1, 3, True), (7, 0, None, False), (7, 2, 3, False), (7, 2, None, True)],
)
def test_unrolling_gives_the_outputs_of_the_inputs_that_it_chose(channels, depth, context, direct):
    order = torch.randperm(channels, generator=torch.Generator().manual_seed(3)).tolist()
    net = MaskedMLP(channels, 2 * channels, 9, depth, order=order, context_channels=context, direct=direct)
    net = perturb(net.double())
    given = [] if context is None else [torch.randn(5, context, dtype=torch.float64)]
    told = {}

    def step(channel, outputs):
        told[channel] = outputs
        return outputs[0] * outputs[1] + channel

    with torch.no_grad():
        x = net.unroll(step, 5, *given)
        outputs = net(x, *given).unflatten(1, (2, channels))
    assert list(told) == order
    torch.testing.assert_close(torch.stack([told[c] for c in range(channels)], 2).transpose(0, 1), outputs)
    torch.testing.assert_close(x, outputs[:, 0] * outputs[:, 1] + torch.arange(channels))


def test_masks_are_not_saved():
    assert not [name for name in MaskedMLP(3, 3, 4).state_dict() if "mask" in name]


@pytest.mark.parametrize("order", [[0, 1], [0, 1, 1], [1, 2, 3], [0, 1, 2, 3]])
def test_an_order_that_is_no_permutation_is_refused(order):
    with pytest.raises(ValueError, match=r"order must hold each of 0 … 2 once, got \["):
        MaskedMLP(3, 3, 4, order=order)


def test_an_order_without_a_name_is_refused_with_those_that_have_one():
    with pytest.raises(ValueError, match="unknown order 'random': choose 'natural' or 'reversed'"):
        MaskedMLP(3, 3, 4, order="random")


def test_a_number_of_outputs_that_is_no_multiple_is_refused():
    with pytest.raises(ValueError, match="out_channels must be a multiple of the 3 in_channels, got 7"):
        MaskedMLP(3, 7, 4)


def test_a_missing_and_a_needless_context_are_refused():
    with pytest.raises(ValueError, match=r"takes a context of shape \(B, 2\), got none"):
        MaskedMLP(3, 3, 4, context_channels=2)(torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"takes no context, got one of \(1, 2\); build it with context_channels"):
        MaskedMLP(3, 3, 4)(torch.zeros(1, 3), torch.zeros(1, 2))
