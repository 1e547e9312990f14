import copy

import pytest
import torch

zuko = pytest.importorskip("zuko", reason="zuko is not installed: make test-interop")

from inverseflow.flows import Flow  # noqa: E402
from inverseflow.interop import zuko as interop  # noqa: E402
from tests.interop.checks import check_bijection, our_bijection  # noqa: E402


def their_flow(context=0):
    return zuko.flows.NSF(features=3, context=context, transforms=2, hidden_features=(8,)).double()


def their_normal():
    zeros = torch.zeros(3).double()
    return zuko.lazy.UnconditionalDistribution(zuko.distributions.DiagNormal, zeros, zeros + 1, buffer=True)


@pytest.mark.parametrize("context_channels", [None, 2])
def test_their_transform_is_a_bijection(context_channels):
    flow = their_flow(context_channels or 0)
    bijection = interop.as_bijection(flow.transform, context_channels=context_channels)
    x = torch.randn(4, 3).double()
    context = None if context_channels is None else torch.randn(4, 2).double()
    z = check_bijection(bijection, x, context)
    torch.testing.assert_close(z, flow.transform(context)(x))
    torch.testing.assert_close(Flow(bijection, (3,)).log_prob(x, context), flow(context).log_prob(x))


@pytest.mark.parametrize("context_channels", [None, 2])
def test_our_bijection_makes_the_same_density_in_their_flow(context_channels):
    bijection = our_bijection(3, context_channels)
    theirs = zuko.lazy.Flow([interop.from_bijection(bijection, (3,))], their_normal())
    x = torch.randn(5, 4, 3).double()
    context = None if context_channels is None else torch.randn(4, 2).double()
    contexts = None if context is None else context.expand(5, 4, 2).flatten(0, 1)
    expected = Flow(bijection, (3,)).double().log_prob(x.flatten(0, 1), contexts).view(5, 4)
    torch.testing.assert_close(theirs(context).log_prob(x), expected)
    drawn, log_prob = theirs(context).rsample_and_log_prob((5,))
    assert drawn.shape == ((5, 3) if context is None else (5, 4, 3))
    torch.testing.assert_close(theirs(context).log_prob(drawn), log_prob)
    (drawn.sum() + log_prob.sum()).backward()
    assert all(parameter.grad is not None for parameter in theirs.parameters())


def test_a_transform_that_goes_there_and_back_is_the_same_map():
    bijection = our_bijection(3, 2)
    back = interop.as_bijection(interop.from_bijection(bijection, (3,)), context_channels=2)
    x, context = torch.randn(4, 3).double(), torch.randn(4, 2).double()
    torch.testing.assert_close(back(x, context), bijection(x, context))
    torch.testing.assert_close(back.inverse(x, context), bijection.inverse(x, context))


@pytest.mark.parametrize("context_channels", [None, 2])
def test_their_flow_is_a_density(context_channels):
    flow = their_flow(context_channels or 0)
    density = interop.as_density(flow, context_channels=context_channels)
    x = torch.randn(4, 3).double()
    context = None if context_channels is None else torch.randn(4, 2).double()
    assert density.event_shape == (3,)
    torch.testing.assert_close(density.log_prob(x, context), flow(context).log_prob(x))
    drawn = [density.sample(4, context, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert drawn[0].shape == (4, 3)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    density.rsample(4, context).sum().backward()
    assert all(parameter.grad is not None for parameter in density.parameters())
    copy.deepcopy(density).log_prob(x, context)


def test_a_transform_of_other_events_is_refused_when_the_flow_is_built():
    with pytest.raises(ValueError, match=r"can't take an event of shape \(2,\) and no context .*; give the shape"):
        Flow(interop.as_bijection(their_flow().transform), (2,))
    with pytest.raises(ValueError, match="built for 3 channels"):
        interop.from_bijection(our_bijection(3), (2,))


def test_a_conditional_transform_without_a_context_is_refused():
    conditional = their_flow(context=2)
    with pytest.raises(ValueError, match="and context_channels if it needs a context"):
        Flow(interop.as_bijection(conditional.transform), (3,))
    with pytest.raises(ValueError, match="needs a context .*; give context_channels, its length"):
        interop.as_density(conditional)
    with pytest.raises(ValueError, match=r"needs another context than one of 5 channels"):
        interop.as_density(conditional, context_channels=5)
    for model in (
        interop.as_density(conditional, context_channels=2),
        Flow(interop.as_bijection(conditional.transform, context_channels=2), (3,)),
    ):
        with pytest.raises(ValueError, match=r"is conditional: pass a context of shape"):
            model.log_prob(torch.zeros(4, 3).double())


def test_samples_of_their_flow_have_no_temperature():
    with pytest.raises(ValueError, match="sample with temperature=1"):
        interop.as_density(their_flow()).sample(2, temperature=0.5)


def test_what_is_no_lazy_transform_is_refused():
    with pytest.raises(TypeError, match="the transform must be an object of the class LazyTransform of zuko"):
        interop.as_bijection(torch.nn.Linear(2, 2))
    with pytest.raises(TypeError, match="the distribution must be an object of the class LazyDistribution of zuko"):
        interop.as_density(torch.nn.Linear(2, 2))
