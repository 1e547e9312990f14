"""What a flow does with its parts: likelihood, bits, samples, latents."""

import math
import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from inverseflow.bijections import (
    ActNorm,
    AffineCoupling,
    Bijection,
    Compose,
    Coupling,
    Halves,
    Logit,
    LUConv1x1,
    Mask,
    Permute,
    Scale,
    Squeeze,
    Standardize,
)
from inverseflow.distributions import StandardNormal
from inverseflow.flows import Flow, Glow, InverseFlow
from inverseflow.nets import MLP
from tests.contracts.registry import FLOWS, each, each_continuous_flow, each_flow, perturb


class Uniform(nn.Module):
    """A base density that is 1 on the unit cube."""

    def log_prob(self, z):
        return torch.where(((z >= 0) & (z <= 1)).all(1), 0.0, -torch.inf)

    def sample(self, n, *, temperature=1.0, generator=None):
        return temperature * torch.rand(n, 12, generator=generator)


def small(**options):
    defaults = {"levels": None, "scales": 2, "steps": 2, "width": 4, "spline_bins": 4}
    return perturb(InverseFlow((1, 4, 8), **{**defaults, **options}))


class Calls(TorchDispatchMode):
    """Counts the calls of every operator inside a ``with`` block."""

    def __init__(self):
        super().__init__()
        self.counts = {}
        self.largest_solve = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.counts[function] = self.counts.get(function, 0) + 1
        if "solve" in function.__name__ or "inv_" in function.__name__:
            sizes = [value.numel() for value in args if isinstance(value, torch.Tensor)]
            self.largest_solve = max(self.largest_solve, *sizes)
        return function(*args, **(kwargs or {}))

    @property
    def solves(self):
        return self.counts.get(torch.ops.inverseflow.inv_conv2d.default, 0)

    @property
    def convolutions(self):
        return self.counts.get(torch.ops.inverseflow.causal_conv2d.default, 0)


# Bits


@pytest.mark.parametrize("levels", [2, 17, 256, 1000])
def test_a_uniform_model_costs_exactly_the_logarithm_of_the_levels(levels):
    flow = Flow(Compose(), (3, 2, 2), levels=levels, base=Uniform())
    x = torch.randint(levels, (5, 3, 2, 2))
    torch.testing.assert_close(flow.bits_per_dim(x), torch.full((5,), math.log2(levels)))
    torch.testing.assert_close(flow.log_prob(x), torch.full((5,), -12 * math.log(levels)))


def test_bits_of_continuous_data_are_the_negative_log_density_over_the_dimensions():
    flow = Flow(Scale(2.0), (3,))
    x = torch.tensor([[0.5, 0.0, -1.0]])
    nats = 0.5 * (1 + 0 + 4) + 1.5 * math.log(2 * math.pi) - 3 * math.log(2)
    assert flow.bits_per_dim(x).item() == pytest.approx(nats / (3 * math.log(2)))
    assert flow.to_bits_per_dim(torch.tensor(-3 * math.log(2))).item() == pytest.approx(1.0)


def test_preprocessing_belongs_to_the_likelihood():
    preprocessed = Flow(Compose(), (3, 2, 2), levels=4, preprocessing=Logit(0.05))
    x = torch.randint(4, (6, 3, 2, 2))
    torch.manual_seed(1)
    found = preprocessed.log_prob(x)
    torch.manual_seed(1)
    point = (x + torch.rand(x.shape)) / 4
    v = 0.05 + 0.9 * point
    log_jacobian = math.log(0.9) - v.log() - (1 - v).log() - math.log(4)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob((v / (1 - v)).log()) + log_jacobian
    torch.testing.assert_close(found, expected.flatten(1).sum(1))


@each_flow
def test_calling_a_flow_is_its_log_prob(case):
    flow = case.perturbed("cpu", torch.float64)
    x, context = case.data(3, "cpu", torch.float64), case.draw_context(3, "cpu", torch.float64)
    results = []
    for method in (flow, flow.log_prob, flow.bits_per_dim):
        torch.manual_seed(1)
        results.append(method(x, context))
    assert torch.equal(results[0], results[1])
    torch.testing.assert_close(results[2], -results[0] / (flow.dims * math.log(2)))


def test_the_noise_of_dequantization_makes_the_likelihood_of_gray_levels_an_estimate():
    flow, x = small(levels=5), torch.randint(5, (2, 1, 4, 8))
    assert not torch.equal(flow.log_prob(x), flow.log_prob(x))
    assert torch.equal(flow.encode(x), flow.encode(x))


# The triangular solve


def test_sampling_an_inverse_flow_solves_nothing():
    flow = small(levels=16, scales=2, steps=3)
    with Calls() as calls:
        images = flow.sample(2)
    assert (calls.solves, calls.convolutions) == (0, 2 * 3)
    assert calls.largest_solve == 8 * 8  # the 1×1 convolutions invert their matrices, of at most 8 channels
    with Calls() as calls:
        flow.decode(torch.randn(2, flow.dims))
    assert (calls.solves, calls.convolutions) == (0, 2 * 3)
    with Calls() as calls:
        flow.encode(images)
    assert (calls.solves, calls.convolutions) == (2 * 3, 0)


def test_the_likelihood_takes_one_solve_for_each_step_and_its_gradient_one_more():
    flow = small(scales=2, steps=3)
    with Calls() as calls:
        loss = flow.log_prob(torch.randn(2, 1, 4, 8)).sum()
    assert (calls.solves, calls.convolutions) == (6, 0)
    with Calls() as calls:
        loss.backward()
    # The image needs no gradient, so the first solve is the only one whose input needs none: but its kernel does.
    assert calls.solves == 6


def test_glow_neither_solves_nor_convolves_causally():
    flow = perturb(Glow((1, 4, 8), levels=None, scales=2, steps=2, width=4))
    with Calls() as calls:
        flow.log_prob(flow.sample(2))
    assert (calls.solves, calls.convolutions) == (0, 0)


# Samples


@each_flow
def test_samples_have_the_shape_and_dtype_of_the_data(case):
    flow = case.perturbed("cpu", torch.float32)
    context = case.draw_context(4, "cpu", torch.float32)
    sample = flow.sample(4, context)
    assert sample.shape == (4, *case.shape)
    assert sample.dtype == case.data(1, "cpu", torch.float32).dtype
    assert not sample.requires_grad
    if case.levels is not None:
        assert 0 <= sample.long().min() <= sample.long().max() < case.levels


@each_flow
def test_no_samples_are_no_samples(case):
    flow = case.perturbed("cpu", torch.float32)
    assert flow.sample(0, case.draw_context(0, "cpu", torch.float32)).shape == (0, *case.shape)


@each_flow
def test_a_generator_decides_the_samples_and_leaves_the_global_state_alone(case):
    flow = case.perturbed("cpu", torch.float32)
    context = case.draw_context(3, "cpu", torch.float32)
    state = torch.get_rng_state()
    first, second = (flow.sample(3, context, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, flow.sample(3, context, generator=torch.Generator().manual_seed(6)))


@each_flow
def test_at_temperature_zero_every_sample_is_the_same(case):
    flow = case.perturbed("cpu", torch.float32)
    context = None if case.context is None else torch.ones(1, *case.context)
    sample = flow.sample(3, context, temperature=0.0)
    assert torch.equal(sample[0], sample[2])
    torch.testing.assert_close(sample[:1], flow.decode(torch.zeros(1, flow.dims), context), rtol=1e-5, atol=1e-5)


def test_the_temperature_scales_the_noise_of_the_base():
    sample = Flow(Scale(2.0), (3,)).sample(20_000, temperature=0.5, generator=torch.Generator().manual_seed(1))
    assert sample.std().item() == pytest.approx(0.25, rel=0.02)


@each_continuous_flow
def test_the_log_density_that_comes_with_samples_is_that_of_log_prob(case):
    flow = case.perturbed("cpu", torch.float64)
    context = case.draw_context(5, "cpu", torch.float64)
    for temperature in (0.7, 1.0):
        x, log_prob = flow.sample_with_log_prob(5, context, temperature=temperature)
        torch.testing.assert_close(log_prob, flow.log_prob(x, context))


def test_samples_with_log_prob_are_differentiable_in_the_parameters():
    flow = small()
    x, log_prob = flow.sample_with_log_prob(4)
    (x.square().sum() + log_prob.sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in flow.parameters())


@pytest.mark.parametrize("n", [-1, -100])
def test_a_negative_number_of_samples_is_refused(n):
    with pytest.raises(ValueError, match=f"at least 0, got {n}"):
        small().sample(n)


@pytest.mark.parametrize("temperature", [-0.1, math.nan])
def test_a_temperature_that_is_no_deviation_is_refused(temperature):
    with pytest.raises(ValueError, match=f"finite and at least 0, got {temperature}"):
        small().sample(2, temperature=temperature)


# Context

CONDITIONAL = [case for case in FLOWS if case.context is not None]


@each(CONDITIONAL)
def test_a_conditional_flow_heeds_its_context(case):
    flow = case.perturbed("cpu", torch.float64)
    x, context = case.data(3, "cpu", torch.float64), case.draw_context(3, "cpu", torch.float64)
    assert not torch.allclose(flow.encode(x, context), flow.encode(x, context + 1))
    torch.manual_seed(1)
    here = flow.log_prob(x, context)
    torch.manual_seed(1)
    assert not torch.allclose(here, flow.log_prob(x, context + 1))


def test_each_sample_has_its_own_context():
    flow = small(context_channels=2).double()
    contexts = torch.tensor([[1.0, 0.0], [-3.0, 2.0]], dtype=torch.float64)
    noise = [torch.Generator().manual_seed(1) for _ in range(3)]
    both = flow.sample(2, contexts, generator=noise[0])
    first = flow.sample(2, contexts[:1], generator=noise[1])
    second = flow.sample(2, contexts[1], generator=noise[2])
    torch.testing.assert_close(both, torch.stack([first[0], second[1]]))
    assert not torch.allclose(first, second)


def test_a_conditional_flow_learns_to_use_its_context():
    flow = Flow(AffineCoupling(2, MLP(1 + 1, 2, width=16), context_channels=1), (2,))
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.02)
    for _ in range(200):
        context = torch.randn(64, 1)
        x = torch.cat([torch.randn(64, 1), context + 0.5 * torch.randn(64, 1)], dim=1)
        optimizer.zero_grad()
        (-flow.log_prob(x, context).mean()).backward()
        optimizer.step()
    for value in (-1.0, 1.0):
        assert flow.sample(2000, torch.tensor([value]))[:, 1].mean().item() == pytest.approx(value, abs=0.2)


@pytest.mark.parametrize("shape", [(3, 2), (0, 2)])
def test_a_number_of_contexts_that_is_neither_one_nor_that_of_the_samples_is_refused(shape):
    with pytest.raises(ValueError, match=rf"2 samples need one context or 2 of them, got shape \({shape[0]}, 2\)"):
        small(context_channels=2).sample(2, torch.zeros(shape))


def test_sampling_without_the_context_or_with_one_of_another_length_is_refused():
    flow = small(context_channels=2)
    with pytest.raises(ValueError, match=r"is conditional: pass a context of shape \(3, 2\)"):
        flow.sample(3)
    with pytest.raises(ValueError, match=r"expects a context of shape \(3, 2\).* got \(3, 5\)"):
        flow.sample(3, torch.zeros(3, 5))
    with pytest.raises(ValueError, match="context"):
        flow.sample(3, torch.tensor(1.0))


# Latents


@each_flow
def test_the_slices_of_the_scales_make_up_the_latent(case):
    flow = case.build()
    covered = sorted(index for part in flow.latent_slices.values() for index in range(flow.dims)[part])
    assert covered == list(range(flow.dims))
    assert list(flow.latent_slices) == [f"scale_{number}" for number in range(1, len(flow.latent_slices) + 1)]


def test_a_flow_without_scales_has_one_slice():
    assert Flow(ActNorm(3), (3, 2)).latent_slices == {"scale_1": slice(0, 6)}


def test_at_every_scale_but_the_last_half_of_what_reaches_it_leaves():
    flow = InverseFlow((1, 8, 16), levels=16, scales=3, steps=1, width=2)
    sizes = [part.stop - part.start for part in flow.latent_slices.values()]
    assert sizes == [64, 32, 32]


@pytest.mark.parametrize(
    ("levels", "dtype"),
    [(2, torch.float32), (17, torch.float32), (256, torch.float32), (4096, torch.float64), (65536, torch.float64)],
)
def test_any_number_of_gray_levels_is_coded_exactly(levels, dtype):
    flow = small(levels=levels, max_row_sum=0.9).to(dtype)
    x = torch.randint(levels, (16, 1, 4, 8))
    x[0], x[1] = 0, levels - 1
    x = x.to(torch.uint8 if levels <= 256 else torch.int32)
    assert torch.equal(flow.decode(flow.encode(x)), x)


@pytest.mark.parametrize("levels", [4096, 65536])
def test_single_precision_suffices_for_many_levels_while_the_flow_is_well_conditioned(levels):
    flow = InverseFlow((1, 4, 8), levels=levels, scales=2, steps=2, width=4)
    x = torch.arange(levels, dtype=torch.int32).view(-1, 1, 4, 8)
    assert torch.equal(flow.decode(flow.encode(x)), x)


def test_the_base_may_be_any_density_of_the_flat_latent():
    flow = Flow(Squeeze(), (3, 2, 2), base=Uniform())
    assert flow.sample(5).shape == (5, 3, 2, 2)
    assert flow.log_prob(torch.rand(5, 3, 2, 2)).tolist() == [0.0] * 5
    assert flow.log_prob(torch.full((1, 3, 2, 2), 2.0)).tolist() == [-math.inf]


# Being put together


def test_layers_that_do_not_fit_the_event_are_refused_when_the_flow_is_built():
    with pytest.raises(ValueError, match=r"ActNorm is built for 3 channels, got an event of shape \(2,\)"):
        Flow(ActNorm(3), (2,))
    with pytest.raises(ValueError, match=r"height 2 of an event of shape \(4, 2, 2\) by 3"):
        Flow(Squeeze(), (1, 4, 4), preprocessing=Compose(Squeeze(), Scale(1.0), Squeeze(3)))
    with pytest.raises(ValueError, match="height 3 of an event"):
        Flow(Squeeze(), (1, 3, 4))


@pytest.mark.parametrize("levels", [0, 1, 100_000])
def test_a_number_of_levels_out_of_range_is_refused(levels):
    with pytest.raises(ValueError, match=f"between 2 and 65536, got {levels}"):
        Flow(Compose(), (2,), levels=levels)


@pytest.mark.parametrize("shape", [(0, 4, 4), (1, 0, 4)])
def test_an_event_without_elements_is_refused(shape):
    with pytest.raises(ValueError, match="at least one"):
        Flow(Compose(), shape)


def test_the_event_shape_may_be_a_torch_size():
    x = torch.zeros(5, 1, 4, 4)
    assert Flow(Squeeze(), x.shape[1:]).log_prob(x).shape == (5,)


@each_flow
def test_the_round_trip_error_of_a_sound_flow_is_rounding(case):
    flow = case.perturbed("cpu", torch.float64)
    x, context = case.data(3, "cpu", torch.float64), case.draw_context(3, "cpu", torch.float64)
    error = flow.round_trip_error(x, context)
    assert error.shape == (3,)
    assert error.max() < (1e-4 if case.levels is None else 0.5)


def test_the_round_trip_error_is_the_largest_difference_of_an_element_and_names_the_datum():
    class Lossy(Bijection):
        """Forgets by how much an element exceeds 1."""

        def _forward(self, x, context):
            return x.clamp(max=1.0), 0.0

        def _inverse(self, z, context):
            return z, 0.0

    x = torch.tensor([[0.5, 1.0], [1.25, 4.0], [torch.nan, 0.0], [0.0, torch.inf]])
    assert Flow(Lossy(), (2,)).round_trip_error(x).tolist() == [0.0, 3.0, math.inf, math.inf]
    shifted = Flow(Lossy(), (2,), levels=8, preprocessing=Scale(8.0, shift=-0.5))
    assert shifted.round_trip_error(torch.tensor([[0, 3], [0, 7]])).tolist() == [0.0, 2.0]


# Initialization


@each([case for case in FLOWS if not case.name.startswith("planar")])
def test_initialization_reaches_every_activation_normalization_and_standardization(case):
    flow = case.build()
    flow.initialize(case.data(32, "cpu", torch.float32), case.draw_context(32, "cpu", torch.float32))
    layers = [module for module in flow.modules() if isinstance(module, (ActNorm, Standardize))]
    assert layers
    assert all(layer.initialized for layer in layers)


def test_initialization_whitens_the_latent_of_a_flow_that_ends_in_it():
    flow = Flow(Compose(LUConv1x1(3), ActNorm(3)), (3,))
    x = 5 + torch.randn(500, 3) @ torch.randn(3, 3)
    flow.initialize(x)
    z = flow.encode(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(3), rtol=0, atol=1e-4)


def test_the_same_batch_and_seed_initialise_two_flows_alike():
    x = torch.randint(16, (32, 1, 4, 8), dtype=torch.uint8)
    flow = small(levels=16)
    other = small(levels=16)
    other.load_state_dict(flow.state_dict())
    for one in (flow, other):
        torch.manual_seed(1)
        one.initialize(x)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in flow.state_dict().items())


def test_initialization_in_evaluation_mode_or_without_data_is_refused():
    flow = small()
    with pytest.raises(ValueError, match="empty batch"):
        flow.initialize(torch.zeros(0, 1, 4, 8))
    with pytest.raises(RuntimeError, match=r"evaluation mode; call .train\(\) first"):
        flow.eval().initialize(torch.randn(8, 1, 4, 8))
    assert not any(module.initialized for module in flow.modules() if isinstance(module, ActNorm))


def test_initialization_works_with_gradient_checkpointing_on():
    flow = small()
    flow.gradient_checkpointing = True
    flow.initialize(torch.randn(16, 1, 4, 8))
    assert all(module.initialized for module in flow.modules() if isinstance(module, ActNorm))


def test_a_standard_normal_is_the_default_base():
    assert isinstance(small().base, StandardNormal)


def test_the_layers_see_the_context_through_the_embedding():
    summary = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4, 2))
    layer = perturb(AffineCoupling(2, MLP(1 + 2, 2, width=4), context_channels=2))
    flow = Flow(layer, (2,), embedding=summary, context_shape=(3, 4))
    plain, x, observations = Flow(layer, (2,)), torch.randn(5, 2), torch.randn(5, 3, 4)
    torch.testing.assert_close(flow.log_prob(x, observations), plain.log_prob(x, summary(observations)))
    torch.testing.assert_close(flow.decode(flow.encode(x, observations), observations), x, rtol=0, atol=1e-5)
    flow.log_prob(x, observations).sum().backward()
    assert summary[1].weight.grad.any()
    with pytest.raises(ValueError, match=r"Flow is conditional: pass a context of shape \(5, 3, 4\)"):
        flow.log_prob(x)
    with pytest.raises(ValueError, match=r"expects a context of shape \(5, 3, 4\), got \(5, 12\)"):
        flow.log_prob(x, observations.flatten(1))


def draws(flow, n, context):
    torch.manual_seed(5)
    return flow.sample(n, context)


def test_one_spatial_context_serves_all_samples_with_or_without_a_batch_axis():
    flow = perturb(Glow((1, 4, 8), levels=None, scales=2, steps=1, width=3, context_channels=2))
    context = torch.randn(2, 4, 8)
    samples = draws(flow, 3, context)
    torch.testing.assert_close(draws(flow, 3, context[None]), samples)
    torch.testing.assert_close(draws(flow, 3, context.expand(3, 2, 4, 8)), samples)
    with pytest.raises(ValueError, match=r"3 samples need one context or 3 of them, got shape \(2, 2, 4, 8\)"):
        flow.sample(3, context.expand(2, 2, 4, 8))


@pytest.mark.parametrize("context", [torch.eye(2), torch.randn(2, 2, 4, 8)], ids=["vectors", "images"])
def test_several_samples_of_each_context_are_those_of_that_context(context):
    flow = perturb(Glow((1, 4, 8), levels=None, scales=2, steps=1, width=3, context_channels=2))
    torch.manual_seed(5)
    samples = flow.sample_each(3, context)
    assert samples.shape == (2, 3, 1, 4, 8)
    repeated = torch.stack([context[0]] * 3 + [context[1]] * 3)
    torch.testing.assert_close(samples.flatten(0, 1), draws(flow, 6, repeated))
    assert flow.sample_each(0, context).shape == (2, 0, 1, 4, 8)
    assert flow.sample_each(3, context[:0]).shape == (0, 3, 1, 4, 8)


def test_the_shape_of_the_context_decides_what_is_one_context():
    flow = Flow(
        AffineCoupling(2, MLP(1 + 2, 2, width=4), context_channels=2),
        (2,),
        embedding=nn.Sequential(nn.Flatten(), nn.Linear(12, 2)),
        context_shape=(3, 4),
    )
    assert flow.sample(5, torch.randn(3, 4)).shape == (5, 2)
    assert flow.sample_each(5, torch.randn(6, 3, 4)).shape == (6, 5, 2)
    assert flow.condition(torch.randn(7, 6, 3, 4)).batch_shape == (7, 6)


def test_one_observation_for_all_samples_is_summarized_once():
    seen = []
    summary = nn.Linear(3, 2)
    summary.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    layer = perturb(AffineCoupling(2, MLP(1 + 2, 2, width=4), context_channels=2))
    flow, observation = Flow(layer, (2,), embedding=summary, context_shape=(3,)), torch.randn(3)
    samples = draws(flow, 50, observation)
    torch.testing.assert_close(draws(flow, 50, observation.repeat(50, 1)), samples)
    assert seen == [1, 50]
    assert flow.sample(0, observation).shape == (0, 2)


def test_vectors_as_long_as_a_sequence_are_a_batch_of_contexts():
    flow = perturb(Glow((1, 4), levels=None, scales=1, steps=1, width=3, context_channels=4))
    contexts = torch.randn(3, 4)
    assert flow.sample(3, contexts).shape == (3, 1, 4)
    assert flow.sample_each(2, contexts).shape == (3, 2, 1, 4)
    assert flow.condition(contexts).batch_shape == (3,)
    assert flow.sample_each(2, torch.randn(4, 4)).shape == (4, 2, 1, 4)
    assert flow.sample_each(2, torch.randn(3, 4, 4)).shape == (3, 2, 1, 4)


def test_spatial_contexts_of_multiples_of_the_size_serve_samples_too():
    flow = perturb(Glow((1, 4, 8), levels=None, scales=2, steps=1, width=3, context_channels=2))
    contexts = torch.randn(3, 2, 8, 16)
    averaged = nn.functional.avg_pool2d(contexts, 2)
    torch.testing.assert_close(draws(flow, 3, contexts), draws(flow, 3, averaged))
    torch.testing.assert_close(draws(flow, 2, contexts[0]), draws(flow, 2, averaged[0]))
    assert flow.condition(contexts).batch_shape == flow.sample_each(2, contexts).shape[:1] == (3,)


def test_labels_reach_an_embedding_table_as_they_are():
    table = nn.Sequential(nn.Embedding(5, 2), nn.Flatten())
    layer = perturb(AffineCoupling(2, MLP(1 + 2, 2, width=4), context_channels=2))
    flow, labels, x = (
        Flow(layer, (2,), embedding=table, context_shape=(1,)),
        torch.tensor([[1], [4]]),
        torch.randn(2, 2),
    )
    expected = Flow(layer, (2,)).log_prob(x, table[0].weight[[1, 4]])
    torch.testing.assert_close(flow.log_prob(x, labels), expected)
    assert flow.sample_each(3, labels).shape == (2, 3, 2)
    assert flow.condition(labels).sample().shape == (2, 2)


def test_what_is_no_bijection_or_embedding_is_refused():
    with pytest.raises(TypeError, match="bijection must be a Bijection, got Linear"):
        Flow(nn.Linear(2, 2), (2,))
    with pytest.raises(TypeError, match="embedding must be a torch.nn.Module, got <function"):
        Flow(ActNorm(2), (2,), embedding=lambda context: context)


def test_samples_of_each_context_need_contexts():
    with pytest.raises(ValueError, match=r"sample_each needs contexts .* without contexts use sample\(\)"):
        Flow(ActNorm(2), (2,)).sample_each(3, None)


def vector_coupling(swap=False):
    return Coupling(4, partial(MLP, width=4), split=Halves(swap=swap))


def test_the_same_mask_twice_in_a_row_is_warned_of():
    with pytest.warns(UserWarning, match=r"same elements, by Halves\(\), and the others stay .*; swap the parts"):
        Flow(Compose(vector_coupling(), Compose(ActNorm(4), vector_coupling())), (4,))
    mask = torch.arange(4) < 1
    with pytest.warns(UserWarning, match="two couplings in a row"):
        Flow(Compose(*(Coupling(4, partial(MLP, width=4), split=Mask(mask)) for _ in range(2))), (4,))


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [vector_coupling(), vector_coupling(swap=True)],
        lambda: [vector_coupling(), Permute.reverse(4), vector_coupling()],
        lambda: [Coupling(4, partial(MLP, width=4), split=Mask(torch.arange(4) < size)) for size in (1, 2)],
    ],
)
def test_other_masks_and_mixing_are_not_warned_of(layers):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Flow(Compose(*layers()), (4,))
