import os
import random

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, Normal, Uniform

from inverseflow.errors import DataError, OptionError
from inverseflow.inference import Interval, Problem, Real, Support, independent

PRIOR = Independent(Uniform(torch.zeros(2), 1.0), 1)


def noisy(x):
    return x.sum(1, keepdim=True) + 0.1 * torch.randn(len(x), 1)


def one_vector(x):
    """Draw from all three generators."""
    return [x.sum(), random.random(), np.random.rand(), float(torch.rand(()))]


def failing(x):
    if x[0] > 0.9:
        raise ZeroDivisionError("the orbit is closed")
    return x.sum()


def crashing(x):
    os._exit(1)


def half(x):
    return x / 2


def test_simulations_depend_on_the_seed_alone():
    problem = Problem("sum", PRIOR, noisy)
    torch.manual_seed(1)
    x, y = problem.simulate(50, seed=3)
    assert torch.rand(()) == torch.rand((), generator=torch.Generator().manual_seed(1))
    again = problem.simulate(50, seed=3)
    assert torch.equal(x, again[0]) and torch.equal(y, again[1])
    assert torch.equal(problem.observe(x, 3), y)
    assert not torch.equal(problem.simulate(50, seed=4)[0], x)
    assert not torch.equal(problem.observe(x, 4), y)


def test_noise_is_added_to_an_exact_simulator():
    problem = Problem("sum", PRIOR, lambda x: x.sum(1), noise=lambda s: s + 0.5 * torch.randn_like(s))
    x, y = problem.simulate(20_000)
    residual = y[:, 0] - x.sum(1)
    assert y.shape == (20_000, 1)
    assert residual.std().item() == pytest.approx(0.5, rel=0.02)


def test_a_function_of_one_vector_gives_the_same_in_any_number_of_processes():
    problem = Problem("plain", PRIOR, one_vector, batched=False)
    states = random.getstate(), np.random.get_state()[1].tolist()
    x, alone = problem.simulate(12, seed=1, processes=1)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    _, shared = problem.simulate(12, seed=1, processes=2)
    assert torch.equal(alone, shared)
    torch.testing.assert_close(alone[:, 0], x.sum(1))
    assert len({*alone[:, 1].tolist()}) == len({*alone[:, 3].tolist()}) == 12


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_of_the_simulator_names_the_parameters(processes):
    problem = Problem("orbit", PRIOR, failing, parameters=("radius [m]", "mass"), batched=False)
    message = r"orbit failed at radius \[m\] = 0\.9\d+, mass = 0\.\d+: ZeroDivisionError: the orbit is closed"
    with pytest.raises(DataError, match=message):
        problem.simulate(40, processes=processes)


def test_a_function_that_other_processes_cannot_get_is_refused():
    with pytest.raises(DataError, match="can't be sent to other processes .* or pass processes=1"):
        Problem("local", PRIOR, lambda x: x.sum(), batched=False).simulate(4, processes=2)


def test_observations_of_categories_keep_their_fractions():
    prior = Independent(Categorical(torch.ones(2, 3)), 1)
    x, y = Problem("half", prior, half, batched=False).simulate(20, processes=1)
    assert x.is_floating_point() and torch.equal(y, x / 2) and bool((y % 1 > 0).any())


def test_few_simulations_that_are_not_finite_are_dropped_and_many_are_refused():
    def simulator(share):
        return lambda x: torch.where(torch.arange(len(x)) < share * len(x), torch.nan, x[:, 0])

    with pytest.warns(UserWarning, match="4 of 400 simulations are not finite and were dropped"):
        x, y = Problem("nan", PRIOR, simulator(0.01)).simulate(400)
    assert len(x) == len(y) == 396 and y.isfinite().all()
    with pytest.raises(DataError, match=r"8 of 400 simulations are not finite \(over 1%\).* has the parameters 0\."):
        Problem("nan", PRIOR, simulator(0.02)).simulate(400)


def test_supports_come_from_the_prior_unless_given():
    assert Problem("sum", PRIOR, noisy).support == Support([Interval(0, 1)] * 2)
    wider = Support([Interval(0, 2)] * 2)
    assert Problem("sum", PRIOR, noisy, support=wider).support == wider


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda: Problem("p", PRIOR, noisy, parameters=("a",)), OptionError, "p has 2 parameters, and names for 1"),
        (lambda: Problem("p", Normal(0.0, 1.0), noisy), OptionError, r"a prior has events \(D,\)"),
        (
            lambda: Problem("p", PRIOR, noisy, observations=("u", "v")).simulate(5),
            DataError,
            "returns 1 observations, and there are names for 2: u, v",
        ),
        (lambda: Problem("p", PRIOR, lambda x: x[0]).simulate(5), DataError, r"must return a tensor \(5, ...\), got"),
        (lambda: Problem("p", PRIOR, lambda x: 1 / 0).simulate(5), DataError, "p failed: ZeroDivisionError"),
        (
            lambda: Problem("p", PRIOR, noisy, noise=lambda s: s[:3]).simulate(5),
            DataError,
            r"the noise of p must return",
        ),
        (lambda: Problem("p", PRIOR, noisy, noise=lambda s: 1 / 0).simulate(5), DataError, "the noise of p failed"),
        (
            lambda: Problem("p", PRIOR, crashing, batched=False).simulate(5, processes=2),
            DataError,
            "a process of the simulator of p ended at once",
        ),
        (lambda: Problem("p", PRIOR, noisy, support=Support([Real()])), OptionError, "and a support for 1"),
        (lambda: Problem("p", PRIOR, noisy).simulate(5, processes=2), OptionError, "leave processes out"),
        (lambda: Problem("p", PRIOR, noisy).observe(torch.zeros(5, 3)), DataError, r"takes parameters \(n, 2\)"),
        (lambda: independent(Normal(torch.zeros(2), 1.0)), OptionError, "give distributions of single numbers"),
        (lambda: independent(), OptionError, "at least one distribution"),
    ],
)
def test_problems_that_do_not_fit_together_are_refused(use, error, message):
    with pytest.raises(error, match=message):
        use()
