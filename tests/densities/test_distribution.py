import re

import pytest
import torch
from torch.distributions import Distribution, constraints

from inverseflow.bijections import ActNorm, AffineCoupling, Compose
from inverseflow.flows import Flow, InverseFlow
from inverseflow.nets import MLP
from tests.contracts.registry import perturb


def unconditional():
    return perturb(Flow(Compose(ActNorm(2), AffineCoupling(2, MLP(1, 2, width=4))), (2,)))


def conditional():
    return perturb(Flow(AffineCoupling(2, MLP(1 + 3, 2, width=4), context_channels=3), (2,)))


@pytest.mark.parametrize("sample_shape", [(), (5,), (4, 3), (0,)])
def test_without_context_samples_have_the_sample_shape_and_the_event_shape(sample_shape):
    p = unconditional().condition()
    assert isinstance(p, Distribution)
    assert (p.batch_shape, p.event_shape) == ((), (2,))
    x = p.sample(sample_shape)
    assert x.shape == (*sample_shape, 2)
    assert p.log_prob(x).shape == sample_shape


@pytest.mark.parametrize("batch_shape", [(), (4,), (2, 3)])
@pytest.mark.parametrize("sample_shape", [(), (5,), (4, 3)])
def test_contexts_are_the_batch_shape(sample_shape, batch_shape):
    p = conditional().condition(torch.randn(*batch_shape, 3))
    assert p.batch_shape == batch_shape
    x = p.sample(torch.Size(sample_shape))
    assert x.shape == (*sample_shape, *batch_shape, 2)
    assert p.log_prob(x).shape == (*sample_shape, *batch_shape)


def test_log_prob_is_that_of_the_flow_with_the_context_of_its_place():
    flow, contexts, x = conditional(), torch.randn(4, 3), torch.randn(5, 4, 2)
    found = flow.condition(contexts).log_prob(x)
    for i in range(5):
        torch.testing.assert_close(found[i], flow.log_prob(x[i], contexts))


def test_one_value_is_compared_with_every_context():
    flow, contexts, x = conditional(), torch.randn(4, 3), torch.randn(2)
    torch.testing.assert_close(flow.condition(contexts).log_prob(x), flow.log_prob(x.expand(4, 2), contexts))


def test_one_context_serves_a_batch_of_values():
    flow, context, x = conditional(), torch.randn(3), torch.randn(5, 2)
    torch.testing.assert_close(flow.condition(context).log_prob(x), flow.log_prob(x, context.expand(5, 3)))


def test_samples_follow_the_context_of_their_place():
    flow = Flow(AffineCoupling(2, MLP(1 + 1, 2, width=4, depth=0), context_channels=1), (2,))
    with torch.no_grad():
        flow.bijection.net[0].weight[1, 1] = -1.0  # the latent is shifted by minus the context, the data by the context
    x = flow.condition(torch.tensor([[-5.0], [5.0]])).sample((4000,))
    torch.testing.assert_close(x[..., 1].mean(0), torch.tensor([-5.0, 5.0]), rtol=0, atol=0.1)


def test_the_support_of_grey_levels_is_integers_and_else_real():
    assert unconditional().condition().support.base_constraint is constraints.real
    support = InverseFlow((1, 2, 4), levels=5, scales=1, steps=1, width=2).condition().support
    assert support.event_dim == 3
    levels = torch.tensor([0, 4, 5, -1]).view(4, 1, 1, 1).expand(4, 1, 2, 4)
    assert support.check(levels).tolist() == [True, True, False, False]


def test_samples_of_a_discrete_flow_lie_in_its_support():
    p = perturb(InverseFlow((1, 2, 4), levels=5, scales=1, steps=1, width=2)).condition()
    x = p.sample((7,))
    assert p.support.check(x).all()
    assert p.log_prob(x).shape == (7,)


def test_samples_carry_no_gradient_and_log_probs_do():
    p = unconditional().condition()
    x = p.sample((3,))
    assert not x.requires_grad
    assert p.log_prob(x).requires_grad


def test_a_context_of_another_length_is_refused():
    p = conditional().condition(torch.zeros(4, 5))
    with pytest.raises(ValueError, match=r"expects a context of shape \(4, 3\).* got \(4, 5\)"):
        p.sample()


@pytest.mark.parametrize("shape", [(2,), (4, 4), (5, 4, 4), (1, 1, 4), (5, 1, 4, 1), (3, 1, 4, 5)])
def test_values_of_another_shape_are_refused_and_not_stretched(shape):
    p = InverseFlow((1, 4, 4), levels=None, scales=1, steps=1, width=2).condition()
    with pytest.raises(ValueError, match=rf"ends in the event shape \(1, 4, 4\), got {re.escape(str(shape))}"):
        p.log_prob(torch.zeros(shape))
