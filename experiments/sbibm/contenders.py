"""What is compared: methods of this library, and neural posterior estimation of the package sbi."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from types import SimpleNamespace
from typing import Any

import lightning  # noqa: F401 (importing it is no training)
from torch import Tensor

from inverseflow.errors import OptionError
from inverseflow.inference import AmortizedPosterior, Problem, method_names
from inverseflow.utils.packages import packages_for
from inverseflow.utils.seeding import seeded

SBI = {"sbi": "maf", "sbi-zuko-nsf": "zuko_nsf"}
"""The density estimators of sbi: the one by default, and the splines of zuko."""


@dataclass(frozen=True)
class Trained:
    """A posterior and what its training took."""

    sample: Callable[[Tensor, int], Tensor]
    """Draws n samples given an observation."""
    seconds: float
    """Time of training."""
    steps: int | None
    """Training steps."""
    parameters: int
    """Number of trained parameters."""


def check_method(name: str) -> None:
    """Raise OptionError if there is no such contender."""
    known = [*method_names(), *SBI]
    if name not in known:
        raise OptionError(f"unknown method {name!r}: choose one of {', '.join(known)}")


def train(name: str, problem: Problem, x: Tensor, y: Tensor, *, seed: int, max_steps: int | None = None) -> Trained:
    """Train on simulations with the defaults of a contender.

    Args:
        name: of the method.
        problem: whose prior and support it may use.
        x: parameters ``(N, D)``.
        y: observations ``(N, M)``.
        seed: of the training.
        max_steps: training steps, or epochs of sbi; None for its default.

    Raises:
        OptionError: if there is no such contender.
        MissingPackageError: if it needs sbi, which is not installed.
    """
    check_method(name)
    if name in SBI:
        return _train_sbi(SBI[name], problem, x, y, seed, max_steps)
    began = time.perf_counter()
    posterior = AmortizedPosterior(name, prior=problem.prior, support=problem.support)
    posterior.fit(x, y, seed=seed, max_steps=max_steps, progress=False)
    seconds = time.perf_counter() - began
    assert posterior.result is not None
    return Trained(
        lambda observation, n: posterior.sample(observation, n, seed=seed),
        seconds,
        posterior.result.steps,
        sum(parameter.numel() for parameter in posterior.model.parameters()),
    )


def _train_sbi(estimator: str, problem: Problem, x: Tensor, y: Tensor, seed: int, max_epochs: int | None) -> Trained:
    with packages_for("neural posterior estimation with sbi"):
        from sbi.inference import NPE
    began = time.perf_counter()
    options: dict[str, Any] = {} if max_epochs is None else {"max_num_epochs": max_epochs}
    no_files = SimpleNamespace(log_metric=lambda **_: None, flush=lambda: None)
    with _quietly_seeded(seed):
        inference = NPE(problem.prior, density_estimator=estimator, tracker=no_files, show_progress_bars=False)
        network = inference.append_simulations(x, y).train(**options)
        seconds = time.perf_counter() - began
        posterior = inference.build_posterior(network)

    def sample(observation: Tensor, n: int) -> Tensor:
        with _quietly_seeded(seed):
            drawn: Tensor = posterior.sample((n,), x=observation, show_progress_bars=False)
        return drawn

    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Trained(sample, seconds, None, parameters)


@contextmanager
def _quietly_seeded(seed: int) -> Iterator[None]:
    """Seed torch for a block, and drop what is printed and warned of."""
    with seeded(seed), warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        yield
