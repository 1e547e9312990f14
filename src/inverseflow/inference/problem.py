"""A problem: a prior of the parameters, a simulator of the observations, and what is known about its posterior."""

import os
import pickle
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import starmap
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.distributions import Distribution, constraints

from inverseflow.errors import DataError, OptionError
from inverseflow.inference.pairs import distinct, drop_non_finite
from inverseflow.inference.support import Support
from inverseflow.utils.arguments import whole_number
from inverseflow.utils.seeding import derived_seed, seeded

Reference = Callable[[Tensor, int, Generator | None], Tensor]


@dataclass(frozen=True)
class Problem:
    """An inverse problem: which parameters x led to an observation y?

    Args:
        name: the name to print.
        prior: a distribution of x with events ``(D,)``; `independent` puts several together.
        simulator: from ``(n, D)`` to observations ``(n, *shape)``; draws its noise, unless `noise` does, from torch's
            global generator. With ``batched=False`` it is any Python function of one NumPy array ``(D,)`` that returns
            numbers.
        noise: from ``s(x)`` to ``y``; None if the simulator is noisy itself, or exact.
        parameters: names of x, with units in brackets: ``"radius [m]"``.
        observations: names of the elements of y.
        support: of x; read off the prior if None.
        reference: from an observation, n and a generator to n samples of the exact posterior.
        log_prob: from x ``(B, D)`` and one y to the exact log p(x | y).
        batched: whether the simulator takes many x at once.

    Raises:
        OptionError: if the prior has no vectors as events or no support that is known, or the number of names differs.
        DataError: if a name comes twice.

    Example:
        >>> from torch.distributions import Independent, Normal
        >>> prior = Independent(Normal(torch.zeros(2), 1.0), 1)
        >>> problem = Problem("sum", prior, lambda x: x.sum(1, keepdim=True), noise=lambda s: s + torch.randn_like(s))
        >>> x, y = problem.simulate(1000, seed=1)
        >>> x.shape, y.shape
        (torch.Size([1000, 2]), torch.Size([1000, 1]))
    """

    name: str
    prior: Distribution
    simulator: Callable[[Any], Any]
    noise: Callable[[Tensor], Tensor] | None = None
    parameters: tuple[str, ...] = ()
    observations: tuple[str, ...] = ()
    support: Support | None = None
    reference: Reference | None = None
    log_prob: Callable[[Tensor, Tensor], Tensor] | None = None
    batched: bool = True

    def __post_init__(self) -> None:
        if self.support is None:
            object.__setattr__(self, "support", Support.of(self.prior))
        object.__setattr__(self, "parameters", distinct("parameters", self.parameters))
        object.__setattr__(self, "observations", distinct("observations", self.observations))
        if self.parameters and len(self.parameters) != self.dims:
            raise OptionError(f"{self.name} has {self.dims} parameters, and names for {len(self.parameters)}")
        assert self.support is not None
        if self.support.columns != self.dims:
            raise OptionError(f"{self.name} has {self.dims} parameters, and a support for {self.support.columns}")

    @property
    def dims(self) -> int:
        """Number of parameters D."""
        return int(self.prior.event_shape[0])

    def simulate(self, n: int, *, seed: int = 0, processes: int | None = None) -> tuple[Tensor, Tensor]:
        """Draw parameters from the prior and simulate their observations.

        Simulations with a value that is NaN or infinite are dropped, with a warning of their number.

        Args:
            n: number of simulations.
            seed: of the parameters and of all noise. The result does not depend on the number of processes.
            processes: of a simulator of one vector: in how many it runs, None for one for each processor.

        Returns:
            x ``(n, D)`` and y ``(n, *shape)``, without what was dropped.

        Raises:
            DataError: if the simulator fails (the message has the parameters), returns another number of observations,
                or over 1 % of the simulations are not finite.
            OptionError: if there are processes for a batched simulator.
        """
        n = whole_number("the number of simulations", n, at_least=1)
        with seeded(seed, "prior"):
            x = self.prior.sample((n,))
        x = x if x.is_floating_point() else x.to(torch.get_default_dtype())  # of a Categorical
        return self.simulate_at(x, seed=seed, processes=processes)

    def simulate_at(self, x: Tensor, *, seed: int = 0, processes: int | None = None) -> tuple[Tensor, Tensor]:
        """Simulate given parameters ``(n, D)``; otherwise as `simulate`."""
        return drop_non_finite(x, self.observe(x, seed, processes=processes))

    def observe(self, x: Tensor, seed: int = 0, *, processes: int | None = None) -> Tensor:
        """Return the observations ``(n, *shape)`` of parameters ``(n, D)``; arguments and errors as for `simulate`."""
        if x.ndim != 2 or x.shape[1] != self.dims:
            raise DataError(f"{self.name} takes parameters (n, {self.dims}), got {tuple(x.shape)}")
        if processes is not None:
            whole_number("processes", processes, at_least=1)
            if self.batched:
                raise OptionError(
                    f"the simulator of {self.name} takes all parameters at once: leave processes out, or build the "
                    "Problem with batched=False if it takes one vector"
                )
        with seeded(seed, "simulator"):
            y = (
                self._called("simulator", self.simulator, x)
                if self.batched
                else self._one_by_one(x, seed, processes or os.cpu_count() or 1)
            )
        if self.noise is not None:
            with seeded(seed, "noise"):
                y = self._called("noise", self.noise, y)
        y = y[:, None] if y.ndim == 1 else y
        if self.observations and y[0].numel() != len(self.observations):
            raise DataError(
                f"the simulator of {self.name} returns {y[0].numel()} observations, and there are names for "
                f"{len(self.observations)}: {', '.join(self.observations)}"
            )
        return y

    def _called(self, what: str, function: Callable[[Any], Any], values: Tensor) -> Tensor:
        """Return what the simulator or the noise makes of a batch, or refuse it."""
        try:
            with torch.no_grad():
                y = function(values)
        except Exception as error:
            raise DataError(f"the {what} of {self.name} failed: {type(error).__name__}: {error}") from error
        if not isinstance(y, Tensor) or y.ndim < 1 or len(y) != len(values):
            got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            remedy = "; if it takes one vector, build the Problem with batched=False" if what == "simulator" else ""
            raise DataError(f"the {what} of {self.name} must return a tensor ({len(values)}, ...), got {got}{remedy}")
        return y

    def _one_by_one(self, x: Tensor, seed: int, processes: int) -> Tensor:
        tasks = [(row, derived_seed(seed, "simulation", index)) for index, row in enumerate(x.double().numpy())]
        call = partial(_simulate_one, self.simulator)
        if processes == 1:
            with _states_kept():
                results = list(starmap(call, tasks))
        else:
            with ProcessPoolExecutor(processes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                chunk = max(1, len(tasks) // (8 * processes))
                try:
                    results = list(pool.map(call, *zip(*tasks, strict=True), chunksize=chunk))
                except (AttributeError, TypeError, pickle.PicklingError) as error:
                    raise DataError(
                        f"the simulator of {self.name} can't be sent to other processes ({error}): define it at the "
                        "top of a module, or pass processes=1"
                    ) from error
                except BrokenProcessPool as error:
                    raise DataError(
                        f"a process of the simulator of {self.name} ended at once: it crashed, was killed for its "
                        'memory, or the main program has no `if __name__ == "__main__":`; processes=1 shows where'
                    ) from error
        for (row, _), (_, message) in zip(tasks, results, strict=True):
            if message is not None:
                raise DataError(f"the simulator of {self.name} failed at {self._named(row)}: {message}")
        shapes = {value.shape for value, _ in results}
        if len(shapes) > 1:
            raise DataError(f"the simulator of {self.name} returns observations of several shapes: {sorted(shapes)}")
        return torch.from_numpy(np.stack([value for value, _ in results])).to(x.dtype)

    def _named(self, row: Any) -> str:
        names = self.parameters or tuple(f"parameter {index}" for index in range(len(row)))
        return ", ".join(f"{name} = {value:.6g}" for name, value in zip(names, row.tolist(), strict=True))


def _simulate_one(simulator: Callable[[Any], Any], row: Any, seed: int) -> tuple[Any, str | None]:
    """Return the observation of one vector, or the message of its error."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    try:
        return np.asarray(simulator(row), dtype=np.float64), None
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


@contextmanager
def _states_kept() -> Iterator[None]:
    """Restore the generators of Python and NumPy after a block."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def independent(*distributions: Distribution) -> Distribution:
    """Return the distribution of independent parameters, one column for each scalar, several for each vector.

    Args:
        distributions: of scalars or of vectors, without a batch.

    Raises:
        OptionError: if there is none, or one has a batch or events that are neither.

    Example:
        >>> from torch.distributions import Dirichlet, LogNormal, Uniform
        >>> prior = independent(Uniform(0.0, 2.0), LogNormal(0.0, 1.0), Dirichlet(torch.ones(3)))
        >>> prior.sample((4,)).shape, Support.of(prior).parts[0]
        (torch.Size([4, 5]), Interval(low=0.0, high=2.0))
    """
    return _Product(distributions)


class _Product(Distribution):
    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch has it so)

    def __init__(self, distributions: tuple[Distribution, ...]) -> None:
        for part in distributions:
            if part.batch_shape or len(part.event_shape) > 1:
                raise OptionError(
                    f"{type(part).__name__} has a batch {tuple(part.batch_shape)} and events "
                    f"{tuple(part.event_shape)}: give distributions of single numbers or vectors"
                )
        if not distributions:
            raise OptionError("independent() needs at least one distribution")
        self.distributions = distributions
        self.lengths = [part.event_shape.numel() for part in distributions]
        super().__init__(event_shape=torch.Size([sum(self.lengths)]), validate_args=False)

    @property
    def support(self) -> Any:
        """The supports of all, side by side."""
        return constraints.cat([part.support for part in self.distributions], dim=-1, lengths=self.lengths)

    @property
    def mean(self) -> Tensor:
        """Means ``(D,)``."""
        return torch.cat([part.mean.reshape(-1) for part in self.distributions])

    @property
    def variance(self) -> Tensor:
        """Variances ``(D,)``."""
        return torch.cat([part.variance.reshape(-1) for part in self.distributions])

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw samples ``(*sample_shape, D)``."""
        shape = torch.Size(sample_shape)
        return torch.cat([part.sample(shape).reshape(*shape, -1) for part in self.distributions], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the sum of the log densities."""
        pieces = value.split(self.lengths, -1)
        each = [
            part.log_prob(piece if part.event_shape else piece.squeeze(-1))
            for part, piece in zip(self.distributions, pieces, strict=True)
        ]
        return torch.stack(each).sum(0)

    def __repr__(self) -> str:
        return f"independent({', '.join(map(repr, self.distributions))})"
