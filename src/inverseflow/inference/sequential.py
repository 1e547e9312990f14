"""Sequential refinement: spend few simulations where the posterior of one observation is."""

import copy
from typing import Any

import torch
from torch import Tensor

from inverseflow.errors import ConvergenceError, OptionError
from inverseflow.inference.posterior import AmortizedPosterior
from inverseflow.inference.problem import Problem
from inverseflow.utils.arguments import finite_number, whole_number
from inverseflow.utils.seeding import derived_seed, seeded

_SAMPLES = 10_000  # of the posterior, which find its region
_BATCH = 20_000  # draws from the prior at a time
_LEAST_ACCEPTANCE = 1e-5


def refine(
    posterior: AmortizedPosterior,
    problem: Problem,
    y: Tensor,
    *,
    rounds: int = 3,
    simulations: int = 1000,
    tail: float = 1e-3,
    seed: int = 0,
    processes: int | None = None,
    **training: Any,
) -> AmortizedPosterior:
    """Train a posterior for one observation, with simulations from the prior inside of its high-density region.

    Each round draws parameters from the prior, keeps those that the posterior so far gives a density above that of all
    but a tail of its own samples, simulates them, and trains anew on the simulations of all rounds. Where the regions
    of all rounds overlap, these are of the prior up to a factor, so the loss needs no correction. Outside, what a
    region left out of the posterior stays too rare. The result is meant for this observation only.

    Args:
        posterior: an untrained posterior, whose first round draws from the whole prior, or a trained one. It is left as
            it is.
        problem: has the prior and the simulator.
        y: one observation.
        rounds: number of rounds.
        simulations: number of simulations in each round.
        tail: share of the posterior that the region leaves out.
        seed: of the simulations and of the training.
        processes: as for `Problem.simulate`.
        training: arguments of `AmortizedPosterior.fit`.

    Raises:
        OptionError: if the method has no density, or a number is out of its range.
        DataError: as for `AmortizedPosterior.fit`.
        ConvergenceError: if the region is so small that the prior hardly ever falls into it.

    Reference:
        Deistler, Goncalves and Macke, `Truncated proposals for scalable and hassle-free simulation-based inference
        <https://arxiv.org/abs/2210.04815>`_, 2022.

    Example:
        >>> from torch.distributions import Independent, Uniform
        >>> prior = Independent(Uniform(-torch.ones(1), 1.0), 1)
        >>> problem = Problem("noise", prior, lambda x: x + 0.01 * torch.randn_like(x))
        >>> posterior = AmortizedPosterior.of(problem, width=8, steps=1)
        >>> brief = {"max_steps": 5, "progress": False}
        >>> refined = refine(posterior, problem, torch.tensor([0.5]), rounds=2, simulations=50, **brief)
        >>> refined.sample(torch.tensor([0.5]), 3).shape
        torch.Size([3, 1])
    """
    try:
        whole_number("rounds", rounds, at_least=1)
        whole_number("simulations", simulations, at_least=1)
        finite_number("tail", tail, above=0, below=1)
    except (TypeError, ValueError) as error:
        raise OptionError(str(error)) from error
    posterior.require_density()
    pairs: list[tuple[Tensor, Tensor]] = []
    for number in range(rounds):
        simulated = derived_seed(seed, "round", number)
        if posterior.is_trained:
            x = truncated_prior(posterior, problem, y, simulations, tail=tail, seed=simulated)
            pairs.append(problem.simulate_at(x, seed=simulated, processes=processes))
        else:
            pairs.append(problem.simulate(simulations, seed=simulated, processes=processes))
        posterior = copy.copy(posterior)
        posterior.fit(*(torch.cat(parts) for parts in zip(*pairs, strict=True)), seed=seed, **training)
    return posterior


def truncated_prior(
    posterior: AmortizedPosterior, problem: Problem, y: Tensor, n: int, *, tail: float = 1e-3, seed: int = 0
) -> Tensor:
    """Draw parameters ``(n, D)`` from the prior inside of the high-density region of a posterior, by rejection.

    Arguments and errors as for `refine`.
    """
    samples = posterior.sample(y, _SAMPLES, seed=seed)
    threshold = posterior.log_prob(samples, y).double().quantile(tail)
    kept: list[Tensor] = []
    drawn = found = 0
    with seeded(seed, "truncated prior"):
        while found < n:
            x = problem.prior.sample((_BATCH,))
            kept.append(x[posterior.log_prob(x, y) >= threshold])
            drawn, found = drawn + _BATCH, found + len(kept[-1])
            if found < n and found < _LEAST_ACCEPTANCE * drawn and drawn > 10 / _LEAST_ACCEPTANCE:
                raise ConvergenceError(
                    f"only {found} of {drawn} draws from the prior fall into the region of the posterior: stop after "
                    "fewer rounds, or choose a narrower prior"
                )
    return torch.cat(kept)[:n]
