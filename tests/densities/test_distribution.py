import math
import re

import pytest
import torch
from torch.distributions import AffineTransform, Distribution, Independent, TransformedDistribution, constraints

from inverseflow.bijections import ActNorm, AffineCoupling, Compose
from inverseflow.densities import DensityDistribution
from inverseflow.flows import NSF, Flow, Glow, InverseFlow
from inverseflow.nets import MLP
from tests.contracts.registry import perturb


@pytest.fixture(autouse=True)
def validation(monkeypatch):
    """Turns on the default of `torch.distributions`, which the first use of torch.compile in a process turns off."""
    monkeypatch.setattr(Distribution, "_validate_args", True)


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


def test_log_prob_is_the_flow_s_with_the_context_of_its_place():
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


def test_the_support_of_gray_levels_is_integers_and_else_real():
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


# Differentiable samples


def test_differentiable_samples_carry_the_gradient_to_parameters_and_context():
    flow, contexts = conditional(), torch.randn(4, 3, requires_grad=True)
    p = flow.condition(contexts)
    assert p.has_rsample
    x = p.rsample((5,))
    assert x.shape == (5, 4, 2)
    x.square().sum().backward()
    assert contexts.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in flow.parameters())


def test_gray_levels_have_no_differentiable_samples_and_say_so():
    p = InverseFlow((1, 2, 4), levels=5, scales=1, steps=1, width=2).condition()
    assert not p.has_rsample
    with pytest.raises(NotImplementedError, match=r"gradient: gray levels are integers; use sample\(\)"):
        p.rsample()


# Expansion, as plates and mixtures of other libraries ask for it


@pytest.mark.parametrize("batch_shape", [(32,), (2, 3), ()])
def test_an_unconditional_density_expands_to_any_batch_shape(batch_shape):
    p = unconditional().condition().expand(batch_shape)
    assert p.batch_shape == batch_shape
    x = p.sample((5,))
    assert x.shape == (5, *batch_shape, 2)
    assert p.log_prob(x).shape == (5, *batch_shape)
    assert p.rsample().shape == (*batch_shape, 2)


def test_an_expanded_density_keeps_its_contexts_and_its_checks():
    flow, contexts = conditional(), torch.randn(3)
    p = flow.condition(contexts).expand((4,)).expand(torch.Size([2, 4]))
    x = torch.randn(2, 4, 2)
    torch.testing.assert_close(p.log_prob(x).flatten(), flow.log_prob(x.flatten(0, 1), contexts.expand(8, 3)))
    with pytest.raises(ValueError, match="support"):
        p.log_prob(torch.full((2, 4, 2), torch.nan))
    with pytest.raises(RuntimeError, match="expand"):
        flow.condition(torch.randn(4, 3)).expand((5,))


def test_it_serves_as_a_part_of_other_distributions():
    torch.manual_seed(0)
    batch = Independent(conditional().condition(torch.randn(4, 3)), 1)
    assert batch.log_prob(batch.sample((2,))).shape == (2,)
    doubled = TransformedDistribution(unconditional().condition(), [AffineTransform(1.0, 2.0, event_dim=1)])
    x = doubled.rsample((3,))
    expected = doubled.base_dist.log_prob((x - 1) / 2) - 2 * math.log(2)
    torch.testing.assert_close(doubled.log_prob(x), expected)


@pytest.mark.parametrize("build", [lambda: unconditional().condition(), lambda: conditional().condition(torch.ones(3))])
def test_its_density_integrates_to_one(build):
    torch.manual_seed(0)
    p, n = build(), 2**15
    with torch.no_grad():
        x = p.sample((n,))
        low, high = x.amin(0), x.amax(0)
        width = high - low
        points = low - width / 2 + 2 * width * torch.rand(n, 2)
        integral = p.log_prob(points).exp().mean() * (2 * width).prod()
    assert 0.9 < integral < 1.1


# Validation


def test_values_outside_of_the_support_are_refused_unless_validation_is_off():
    flow = InverseFlow((1, 2, 2), levels=3, scales=1, steps=1, width=2)
    with pytest.raises(ValueError, match="support"):
        flow.condition().log_prob(torch.full((1, 2, 2), 3))
    broken = torch.full((2,), torch.nan)
    with pytest.raises(ValueError, match="support"):
        unconditional().condition().log_prob(broken)
    assert DensityDistribution(unconditional(), validate_args=False).log_prob(broken).isnan()


def test_a_context_that_is_no_tensor_or_not_a_number_is_refused():
    with pytest.raises(TypeError, match="a context is None or a tensor"):
        conditional().condition([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="context"):
        conditional().condition(torch.full((3,), torch.nan))


@pytest.mark.parametrize("what", ["mean", "variance", "stddev", "entropy"])
def test_a_moment_without_closed_form_says_so(what):
    p = unconditional().condition()
    with pytest.raises(NotImplementedError, match="Flow has no .* in closed form; estimate it from samples"):
        p.entropy() if what == "entropy" else getattr(p, what)


def test_its_representation_names_the_density_and_the_shapes():
    p = conditional().condition(torch.zeros(4, 3))
    assert repr(p) == "DensityDistribution(Flow, batch_shape=(4,), event_shape=(2,))"


def test_the_support_of_a_table_holds_whole_numbers_in_its_integer_columns():
    p = NSF((3,), steps=1, integer_columns=(1,)).condition()
    x = torch.tensor([[0.5, 2.0, 0.1], [0.5, 2.5, 0.1], [torch.nan, 2.0, 0.1], [1.0, -3.0, torch.inf]])
    assert p.support.check(x).tolist() == [True, False, False, False]
    assert p.support.check(p.sample((2, 5))).all()
    with pytest.raises(ValueError, match="within the support"):
        p.log_prob(x)


def test_spatial_contexts_have_a_batch_shape_of_their_own():
    flow = perturb(Glow((1, 4, 8), levels=None, scales=1, steps=1, width=3, context_channels=2))
    contexts = torch.randn(5, 2, 4, 8)
    one, many = flow.condition(contexts[0]), flow.condition(contexts)
    assert (one.batch_shape, many.batch_shape) == ((), (5,))
    assert one.expand((3,)).sample((2,)).shape == (2, 3, 1, 4, 8)
    x = many.sample((2,))
    torch.testing.assert_close(many.log_prob(x)[1], flow.log_prob(x[1], contexts))
    torch.testing.assert_close(one.log_prob(x[:, 0]), many.log_prob(x)[:, 0])
    with pytest.raises(ValueError, match="context"):
        flow.condition(contexts * torch.nan)


def test_no_contexts_give_no_samples():
    p = conditional().condition(torch.zeros(0, 3))
    assert p.sample((4,)).shape == (4, 0, 2)
    assert p.log_prob(torch.zeros(2)).shape == (0,)
