import math

import numpy as np
import pytest
import scipy.stats
import torch

from inverseflow.distributions import Bernoulli, Categorical, Gaussian, GaussianMixture, LogisticMixture, head_for

DISCRETE = [Bernoulli(), Categorical(5), LogisticMixture(5, 3), LogisticMixture(2, 1)]
HEADS = [*DISCRETE, Gaussian(), GaussianMixture(3)]
each_head = pytest.mark.parametrize("head", HEADS, ids=str)
each_discrete = pytest.mark.parametrize("head", DISCRETE, ids=str)


def every_level(head, parameters):
    """Return the log probability of all levels for each row of parameters ``(rows, P)``."""
    rows = len(parameters)
    x = torch.arange(head.levels).expand(rows, -1)
    return head.log_prob(x, parameters[:, :, None].expand(-1, -1, head.levels))


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
@pytest.mark.parametrize(
    "head", [*DISCRETE, Categorical(256), LogisticMixture(256, 4), LogisticMixture(65536, 2)], ids=str
)
def test_levels_sum_to_one(head, scale):
    log_prob = every_level(head, scale * torch.randn(4, head.num_parameters, dtype=torch.float64))
    torch.testing.assert_close(log_prob.logsumexp(1), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-12)


def test_continuous_heads_integrate_to_one():
    grid = torch.linspace(-40, 40, 200_001, dtype=torch.float64)
    for head in (Gaussian(), GaussianMixture(3)):
        parameters = torch.randn(1, head.num_parameters, 1, dtype=torch.float64).expand(-1, -1, len(grid))
        density = head.log_prob(grid[None], parameters).exp()
        torch.testing.assert_close(torch.trapezoid(density, grid), torch.ones(1, dtype=torch.float64))


def test_probabilities_are_those_of_scipy():
    raw = torch.randn(1, 6, 1, dtype=torch.float64)
    x, logit = torch.tensor([[1]]), raw[0, 0, 0].item()
    assert Bernoulli().log_prob(x, raw[:, :1]).item() == pytest.approx(
        scipy.stats.bernoulli(scipy.special.expit(logit)).logpmf(1)
    )
    assert Categorical(6).log_prob(x, raw).item() == pytest.approx(scipy.special.log_softmax(raw.flatten())[1])
    point, (mean, log_scale) = torch.full((1, 1), 0.3).double(), raw[0, :2, 0].tolist()
    assert Gaussian().log_prob(point, raw[:, :2]).item() == pytest.approx(
        scipy.stats.norm(mean, math.exp(log_scale)).logpdf(0.3)
    )
    logits, means, log_scales = raw[0, :, 0].numpy().reshape(3, 2)
    weights, means, scales = scipy.special.softmax(logits), means + np.array([-1 / 3, 1 / 3]), np.exp(log_scales)
    assert GaussianMixture(2).log_prob(point, raw).item() == pytest.approx(
        np.log(weights @ scipy.stats.norm(means, scales).pdf(0.3))
    )
    edges = np.array([-np.inf, *(-1 + (2 * np.arange(4) + 1) / 4), np.inf])[:, None]  # of 5 levels on [-1, 1]
    cells = np.diff(scipy.stats.logistic(means, scales).cdf(edges), axis=0) @ weights
    torch.testing.assert_close(
        every_level(LogisticMixture(5, 2), raw[:, :, 0])[0].exp(), torch.from_numpy(cells), rtol=1e-12, atol=1e-14
    )


def test_a_level_far_in_the_tail_keeps_its_probability_and_a_gradient():
    head, parameters = LogisticMixture(256, 1), torch.tensor([[[0.0], [-1.0], [-7.0]]], requires_grad=True)
    log_prob = head.log_prob(torch.tensor([[200]]), parameters)
    distance = (2 * 200 / 255 - 1 - 1 / 255 + 1) * math.exp(7)  # to the lower edge of the interval
    assert log_prob.item() == pytest.approx(-distance + math.log(1 - math.exp(-2 / 255 * math.exp(7))), rel=1e-5)
    log_prob.sum().backward()
    assert parameters.grad.isfinite().all()
    assert parameters.grad[0, 1] > 0


@pytest.mark.parametrize("log_scale", [50.0, 90.0, 1e4])
def test_a_level_under_a_very_wide_mixture_keeps_its_probability_and_a_gradient(log_scale):
    head = LogisticMixture(256, 1)
    parameters = torch.tensor([[[0.0], [0.0], [log_scale]]], requires_grad=True)
    log_prob = head.log_prob(torch.tensor([[100]]), parameters)
    assert log_prob.item() == pytest.approx(math.log(2 / 255) - log_scale - math.log(4), rel=1e-6)  # width x density
    log_prob.sum().backward()
    assert parameters.grad[0, 2].item() == pytest.approx(-1)


@pytest.mark.parametrize("head", [Gaussian(), GaussianMixture(1), LogisticMixture(256, 1)], ids=str)
def test_temperature_zero_gives_the_mean_of_a_scale_that_overflows(head):
    parameters = torch.zeros(1, head.num_parameters, 1)
    parameters[:, -1] = 1e4
    assert head.sample(parameters, temperature=0.0).item() in (0, 128)


def test_a_uniform_number_that_is_rounded_to_zero_is_no_outlier(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda shape, **options: torch.zeros(shape, dtype=options["dtype"]))
    level = LogisticMixture(2**16, 1).sample(torch.tensor([[[0.0], [0.0], [-3.0]]]))
    expected = (1 + math.exp(-3) * scipy.stats.logistic.ppf(2.0**-25)) * (2**16 - 1) / 2
    assert abs(level.item() - expected) < 1


def test_no_scale_falls_below_its_floor():
    x = torch.zeros(1, 1)
    lowest, lower = (torch.tensor([[[0.0], [s]]]) for s in (-7.0, -60.0))
    assert Gaussian().log_prob(x, lower) == Gaussian().log_prob(x, lowest)
    lowest, lower = (torch.tensor([[[0.0], [0.1], [s]]]) for s in (-7.0, -60.0))
    assert GaussianMixture(1).log_prob(x, lower) == GaussianMixture(1).log_prob(x, lowest)
    head, level = LogisticMixture(256, 1), torch.full((1, 1), 140)
    assert head.log_prob(level, lower) == head.log_prob(level, lowest)


@each_head
def test_zero_parameters_are_a_start_that_breaks_the_symmetry_of_components(head):
    parameters = torch.zeros(1, head.num_parameters, 1, dtype=torch.float64, requires_grad=True)
    x = torch.ones(1, 1, dtype=torch.float64) if head.levels is None else torch.ones(1, 1, dtype=torch.int64)
    head.log_prob(x, parameters).sum().backward()
    gradient = parameters.grad.flatten()
    assert gradient.isfinite().all()
    if isinstance(head, GaussianMixture) or (isinstance(head, LogisticMixture) and head.components > 1):
        assert len(gradient.unique()) > 3


@each_head
def test_gradients_by_the_parameters_agree_with_finite_differences(head):
    x = torch.randn(3, 2, dtype=torch.float64) if head.levels is None else torch.randint(head.levels, (3, 2))
    parameters = torch.randn(3, head.num_parameters, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: head.log_prob(x, p), parameters)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@each_discrete
def test_samples_come_as_often_as_they_are_probable(head, temperature):
    parameters = torch.randn(1, head.num_parameters, 1, generator=torch.Generator().manual_seed(3)).double()
    tempered = parameters.clone()
    if isinstance(head, LogisticMixture):
        tempered[:, : head.components] /= temperature
        tempered[:, 2 * head.components :] += math.log(temperature)
    else:
        tempered /= temperature
    n, generator = 20_000, torch.Generator().manual_seed(1)
    x = head.sample(parameters.expand(n, -1, 1), temperature=temperature, generator=generator)
    assert x.dtype == torch.uint8
    counts = torch.bincount(x.flatten().long(), minlength=head.levels).numpy()
    expected = n * every_level(head, tempered[:, :, 0])[0].exp().numpy()
    assert scipy.stats.chisquare(counts, expected * n / expected.sum()).pvalue > 0.001


def test_continuous_samples_follow_their_density_and_temperature():
    generator = torch.Generator().manual_seed(1)
    x = Gaussian().sample(
        torch.tensor([1.0, 0.5]).reshape(1, 2, 1).expand(5000, 2, 1), temperature=0.5, generator=generator
    )
    assert scipy.stats.kstest(x.flatten(), scipy.stats.norm(1, 0.5 * math.exp(0.5)).cdf).pvalue > 0.001
    raw = torch.tensor([0.5, -0.5, -2.0, 2.0, 0.1, -0.3]).reshape(1, 6, 1).expand(5000, 6, 1)
    x = GaussianMixture(2).sample(raw, generator=generator).flatten().numpy()
    weights, parts = scipy.special.softmax([0.5, -0.5]), scipy.stats.norm([-2 - 1 / 3, 2 + 1 / 3], np.exp([0.1, -0.3]))
    assert scipy.stats.kstest(x, lambda v: parts.cdf(np.asarray(v)[:, None]) @ weights).pvalue > 0.001


@each_head
def test_temperature_zero_leaves_no_chance(head):
    parameters = torch.randn(1, head.num_parameters, 6).expand(20, -1, -1)
    x = head.sample(parameters, temperature=0.0)
    assert torch.equal(x, x[:1].expand_as(x))
    if not isinstance(head, LogisticMixture) and head.levels is not None:
        assert torch.equal(
            x[0].long(),
            head.log_prob(
                torch.arange(head.levels)[:, None].expand(-1, 6), parameters[:1].expand(head.levels, -1, -1)
            ).argmax(0),
        )


@each_head
def test_the_same_generator_gives_the_same_samples_in_the_right_dtype(head):
    parameters = torch.randn(4, head.num_parameters, 3, 2, dtype=torch.bfloat16)
    one, two = (head.sample(parameters, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == (4, 3, 2)
    assert one.dtype == (torch.bfloat16 if head.levels is None else torch.uint8)
    assert head.log_prob(one, parameters).dtype == torch.float32


def test_many_levels_are_drawn_as_wide_integers():
    assert Categorical(300).sample(torch.zeros(1, 300, 1)).dtype == torch.int64


@each_discrete
def test_discrete_heads_refuse_real_numbers_and_levels_out_of_range(head):
    parameters = torch.zeros(1, head.num_parameters, 1)
    with pytest.raises(TypeError, match=r"gray levels 0 … .* of an integer dtype, got torch.float32; convert with"):
        head.log_prob(torch.zeros(1, 1), parameters)
    for value in (-1, head.levels):
        with pytest.raises(ValueError, match=f"run from 0 to {head.levels - 1}, got values from {value} to {value}"):
            head.log_prob(torch.full((1, 1), value), parameters)


@pytest.mark.parametrize("head", [Gaussian(), GaussianMixture(2)], ids=str)
def test_continuous_heads_refuse_integers(head):
    with pytest.raises(TypeError, match=r"expects floating-point input, got torch.int64; convert with .float\(\)"):
        head.log_prob(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, head.num_parameters, 1))


def test_parameters_of_another_shape_and_negative_temperatures_are_refused():
    with pytest.raises(ValueError, match=r"Categorical needs parameters of shape \(2, 3, 4\), got \(2, 4, 3\)"):
        Categorical(3).log_prob(torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 4, 3))
    with pytest.raises(ValueError, match="temperature must be finite and at least 0, got -1"):
        Bernoulli().sample(torch.zeros(1, 1, 1), temperature=-1)


@pytest.mark.parametrize("build", [Categorical, lambda levels: LogisticMixture(levels, 2), head_for])
@pytest.mark.parametrize("levels", [1, 2**16 + 1])
def test_impossible_numbers_of_levels_are_refused(build, levels):
    with pytest.raises(ValueError, match=f"levels must be between 2 and 65536, got {levels}"):
        build(levels)


def test_no_components_are_refused():
    for levels in (None, 4):
        with pytest.raises(ValueError, match="components must be at least 1, got 0"):
            head_for(levels, 0)


def test_the_head_follows_from_levels_and_components():
    assert head_for(2) == Bernoulli()
    assert head_for(2, 3) == LogisticMixture(2, 3)
    assert head_for(None, 3) == GaussianMixture(3)
