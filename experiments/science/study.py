"""One study: train a posterior, compare it with a reference, let the diagnostics judge it, and time everything."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor

from experiments.result import Values
from experiments.science.metropolis import ChainReference
from inverseflow.inference import AmortizedPosterior, Problem
from inverseflow.inference.diagnostics import c2st, diagnose

_PLOTTED = 250
_SEED = 1000  # of test observations; training uses 0

Returned = TypeVar("Returned")


@dataclass(frozen=True)
class Effort:
    """Sizes of a study."""

    simulations: int
    """Pairs to train on."""
    steps: int
    """Training steps."""
    batch_size: int
    """Pairs in a training step."""
    judged: int
    """Simulations of the diagnosis."""
    observations: int
    """Observations whose posterior is compared with a reference."""
    samples: int
    """Samples of posterior and reference for each of these."""
    chain_steps: int | None
    """Steps of the chains of a reference; None leaves it to the problem."""
    starts: int
    """Starting points of the turbine's optimizer for each thrust."""


@dataclass(frozen=True)
class Study:
    """A trained posterior, and what it was compared with."""

    posterior: AmortizedPosterior
    observations: Tensor
    """``(m, ...)``."""
    samples: Tensor
    """Of the posterior, ``(m, n, D)``."""
    references: Tensor
    """Of the reference, ``(m, n, D)``."""
    values: Values
    """Figures for the table."""


def references(problem: Problem, effort: Effort) -> tuple[Tensor, Tensor, Tensor, float]:
    """Return test parameters, their observations, samples of the reference, and the seconds for each observation.

    Args:
        problem: with a reference.
        effort: sizes.
    """
    assert problem.reference is not None
    x, y = problem.simulate(effort.observations, seed=_SEED)
    generator = Generator().manual_seed(_SEED)
    reference = problem.reference
    if isinstance(reference, ChainReference) and effort.chain_steps is not None:
        reference = replace(reference, steps=effort.chain_steps)
    found, seconds = _timed(lambda: torch.stack([reference(each, effort.samples, generator) for each in y]))
    return x, y, found, seconds / len(y)


def study(
    problem: Problem,
    effort: Effort,
    *,
    method: str = "cinn",
    known: tuple[Tensor, Tensor, Tensor, float] | None = None,
    plotted: tuple[int, int] = (0, 1),
    seed: int = 0,
    **options: Any,
) -> Study:
    """Train a posterior on simulations and judge it.

    Args:
        problem: with a reference.
        effort: sizes.
        method: of the posterior.
        known: what `references` returned; None calls it.
        plotted: two parameters whose samples are saved for the picture.
        seed: of the training.
        **options: of the posterior.
    """
    x_true, y, exact, reference_seconds = references(problem, effort) if known is None else known
    pairs, simulate_seconds = _timed(lambda: problem.simulate(effort.simulations, seed=seed))
    posterior = AmortizedPosterior.of(problem, method, **options)
    _, train_seconds = _timed(
        lambda: posterior.fit(*pairs, max_steps=effort.steps, batch_size=effort.batch_size, seed=seed, progress=False)
    )
    samples, draw_seconds = _timed(lambda: posterior.sample(y, effort.samples, seed=seed))
    diagnosis = diagnose(posterior, replace(problem, reference=None), simulations=effort.judged, seed=_SEED)
    assert diagnosis.sbc is not None
    assert problem.support is not None
    compared, compared_exact = (
        problem.support.dequantize(some.flatten(0, 1)).view_as(some) for some in (samples, exact)
    )
    shift, spread = differences(compared, compared_exact)
    saved = reference_seconds - draw_seconds / len(y)
    values: Values = {
        "parameters": sum(parameter.numel() for parameter in posterior.model.parameters()),
        "simulate_seconds": simulate_seconds,
        "train_seconds": train_seconds,
        "draw_seconds": draw_seconds / len(y),
        "reference_seconds": reference_seconds,
        "break_even": (simulate_seconds + train_seconds) / saved if saved > 0 else None,
        "c2st": sum(c2st(a, b) for a, b in zip(compared_exact, compared, strict=True)) / len(y),
        "shift": shift,
        "spread": spread,
        "sbc_p": diagnosis.sbc.p_value,
        "trusted": diagnosis.trusted,
        "verdict": diagnosis.verdict,
        "picture": {
            "names": [problem.parameters[column] for column in plotted],
            "truth": x_true[0, list(plotted)].tolist(),
            "posterior": samples[0, :_PLOTTED, list(plotted)].tolist(),
            "reference": exact[0, :_PLOTTED, list(plotted)].tolist(),
        },
    }
    return Study(posterior, y, samples, exact, values)


def differences(samples: Tensor, exact: Tensor) -> tuple[float, float]:
    """Return mean distances of means, in standard deviations of the reference, and of the log of standard deviations.

    Args:
        samples: ``(m, n, D)``.
        exact: of the reference, ``(m, n, D)``.

    Example:
        >>> exact = torch.randn(2, 10_000, 3)
        >>> differences(2 * exact + 1, exact)
        (1.00, 0.69)
    """
    deviation = exact.std(1)
    shift = (samples.mean(1) - exact.mean(1)).abs() / deviation
    spread = (samples.std(1) / deviation).log().abs()
    return float(shift.mean()), float(spread.mean())


def correlation(samples: Tensor) -> float:
    """Return the mean correlation of two columns, over observations.

    Args:
        samples: ``(m, n, 2)``.
    """
    return sum(float(torch.corrcoef(each.T)[0, 1]) for each in samples) / len(samples)


def _timed(run: Callable[[], Returned]) -> tuple[Returned, float]:
    start = time.perf_counter()
    returned = run()
    return returned, time.perf_counter() - start
