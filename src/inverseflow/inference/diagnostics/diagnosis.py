"""The diagnosis of a posterior: all figures, and in words whether to trust it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from inverseflow.errors import NonFiniteError
from inverseflow.inference.diagnostics.c2st import joint_accuracy
from inverseflow.inference.diagnostics.contraction import contraction_of
from inverseflow.inference.diagnostics.coverage import Coverage, coverage_of
from inverseflow.inference.diagnostics.draws import Sampler, check_pairs, draw, has_density
from inverseflow.inference.diagnostics.mismatch import Mismatch, posterior_mismatch
from inverseflow.inference.diagnostics.resimulation import Resimulation, resimulate
from inverseflow.inference.diagnostics.sbc import (
    RankTest,
    density_ranks,
    linear_prediction,
    prediction_ranks,
    rank_counts,
    ranks_among,
    sbc_test,
)
from inverseflow.inference.pairs import Pairs
from inverseflow.utils.arguments import whole_number
from inverseflow.utils.seeding import derived_seed

DENSITY, PREDICTION = "density", "distance to a linear prediction"
"""Names of the quantities that are ranked beside the parameters."""

_LEVEL = 0.01  # probability that an exact posterior is not trusted, at most
_FEWEST = 100  # pairs
_IMPRECISE = 0.05  # excess of the re-simulation error that is tolerated; without noise every excess is significant
_UNINFORMED, _WIDER = 0.1, -0.2  # contraction of a posterior like the prior, and of one that is wider
_IMPOSSIBLE = 1e-3  # probability of an observation as far out as this one
_REFERENCES, _REFERENCE_SAMPLES = 10, 500


@dataclass(frozen=True)
class Diagnosis:
    """Figures of a posterior and what they mean. `as_dict` gives them for a JSON file."""

    trusted: bool
    """Whether nothing speaks against the posterior, for the observation too if there is one."""
    verdict: str
    """Why, in words."""
    parameters: tuple[str, ...]
    simulations: int
    """Number of pairs (x*, y)."""
    draws: int
    """Number of draws for each y."""
    quantities: tuple[str, ...] = ()
    """What was ranked: each parameter, the density if there is one, and the distance to a linear prediction."""
    rank_counts: tuple[tuple[int, ...], ...] = ()
    """How often each rank from 0 to `draws` occurred, for each quantity."""
    sbc: RankTest | None = None
    """Test of uniform ranks."""
    coverage: Coverage | None = None
    """Coverage of central intervals of each parameter."""
    density_coverage: Coverage | None = None
    """Coverage of regions of highest density, if there is a density."""
    contraction: tuple[float, ...] = ()
    """Of each parameter."""
    linear_contraction: tuple[float, ...] = ()
    """Share of the variance that a linear prediction from y explains: an exact posterior contracts by no less."""
    c2st: float | None = None
    """Accuracy of a classifier of the simulator's pairs and the posterior's (`joint_c2st`)."""
    c2st_p_value: float | None = None
    resimulation: Resimulation | None = None
    """Error of re-simulated draws, if there is a simulator."""
    mismatch: Mismatch | None = None
    """Discrepancy from exact samples, if the problem has them."""
    surprise: tuple[float, ...] | None = None
    """Of each observation asked for: probability that the simulator makes one as far out."""
    seconds: dict[str, float] = field(default_factory=dict, compare=False)
    """Time that each part took. Drawing dominates if the sampler is slow, as that of an autoregressive flow is."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as dictionaries, lists, strings and numbers."""
        return asdict(self)


def diagnose(
    posterior: Sampler,
    problem: Any,
    *,
    simulations: int = 1000,
    draws: int = 99,
    observation: Any = None,
    seed: int = 0,
) -> Diagnosis:
    """Judge a posterior by simulations that it was not trained on.

    Three independent tests decide, at a joint level of 1 %: an exact posterior is not trusted once in a hundred times.

    1. Ranks of the truth among draws are uniform (`sbc_ranks`): for each parameter, for the density if there is one,
       and for the distance to a linear prediction from y, which exposes a solver that ignores y.
    2. A classifier cannot tell pairs (x̂, y) of the posterior from those of the simulator (`joint_c2st`).
    3. Re-simulated draws give the observation (`resimulation_error`), if there is a simulator.

    Coverage, contraction and the mismatch to exact samples are reported beside. All draws of the ranks are made in one
    call of ``sample``. This takes ``simulations × draws`` evaluations of the network, times D if it draws one
    parameter after the other.

    Args:
        posterior: anything with ``sample(y, n)``, and ``log_prob(x, y)`` if it has a density. ``surprise(y)``, if it
            has that, tells whether the simulator could have made the observation.
        problem: a `Problem`, or `Pairs` or a tuple ``(x, y)`` that were not used in training: parameters ``(S, D)``
            and observations ``(S, ...)``.
        simulations: number of pairs, 100 or more for a judgment.
        draws: number of draws for each. One more should have divisors up to 20, as 99 has.
        observation: an observation, or a batch of some, to be judged by ``surprise``.
        seed: seed of everything random. Training must have had another one.

    Raises:
        DataError: if pairs are not finite or don't fit, a parameter is constant, or draws have the wrong shape.
        TypeError: if `problem` is neither a problem nor pairs.

    Example:
        >>> class Exact:  # of x ~ N(0, 1), y = x + N(0, 1)
        ...     def sample(self, y, n):
        ...         return y[:, None] / 2 + torch.randn(len(y), n, 1) / 2**0.5
        >>> x = torch.randn(400, 1)
        >>> diagnosis = diagnose(Exact(), (x, x + torch.randn(400, 1)))
        >>> diagnosis.trusted, diagnosis.verdict.partition(":")[0]
        (True, 'Calibrated')
    """
    simulations = whole_number("simulations", simulations, at_least=1)
    draws = whole_number("draws", draws, at_least=2)
    x, y = _pairs(problem, simulations, derived_seed(seed, "diagnosis"))
    blank = Diagnosis(False, "", _names(posterior, problem, x.shape[1]), len(x), draws)
    if len(x) < _FEWEST:
        return replace(blank, verdict=f"Cannot be judged: {len(x)} pairs are too few, take {_FEWEST} or more.")
    seconds: dict[str, float] = {}
    try:
        figures = _measure(posterior, problem, x, y, draws, seed, seconds)
    except NonFiniteError as error:
        return replace(blank, verdict=f"Cannot be judged: {error}.", seconds=seconds)
    diagnosis = replace(blank, **figures, seconds=seconds)
    diagnosis = replace(diagnosis, quantities=(*diagnosis.parameters, *diagnosis.quantities))
    if observation is not None and hasattr(posterior, "surprise"):
        diagnosis = replace(diagnosis, surprise=tuple(torch.atleast_1d(posterior.surprise(observation)).tolist()))
    return _judge(diagnosis)


def _measure(
    posterior: Any, problem: Any, x: Tensor, y: Tensor, draws: int, seed: int, seconds: dict[str, float]
) -> dict[str, Any]:
    """Return the fields of the diagnosis that are measured."""

    @contextmanager
    def timed(part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds[part] = time.perf_counter() - start

    with timed("drawing"):
        samples = draw(posterior, y, draws, seed=seed)
    ranks, extra = [ranks_among(samples, x, seed=seed)], []
    with timed("densities"):
        if has_density(posterior):
            extra.append(DENSITY)
            ranks.append(density_ranks(posterior, samples, x, y, seed=seed)[:, None])
    extra.append(PREDICTION)
    prediction = linear_prediction(x, y)
    ranks.append(prediction_ranks(samples, x, prediction, seed=seed)[:, None])
    table = torch.cat(ranks, 1)
    figures: dict[str, Any] = {
        "quantities": tuple(extra),
        "rank_counts": rank_counts(table, draws),
        "sbc": sbc_test(table, draws=draws),
        "coverage": coverage_of(ranks[0], draws, density=False),
        "density_coverage": coverage_of(ranks[1], draws, density=True) if DENSITY in extra else None,
        "contraction": contraction_of(samples, x),
        "linear_contraction": tuple((1 - (x - prediction.to(x)).square().mean(0) / x.var(0)).tolist()),
    }
    with timed("classifier"):
        figures["c2st"], figures["c2st_p_value"] = joint_accuracy(x, samples[:, 0], y, seed=seed)
    if hasattr(problem, "observe"):
        with timed("re-simulation"):
            figures["resimulation"] = resimulate(
                lambda batch: problem.observe(batch, derived_seed(seed, "noise")), samples[:, 0], x, y, seed=seed
            )
    if (reference := getattr(problem, "reference", None)) is not None:
        with timed("exact samples"):
            figures["mismatch"] = posterior_mismatch(
                posterior, reference, x, y[:_REFERENCES], n=_REFERENCE_SAMPLES, seed=seed
            )
    return figures


def _pairs(problem: Any, simulations: int, seed: int) -> tuple[Tensor, Tensor]:
    if hasattr(problem, "simulate"):
        x, y = problem.simulate(simulations, seed=seed)
    elif isinstance(problem, Pairs):
        x, y = problem.x[:simulations], problem.y[:simulations]
    elif isinstance(problem, tuple) and len(problem) == 2:
        x, y = (torch.as_tensor(part)[:simulations] for part in problem)
    else:
        raise TypeError(f"problem must be a Problem, Pairs or a tuple (x, y), got {type(problem).__name__}")
    check_pairs(x, y)
    return x, y


def _names(posterior: Any, problem: Any, dims: int) -> tuple[str, ...]:
    for owner in (posterior, problem):
        names = getattr(owner, "parameters", ())
        if isinstance(names, tuple) and len(names) == dims:
            return names
    return tuple(f"x{place}" for place in range(dims))


def _judge(diagnosis: Diagnosis) -> Diagnosis:
    """Add the verdict."""
    assert diagnosis.sbc is not None and diagnosis.coverage is not None and diagnosis.c2st_p_value is not None
    tests = 2 + (diagnosis.resimulation is not None)
    failures = _failures_of_ranks(diagnosis, _LEVEL / tests)
    if diagnosis.c2st_p_value < _LEVEL / tests:
        failures.append(
            f"a classifier tells its pairs from the simulator's (accuracy {diagnosis.c2st:.2f} instead of 0.50, "
            f"{p_text(diagnosis.c2st_p_value)})"
        )
    again = diagnosis.resimulation
    if again is not None and again.p_value < _LEVEL / tests and again.excess > _IMPRECISE:
        failures.append(
            f"re-simulated draws miss the observation (relative error {again.relative:.2g}; "
            f"exact {again.exact:.2g}, prior 2)"
        )
    notes = []
    if again is not None and again.failed:
        notes.append(f"{again.failed} of {diagnosis.simulations} re-simulated observations were not finite")
    small = [
        place
        for place, value in enumerate(diagnosis.contraction)
        if _WIDER < value < _UNINFORMED and diagnosis.sbc.trends[place] != "too wide"  # which explains it
    ]
    unused = small if failures and len(small) == len(diagnosis.parameters) else []
    if failures and not unused:
        unused = [p for p in small if diagnosis.linear_contraction[p] > max(0, diagnosis.contraction[p]) + _UNINFORMED]
    if unused:
        failures.insert(0, f"no information about {_with_contraction(diagnosis, unused)}")
    if rest := [place for place in small if place not in unused]:
        notes.append(f"not narrower than the prior in {_with_contraction(diagnosis, rest)}")
    if diagnosis.mismatch is not None:
        mean, error = diagnosis.mismatch.mean, diagnosis.mismatch.standard_error
        notes.append(
            f"squared MMD to exact samples {mean:.2g} ± {error:.1g}, between exact ones {diagnosis.mismatch.floor:.1g}"
        )
    verdict = f"Not calibrated: {'; '.join(failures)}." if failures else f"Calibrated: {_reasons(diagnosis)}."
    if notes:
        verdict += f" Beside that: {'; '.join(notes)}."
    strange = [p for p in diagnosis.surprise or () if p < _IMPOSSIBLE]
    if strange:
        which = "this observation" if len(diagnosis.surprise or ()) == 1 else f"{len(strange)} of the observations"
        verdict = (
            f"The simulator could not have made {which} ({p_text(min(strange))}), so the posterior can't be trusted "
            f"there. For observations of the simulator: {verdict}"
        )
    return replace(diagnosis, trusted=not failures and not strange, verdict=verdict)


def _with_contraction(diagnosis: Diagnosis, places: Sequence[int]) -> str:
    return ", ".join(
        f"{diagnosis.parameters[place]} (contraction {100 * diagnosis.contraction[place]:.0f} %)" for place in places
    )


def _failures_of_ranks(diagnosis: Diagnosis, level: float) -> list[str]:
    assert diagnosis.sbc is not None and diagnosis.coverage is not None
    level /= len(diagnosis.quantities)
    parameters: dict[str, list[int]] = {}  # those with one trend
    failures = []
    for place, (name, p_value, trend) in enumerate(
        zip(diagnosis.quantities, diagnosis.sbc.p_values, diagnosis.sbc.trends, strict=True)
    ):
        if p_value >= level:
            continue
        if place < len(diagnosis.parameters):
            parameters.setdefault(trend, []).append(place)
        elif name == DENSITY:
            assert diagnosis.density_coverage is not None
            held = 100 * diagnosis.density_coverage.rates[0][-1]
            failures.append(f"its 95 % region of all parameters holds {held:.0f} % ({p_text(p_value)})")
        else:
            side = {"too high": "farther from", "too low": "nearer to"}.get(trend, "at other distances from")
            failures.append(f"its draws are {side} a linear prediction than the truth ({p_text(p_value)})")
    return [_trend_in_words(diagnosis, *item) for item in parameters.items()] + failures


def _trend_in_words(diagnosis: Diagnosis, trend: str, places: list[int]) -> str:
    assert diagnosis.sbc is not None and diagnosis.coverage is not None
    names = ", ".join(diagnosis.parameters[place] for place in places)
    smallest = min(diagnosis.sbc.p_values[place] for place in places)
    held = _span([diagnosis.coverage.rates[place][-1] for place in places])
    return f"{trend or 'wrong'} in {names} ({_TRENDS[trend]}, {p_text(smallest)}; 95 % intervals hold {held})"


_TRENDS = {
    "too narrow": "ranks pile up at both ends",
    "too wide": "ranks pile up in the middle",
    "too low": "ranks pile up at the upper end",
    "too high": "ranks pile up at the lower end",
    "": "ranks are not uniform",
}


def _span(rates: Sequence[float]) -> str:
    low, high = f"{100 * min(rates):.0f}", f"{100 * max(rates):.0f}"
    return f"{low} %" if low == high else f"{low} to {high} %"


def _reasons(diagnosis: Diagnosis) -> str:
    assert diagnosis.sbc is not None and diagnosis.coverage is not None
    density = diagnosis.density_coverage
    region = "intervals" if density is None else "regions"
    held = _span([rates[-1] for rates in (density or diagnosis.coverage).rates])
    reasons = [
        f"ranks of {diagnosis.simulations} simulations are uniform ({p_text(diagnosis.sbc.p_value)})",
        f"95 % {region} hold {held} of the true parameters",
        f"a classifier does not tell its pairs from the simulator's (accuracy {diagnosis.c2st:.2f})",
    ]
    if diagnosis.resimulation is not None:
        again = diagnosis.resimulation
        reasons.append(f"re-simulated draws fit (relative error {again.relative:.2g}, exact {again.exact:.2g})")
    return "; ".join(reasons)


def p_text(value: float) -> str:
    """Return a p-value as text."""
    return f"p = {value:.2g}" if value >= 1e-12 else "p < 1e-12"
