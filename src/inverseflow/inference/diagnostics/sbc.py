"""Simulation-based calibration: are the ranks of the true parameters among posterior draws uniform?"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inverseflow.errors import DataError
from inverseflow.inference.diagnostics.draws import Sampler, check_pairs, draw, features, log_density
from inverseflow.utils.arguments import whole_number
from inverseflow.utils.seeding import derived_seed

_MOST_BINS, _FEWEST_IN_BIN = 20, 5
_CLEAR = 3.0  # standard errors of a trend that is put into words


@dataclass(frozen=True)
class RankTest:
    """Result of the χ² test of uniform ranks."""

    p_values: tuple[float, ...]
    """Of each quantity."""
    p_value: float
    """Of all of them: the smallest times their number (Bonferroni), at most 1."""
    bins: int
    trends: tuple[str, ...]
    """Of each quantity: ``"too narrow"`` (ranks pile up at both ends), ``"too wide"`` (in the middle), ``"too low"`` or
    ``"too high"`` (at one end), or ``""``."""


def sbc_ranks(posterior: Sampler, x: Tensor, y: Tensor, *, draws: int = 99, seed: int = 0) -> Tensor:
    r"""Return the ranks of true parameters among draws of their posterior, uniform on {0, …, L} if it is exact.

    .. math:: r_d = \#\{l : x^{(l)}_d < x^*_d\}, \qquad x^{(1)}, \dots, x^{(L)} \sim q(x \mid y), \quad
        y \sim p(y \mid x^*)

    Ties, which integers have, are broken at random. A posterior that ignores y and returns the prior passes this test.

    Args:
        posterior: anything with ``sample(y, n)``. Draws of a Markov chain must be thinned.
        x: parameters ``(S, D)`` drawn from the prior, not used in training.
        y: their observations ``(S, ...)``.
        draws: number L of draws for each observation.
        seed: seed of the draws.

    Returns:
        Whole numbers ``(S, D)``.

    Raises:
        DataError: if x and y are not finite pairs, or the draws have another shape.
        NonFiniteError: if a draw is not finite.

    Reference:
        Talts et al., Validating Bayesian Inference Algorithms with Simulation-Based Calibration, 2018,
        https://arxiv.org/abs/1804.06788.

    Example:
        >>> class Prior:
        ...     def sample(self, y, n):
        ...         return torch.randn(len(y), n, 2)
        >>> x = torch.randn(1000, 2)
        >>> ranks = sbc_ranks(Prior(), x, x + torch.randn(1000, 2))
        >>> ranks.shape, sbc_test(ranks, draws=99).p_value > 0.001
        (torch.Size([1000, 2]), True)
    """
    check_pairs(x, y)
    samples = draw(posterior, y, whole_number("draws", draws, at_least=1), seed=seed)
    return ranks_among(samples, x, seed=seed)


def ranks_among(values: Tensor, truth: Tensor, *, seed: int = 0) -> Tensor:
    """Return how many of the draws ``(S, L, ...)`` are below the truth ``(S, ...)``, ties broken at random."""
    if values.shape[2:] != truth.shape[1:]:
        raise DataError(f"draws of shape {tuple(values.shape)} do not fit parameters of shape {tuple(truth.shape)}")
    truth = truth.unsqueeze(1).to(values)
    below, ties = (values < truth).sum(1), (values == truth).sum(1)
    generator = torch.Generator().manual_seed(derived_seed(seed, "ties"))
    share = torch.rand(ties.shape, generator=generator, dtype=torch.float64).to(ties.device)
    return below + (share * (ties + 1)).long()


def density_ranks(posterior: Sampler, samples: Tensor, x: Tensor, y: Tensor, *, seed: int = 0) -> Tensor:
    """Return the rank ``(S,)`` of log q(x* | y) among the log densities of the draws ``(S, L, D)``.

    The truth lies in the region of highest density of probability c if at most a share c of the draws is denser.
    """
    log_prob = log_density(posterior, torch.cat([x.unsqueeze(1).to(samples), samples], 1), y)
    return ranks_among(log_prob[:, 1:], log_prob[:, 0], seed=seed)


def linear_prediction(x: Tensor, y: Tensor) -> Tensor:
    """Return a linear prediction ``(S, D)`` of parameters, for each half by a fit to the other half."""
    inputs = features(y)
    inputs = torch.cat([inputs, torch.ones_like(inputs[:, :1])], 1) if inputs.numel() else inputs.new_ones(len(x), 1)
    targets, middle = x.to(inputs), len(x) // 2
    halves = (slice(None, middle), slice(middle, None))
    predictions = []
    for fitted, judged in (halves[::-1], halves):
        # A small ridge: columns that depend on each other leave the prediction as it is.
        gram = inputs[fitted].T @ inputs[fitted]
        gram.diagonal().add_(1e-6 * gram.diagonal().mean())
        predictions.append(inputs[judged] @ torch.linalg.solve(gram, inputs[fitted].T @ targets[fitted]))
    return torch.cat(predictions)


def prediction_ranks(samples: Tensor, x: Tensor, prediction: Tensor, *, seed: int = 0) -> Tensor:
    """Return the rank ``(S,)`` of the truth's distance to a prediction ``(S, D)`` among the distances of the draws.

    With `linear_prediction`, a posterior that ignores y is exposed: the truth is nearer to the prediction than the
    draws are.

    Reference:
        Modrák et al., Simulation-Based Calibration Checking for Bayesian Computation: The Choice of Test Quantities
        Shapes Sensitivity, 2023, https://arxiv.org/abs/2211.02383.
    """
    scale, prediction = x.std(0).clamp_min(1e-30).to(samples), prediction.to(samples)
    distances = ((samples - prediction.unsqueeze(1)) / scale).square().sum(-1)
    return ranks_among(distances, ((x.to(samples) - prediction) / scale).square().sum(-1), seed=seed)


def sbc_test(ranks: Tensor, *, draws: int, bins: int | None = None) -> RankTest:
    r"""Test whether ranks are uniform on {0, …, L}, each quantity by itself and all together.

    .. math:: \chi^2 = \sum_{b=1}^{B} \frac{(n_b - S / B)^2}{S / B}

    Args:
        ranks: whole numbers ``(S, Q)`` of Q quantities.
        draws: number L of draws that the ranks were counted in.
        bins: number B of bins, which must divide L + 1. By default the most, up to 20, that leave 5 ranks for each.

    Raises:
        ValueError: if the bins don't divide L + 1.
        DataError: if there are too few ranks for two bins.

    Example:
        >>> ranks = torch.arange(100).repeat(10)[:, None]
        >>> sbc_test(ranks, draws=99)
        RankTest(p_values=(1.0,), p_value=1.0, bins=20, trends=('',))
        >>> sbc_test(30 + ranks * 2 // 5, draws=99).trends
        ('too wide',)
    """
    count, size = len(ranks), whole_number("draws", draws, at_least=1) + 1
    if bins is None:
        most = min(_MOST_BINS, count // _FEWEST_IN_BIN)
        bins = max((b for b in range(2, most + 1) if size % b == 0), default=0)
        if not bins:
            raise DataError(
                f"{count} ranks in {draws} draws cannot be tested: take {2 * _FEWEST_IN_BIN} or more, and draws "
                "whose number plus one has small divisors, such as 99"
            )
    elif whole_number("bins", bins, at_least=2) > size or size % bins:
        raise ValueError(f"bins must divide draws + 1 = {size}, got {bins}; take 99 draws and 20 bins, for example")
    if ranks.ndim != 2 or not ranks.numel() or not 0 <= int(ranks.min()) <= int(ranks.max()) < size:
        raise DataError(f"ranks must be whole numbers (S, Q) in 0 to {draws}, got shape {tuple(ranks.shape)}")
    counts = torch.nn.functional.one_hot(ranks.long() * bins // size, bins).sum(0).double()  # (Q, B)
    statistic = (counts - count / bins).square().sum(-1) / (count / bins)
    p_values = torch.special.gammaincc(torch.full_like(statistic, (bins - 1) / 2), statistic / 2)
    return RankTest(
        p_values=tuple(p_values.tolist()),
        p_value=min(1.0, ranks.shape[1] * p_values.min().item()),
        bins=bins,
        trends=tuple(_trend((column.double() + 0.5) / size) for column in ranks.T),
    )


def _trend(uniform: Tensor) -> str:
    """Name the stronger of two deviations of numbers in [0, 1] from uniformity: their mean, or their spread."""
    root = len(uniform) ** 0.5
    location = (uniform.mean().item() - 1 / 2) * root * 12**0.5
    spread = ((uniform - 1 / 2).square().mean().item() - 1 / 12) * root * 180**0.5
    if max(abs(location), abs(spread)) < _CLEAR:
        return ""
    if abs(spread) > abs(location):
        return "too narrow" if spread > 0 else "too wide"
    return "too low" if location > 0 else "too high"


def rank_counts(ranks: Tensor, draws: int) -> tuple[tuple[int, ...], ...]:
    """Return how often each rank from 0 to L occurs, for each quantity."""
    return tuple(tuple(torch.bincount(column, minlength=draws + 1).tolist()) for column in ranks.cpu().T)


def ranks_of_counts(counts: Sequence[Sequence[int]]) -> Tensor:
    """Return ranks ``(S, Q)``, sorted, that have these counts."""
    return torch.stack([torch.repeat_interleave(torch.tensor(column)) for column in counts], 1)
