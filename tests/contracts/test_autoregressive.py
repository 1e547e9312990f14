"""Promises of every density without an inverse: it sums to one, is causal, and its samples follow it."""

import copy
import io
import itertools
import pickle
from dataclasses import dataclass, field

import pytest
import scipy.stats
import torch

from inverseflow import densities
from inverseflow.densities import AutoregressiveDensity
from inverseflow.densities.autoregressive import Choose
from tests.contracts.registry import DENSITIES, each, each_density, each_discrete_density

MOST_STATES = 4096


def states(case):
    """Return every datum of a discrete density."""
    numbers = itertools.product(range(case.levels), repeat=case.build().dims)
    return torch.tensor(list(numbers), dtype=torch.uint8).reshape(-1, *case.shape)


def countable(case):
    return case.levels is not None and case.levels ** case.build().dims <= MOST_STATES


def in_evaluation(case, dtype=torch.float64):
    return case.perturbed("cpu", dtype).eval()


def repeated(context, rows):
    """Return one context for all rows, None for an unconditional density."""
    return None if context is None else context.expand(rows, *context.shape[1:])


COUNTABLE = [case for case in DENSITIES if countable(case)]
CONTINUOUS = [case for case in DENSITIES if case.continuous]
CONDITIONAL = [case for case in DENSITIES if case.context is not None]
SINGLE = [case for case in DENSITIES if "mixture" not in case.name]
"""Those with one network, which `parameters_of` stands for."""


@each(COUNTABLE)
def test_probabilities_of_all_states_sum_to_one(case):
    density, x = in_evaluation(case), states(case)
    with torch.no_grad():
        log_prob = density.log_prob(x, repeated(case.draw_context(1, "cpu", torch.float64), len(x)))
    assert log_prob.std() > 1e-3 or density.dims == 1
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-10)


@each(CONTINUOUS)
def test_a_continuous_density_integrates_to_one(case):
    density = in_evaluation(case)
    side = torch.linspace(-20, 20, 401, dtype=torch.float64)
    x = torch.cartesian_prod(side, side).reshape(-1, *case.shape)
    with torch.no_grad():
        mass = (
            density.log_prob(x, repeated(case.draw_context(1, "cpu", torch.float64), len(x))).exp().sum()
            * (side[1] - side[0]) ** 2
        )
    assert mass.item() == pytest.approx(1, abs=1e-2)


@torch.no_grad()
@each(SINGLE)
def test_parameters_of_an_element_depend_on_those_before_it_and_on_no_other(case):
    density = in_evaluation(case)
    depends = torch.zeros(density.dims, density.dims, dtype=torch.bool)
    for _ in range(20):
        x = case.data(1, "cpu", torch.float64).expand(density.dims, *case.shape).clone()
        context, changed = repeated(case.draw_context(1, "cpu", torch.float64), len(x)), x.clone()
        diagonal = changed.view(density.dims, density.dims).diagonal()  # row i changes element i
        diagonal.copy_(diagonal + 1 if case.continuous else (diagonal.long() + 1) % case.levels)
        change = density.parameters_of(changed, context) - density.parameters_of(x, context)
        depends |= change.abs().amax(1).flatten(1).T > 1e-12
    place = torch.tensor(density.element_order).argsort()
    before = place[None, :] < place[:, None]
    assert not (depends & ~before).any()
    if not case.bounded:
        assert torch.equal(depends, before)


@each(SINGLE)
def test_gradients_reach_only_what_is_before(case):
    density = in_evaluation(case)
    x = case.data(3, "cpu", torch.float64).double().requires_grad_()
    parameters = density.parameters_of(x, repeated(case.draw_context(1, "cpu", torch.float64), 3))
    place = torch.tensor(density.element_order).argsort()
    for element, outputs in enumerate(parameters.flatten(2).unbind(2)):
        (gradient,) = torch.autograd.grad(outputs.sum(), x, retain_graph=True, allow_unused=True)
        seen = gradient.flatten(1)[:, place >= place[element]]
        assert torch.equal(seen, torch.zeros_like(seen))


@each(COUNTABLE)
def test_samples_come_as_often_as_they_are_probable(case):
    density, x, n = in_evaluation(case), states(case), 4000
    context = case.draw_context(1, "cpu", torch.float64)
    with torch.no_grad():
        probability = density.log_prob(x, repeated(context, len(x))).exp()
    drawn = density.sample(n, context, generator=torch.Generator().manual_seed(1))
    place_values = case.levels ** torch.arange(density.dims).flip(0)
    counts = torch.bincount(drawn.flatten(1).long() @ place_values, minlength=len(x)).double()
    number = torch.arange(len(x))
    kind = torch.where(n * probability >= 5, number, -1 - number % 7).unique(return_inverse=True)[
        1
    ]  # rare ones together
    observed, expected = (torch.bincount(kind, weights=weights) for weights in (counts, n * probability))
    assert len(observed) > 3
    assert scipy.stats.chisquare(observed, expected).pvalue > 0.001


@torch.no_grad()
@each([case for case in COUNTABLE if case in SINGLE and case.build().dims > 1])
def test_completions_follow_the_distribution_given_the_known_elements(case):
    density, n = in_evaluation(case), 2000
    context = case.draw_context(1, "cpu", torch.float64)
    first = list(density.element_order)[: (density.dims + 1) // 2]
    known = torch.zeros(density.dims, dtype=torch.bool)
    known[first] = True
    datum = case.data(1, "cpu", torch.float64)
    x = states(case)
    x = x[(x.flatten(1)[:, first] == datum.flatten(1)[:, first]).all(1)]
    probability = density.log_prob(x, repeated(context, len(x))).exp()
    drawn = density.complete(
        datum.expand(n, *case.shape), known.view(case.shape), context, generator=torch.Generator().manual_seed(1)
    )
    counts = (drawn.flatten(1)[:, None] == x.flatten(1)).all(2).sum(0)
    assert counts.sum() == n
    expected = n * probability / probability.sum()
    assert ((counts - expected).abs() < 4.5 * expected.clamp_min(1).sqrt()).all()


@each(SINGLE)
def test_known_elements_behind_unknown_ones_are_refused(case):
    density = in_evaluation(case)
    x, context = case.data(2, "cpu", torch.float64), case.draw_context(2, "cpu", torch.float64)
    known = torch.zeros(density.dims, dtype=torch.bool)
    known[density.element_order[-1]] = True
    if density.dims > 1:
        with pytest.raises(ValueError, match="can complete data whose known elements are the first 1 in its"):
            density.complete(x, known.view(case.shape), context)
    with pytest.raises(ValueError, match="known must be a tensor of bool and of shape"):
        density.complete(x, known.view(case.shape).long(), context)
    everything = torch.ones(case.shape, dtype=torch.bool)
    assert torch.equal(density.complete(x, everything, context), x)


@torch.no_grad()
@each(SINGLE)
def test_sampling_gives_what_the_whole_network_gives_for_each_element(case):
    density = in_evaluation(case)
    context = case.draw_context(3, "cpu", torch.float64)
    cached, naive = (Recorder(density.head, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    x = density._draw(3, context, cached)
    torch.testing.assert_close(x, AutoregressiveDensity._draw(density, 3, context, naive), rtol=0, atol=1e-10)
    # Levels hardly ever tell of small differences.
    torch.testing.assert_close(torch.stack(cached.told), torch.stack(naive.told), rtol=0, atol=1e-10)


@dataclass(frozen=True)
class Recorder(Choose):
    """Draw elements, and keep the parameters that they are drawn from."""

    told: list[torch.Tensor] = field(default_factory=list)

    def __call__(self, parameters):
        self.told.append(parameters.clone())
        return super().__call__(parameters)


@each_density
def test_samples_have_shape_dtype_and_no_gradient_and_follow_the_generator(case):
    density = in_evaluation(case, torch.float32)
    context = case.draw_context(1, "cpu", torch.float32)
    one, two = (density.sample(4, context, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == (4, *case.shape)
    assert one.dtype == (torch.float32 if case.continuous else torch.uint8 if case.levels <= 256 else torch.int64)
    assert not one.requires_grad
    assert density.sample(0, context).shape == (0, *case.shape)
    assert density.log_prob(one, case.draw_context(4, "cpu", torch.float32)).isfinite().all()
    if case.context is not None:
        assert density.sample_each(2, case.draw_context(3, "cpu", torch.float32)).shape == (3, 2, *case.shape)


@each(SINGLE)  # of a mixture, which network is drawn remains chance
def test_temperature_zero_leaves_no_chance(case):
    density = in_evaluation(case)
    samples = density.sample(5, case.draw_context(1, "cpu", torch.float64), temperature=0.0)
    torch.testing.assert_close(samples, samples[:1].expand_as(samples))


@each_density
def test_the_likelihood_is_exact_so_that_two_calls_agree_to_the_bit_and_rows_do_not_see_each_other(case):
    density = in_evaluation(case)
    x, context = case.data(3, "cpu", torch.float64), case.draw_context(3, "cpu", torch.float64)
    log_prob = density(x, context)
    assert torch.equal(density.log_prob(x, context), log_prob)
    assert log_prob.shape == (3,)
    last = density(x[2:], None if context is None else context[2:])
    torch.testing.assert_close(last, log_prob[2:])
    assert density(x[:0], None if context is None else context[:0]).shape == (0,)


@each(SINGLE)
def test_training_mode_computes_the_same(case):
    density = in_evaluation(case)
    x, context = case.data(3, "cpu", torch.float64), case.draw_context(3, "cpu", torch.float64)
    torch.testing.assert_close(density.train()(x, context), density.eval()(x, context), rtol=0, atol=0)


@each_density
def test_single_precision_gives_what_double_precision_gives(case):
    density = in_evaluation(case)
    x, context = case.data(3, "cpu", torch.float64), case.draw_context(3, "cpu", torch.float64)
    fine = density(x, context)
    density = density.float()
    coarse = density(x.float() if case.continuous else x, None if context is None else context.float())
    assert coarse.dtype == torch.float32
    torch.testing.assert_close(coarse, fine.float(), rtol=1e-4, atol=1e-3)


@each_density
def test_a_gradient_reaches_every_parameter(case):
    density = case.perturbed("cpu", torch.float64).eval()
    x, context = case.data(40, "cpu", torch.float64), case.draw_context(40, "cpu", torch.float64)
    density(x, context).sum().backward()
    still = [name for name, p in density.named_parameters() if p.grad is None or not (p.grad != 0).any()]
    if density.dims == 1:  # no unit sees anything: only the last bias counts
        still = [name for name in still if "bias" in name and name == max(still)]
    assert not still


@each_density
def test_it_comes_back_from_copies_pickles_and_folders(case, tmp_path):
    density = in_evaluation(case)
    x, context = case.data(3, "cpu", torch.float64), case.draw_context(3, "cpu", torch.float64)
    densities.save(density, tmp_path / "model")
    file = io.BytesIO()
    torch.save(density.state_dict(), file)
    file.seek(0)
    of_weights = case.build().double()
    of_weights.load_state_dict(torch.load(file, weights_only=True))
    loaded = densities.load(tmp_path / "model", type(density))
    for other in (copy.deepcopy(density), pickle.loads(pickle.dumps(density)), loaded, of_weights):
        assert repr(other) == repr(density)
        assert torch.equal(other.eval()(x, context), density(x, context))
    assert (
        not {*density.state_dict()}
        - {name for name, _ in density.named_parameters()}
        - {
            f"{part}.{name}"
            for part in ("standardize", "embedding", "scaling")
            for name in ("mean", "deviation", "initialized")
        }
    )


@each_density
def test_it_is_whole_once_its_state_is_loaded_if_it_was_built_without_memory(case):
    density = in_evaluation(case, torch.float32)
    with torch.device("meta"):
        other = case.build()
    other = other.to_empty(device="cpu").eval()
    other.load_state_dict(density.state_dict())
    x, context = case.data(3, "cpu", torch.float32), case.draw_context(3, "cpu", torch.float32)
    torch.testing.assert_close(other(x, context), density(x, context), rtol=0, atol=0)


@each(CONTINUOUS)
def test_a_continuous_density_is_in_the_units_of_the_data(case):
    density = in_evaluation(case).train()
    x, context = case.data(500, "cpu", torch.float64), case.draw_context(500, "cpu", torch.float64)
    scaled = copy.deepcopy(density)
    density.initialize(x, context)
    scaled.initialize(1000 * x + 7, None if context is None else 0.01 * context - 3)
    one = density.log_prob(x, context)
    two = scaled.log_prob(1000 * x + 7, None if context is None else 0.01 * context - 3)
    torch.testing.assert_close(two, one - density.dims * torch.tensor(1000.0).double().log())
    context = None if context is None else context[0]
    drawn = density.sample(5, context, generator=torch.Generator().manual_seed(2))
    again = scaled.sample(
        5, None if context is None else 0.01 * context - 3, generator=torch.Generator().manual_seed(2)
    )
    torch.testing.assert_close(again, 1000 * drawn + 7)


@each(CONDITIONAL)
def test_the_context_changes_the_result_and_a_missing_or_wrong_one_is_refused(case):
    density = in_evaluation(case)
    x, context = case.data(2, "cpu", torch.float64), case.draw_context(2, "cpu", torch.float64)
    assert not torch.allclose(density(x, context), density(x, context + 1))
    with pytest.raises(ValueError, match=rf"is conditional: pass a context of shape \(2, {case.context[0]}\)"):
        density(x)
    with pytest.raises(ValueError, match="is conditional: pass a context of shape"):
        density.sample(2)
    with pytest.raises(ValueError, match=rf"expects a context of shape \(2, {case.context[0]}.* got \(2, 5\)"):
        density(x, torch.zeros(2, 5))


@each([case for case in DENSITIES if case.context is None])
def test_an_unconditional_density_ignores_a_context(case):
    density, x = in_evaluation(case), case.data(2, "cpu", torch.float64)
    assert torch.equal(density(x, torch.full((2, 5), torch.nan)), density(x))


@each_density
def test_another_shape_or_kind_of_data_is_refused(case):
    density, x = in_evaluation(case, torch.float32), case.data(2, "cpu", torch.float32)
    context = case.draw_context(2, "cpu", torch.float32)
    with pytest.raises(ValueError, match=r"takes batches of shape \(B, .*got"):
        density(torch.cat([x, x], 1), context)
    if case.continuous:
        with pytest.raises(TypeError, match=r"expects floating-point input, got torch.int64; convert with .float\(\)"):
            density(x.long(), context)
        with pytest.raises(TypeError, match=r"parameters of torch.float32, got input of torch.float64; convert one"):
            density(x.double(), context)
    else:
        with pytest.raises(TypeError, match=r"of an integer dtype, got torch.float32; convert with .to\(torch.uint8\)"):
            density(x.float(), context)


@each_discrete_density
def test_levels_out_of_range_are_refused_with_the_values(case):
    x = torch.zeros(2, *case.shape, dtype=torch.int32)
    for value in (-1, case.levels):
        x.view(-1)[-1] = value
        message = (
            rf"run from 0 to {case.levels - 1}, got values from {min(value, 0)} to {max(value, 0)}; build the model"
        )
        with pytest.raises(ValueError, match=message):
            case.build()(x, case.draw_context(2, "cpu", torch.float32))


@each(list({type(case.build()): case for case in reversed(SINGLE)}.values()))
def test_one_of_each_class_is_captured_as_one_graph(case):
    torch.compiler.reset()
    density = in_evaluation(case)
    x, context = case.data(3, "cpu", torch.float64), case.draw_context(3, "cpu", torch.float64)
    compiled = torch.compile(density, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, context), density(x, context))
