"""inverseflow invert."""

from __future__ import annotations

import csv
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from inverseflow.cli.arguments import Output, Real, Whole
from inverseflow.cli.checks import check_counts, check_output, check_seed
from inverseflow.errors import ConvergenceError, OptionError, RunError
from inverseflow.utils.arguments import listed

if TYPE_CHECKING:
    from torch import Tensor

    from inverseflow.inference import Inversion, Problem, Support

_SHOWN = 20
_FILES = (".pt2", ".pt", ".pth", ".ts")
_Signed = Annotated[str | None, Parameter(allow_leading_hyphen=True, show_default=False)]
_Words = Annotated[tuple[str, ...], Parameter(consume_multiple=False, negative=(), show_default=False)]


@dataclass(frozen=True)
class _Forward:
    """A function to invert, and what is known about its inputs and outputs."""

    network: Callable[[Tensor], Tensor]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)


def invert(
    model: str,
    /,
    *,
    target: Annotated[str, Parameter(allow_leading_hyphen=True)],
    method: str = "lbfgs",
    low: _Signed = None,
    high: _Signed = None,
    inputs: Annotated[Whole | None, Parameter(show_default=False)] = None,
    restarts: Annotated[Whole | None, Parameter(show_default=False)] = None,
    tolerance: Annotated[Real | None, Parameter(show_default=False)] = None,
    max_evaluations: Annotated[Whole | None, Parameter(show_default=False)] = None,
    option: _Words = (),
    output: Annotated[Output | None, Parameter(show_default=False)] = None,
    seed: Whole = 0,
) -> None:
    """Find inputs of a trained network for which it returns a target: all distinct ones, best first.

    The weights of the network stay as they are. A target out of reach is an error, which names the nearest output.

    Try:

        inverseflow invert kinematics --target 1.5,0.5
        inverseflow invert runs/inn --target 1.5,0.5 --restarts 100 -o solutions.csv
        inverseflow invert network.pt2 --target 0.5,nan --low -1 --high 1
        inverseflow invert mymodule:network --target 1 --method genetic --low 0,0 --high 1,10 --option population=100
        inverseflow invert mymodule:network --target 0.5 --method boundary --low -2 --high 2 -o boundary.csv

    Args:
        model: a problem of the library whose simulator is deterministic, such as kinematics; a run folder of `infer`
            whose method has a forward part, such as inn; a file of `torch.export` (.pt2) or TorchScript (.pt); or
            MODULE:NAME, a network or function in a Python module of yours, which is imported.
        target: the outputs that are wanted, separated by commas. nan stands for an output that does not count.
        method: lbfgs, gradient or wlk (for networks with gradients), coordinate, nelder-mead, exhaustive or genetic
            (for any), or boundary (points spread along the level set of one output).
        low: lower bounds of the inputs, one number or one for each, separated by commas. By default those of the
            problem, or none. exhaustive, genetic and boundary need bounds.
        high: upper bounds.
        inputs: number of inputs, if the model does not tell.
        restarts: number of searches side by side. By default 32, and 4 populations of genetic.
        tolerance: largest distance of a solution's outputs from the target. By default 1e-4, and 0.01 for exhaustive,
            genetic and boundary.
        max_evaluations: most inputs to try. By default 2,000 for each restart, and 200,000 for exhaustive, genetic and
            boundary.
        option: an option of the method, NAME=VALUE, such as step=adam or learning_rate=0.1 of gradient, grid=201 of
            exhaustive, points=500 of boundary; may be given several times.
        output: table of all solutions and their residuals (.csv). Without it, the first 20 are printed only.
        seed: seed of the starts and of random steps.
    """
    check_counts(inputs=inputs, restarts=restarts, max_evaluations=max_evaluations)
    check_seed(seed)
    check_output(output, ".csv")
    wanted, options = _numbers("--target", target), dict(map(_option, option))
    bounds = {name: None if text is None else _numbers(name, text) for name, text in (("--low", low), ("--high", high))}
    import torch

    from inverseflow.inference import invert as search

    forward = _forward(model)
    if forward.outputs and len(wanted) != len(forward.outputs):
        raise OptionError(
            f"--target must have {len(forward.outputs)} numbers, {', '.join(forward.outputs)}, got {len(wanted)}"
        )
    count = inputs or len(forward.inputs) or None
    known = {"--low": forward.low, "--high": forward.high}
    box = []
    for name, infinite in (("--low", -torch.inf), ("--high", torch.inf)):
        values = bounds[name] or known[name] or [infinite]
        box.append(values[0] if len(values) == 1 else values)
    try:
        found = search(
            forward.network,
            torch.tensor(wanted),
            method=method,
            inputs=count,
            box=(box[0], box[1]),
            mask=[value == value for value in wanted],
            restarts=restarts,
            tolerance=tolerance,
            max_evaluations=max_evaluations,
            seed=seed,
            **options,
        )
    except (TypeError, ValueError) as error:
        raise error if isinstance(error, OptionError) else OptionError(str(error)) from error
    names = forward.inputs or tuple(f"x{place + 1}" for place in range(found.solutions.shape[1]))
    print(_table(names, found))
    if not found.converged:
        raise ConvergenceError(
            f"no input of {model} has outputs within {found.tolerance:g} of the target after {found.evaluations:,} "
            f"evaluations; the best, above, is {found.residuals[0]:.3g} away. The target may be out of reach: try more "
            "--restarts, another --method or a larger --tolerance"
        )
    several = "1 distinct solution" if len(found.solutions) == 1 else f"{len(found.solutions):,} distinct solutions"
    kept = "" if output is None else f"; they are in {output}"
    print(f"{several} within {found.tolerance:g}, by {method} with {found.evaluations:,} evaluations{kept}")
    if output is not None:
        _write(output, names, found)


def _forward(model: str) -> _Forward:
    """Return the function that the word names."""
    path = Path(os.path.expanduser(model))
    if path.is_dir():
        return _of_run(path)
    if path.suffix in _FILES or path.is_file():
        return _Forward(_of_file(path))
    if ":" in model:
        return _Forward(_of_module(model))
    from inverseflow.inference import problems

    if model not in problems.problem_names():
        raise OptionError(
            f"{model!r} is no folder, no file, no MODULE:NAME, and no problem; problems are "
            f"{', '.join(problems.problem_names())}"
        )
    return _of_problem(problems.create(model))


def _of_problem(problem: Problem) -> _Forward:
    import torch

    with torch.random.fork_rng(devices=[]):
        x = problem.prior.sample(torch.Size([8]))
        repeated = [problem.simulator(x) for _ in range(2)] if problem.batched else []
    if not repeated or not torch.equal(*repeated):
        raise OptionError(
            f"the simulator of {problem.name} draws noise, or takes one vector only, so it is no function to invert; "
            f"`inverseflow infer {problem.name}` learns its posterior"
        )
    assert problem.support is not None
    low, high = _bounds(problem.support)
    return _Forward(problem.simulator, problem.parameters, problem.observations, low, high)


def _of_run(path: Path) -> _Forward:
    from inverseflow.inference import AmortizedPosterior

    if not (path / "posterior.json").is_file():
        raise RunError(f"{path} holds no posterior; name a run folder of `inverseflow infer`")
    posterior = AmortizedPosterior.load(path)
    assert posterior.support is not None
    low, high = _bounds(posterior.support)
    names = posterior.parameters or tuple(f"x{place + 1}" for place in range(len(low)))
    return _Forward(posterior.predict, names, posterior.observations, low, high)


def _bounds(support: Support) -> tuple[list[float], list[float]]:
    """Return the bounds of each parameter."""
    from inverseflow.inference import Simplex

    low, high = [], []
    for part in support.parts:
        ends = (0.0, 1.0) if isinstance(part, Simplex) else (-float("inf"), float("inf"))
        given = [getattr(part, name, None) for name in ("low", "high")]  # a whole number may have no largest value
        bottom, top = (end if value is None else float(value) for value, end in zip(given, ends, strict=True))
        low += [bottom] * part.columns
        high += [top] * part.columns
    return low, high


def _of_file(path: Path) -> Callable[[Tensor], Tensor]:
    import torch

    if not path.is_file():
        raise OptionError(f"{path} does not exist; name a file of torch.export (.pt2) or TorchScript (.pt)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated, and its files are still there
            loaded: Any = torch.export.load(path).module() if path.suffix == ".pt2" else torch.jit.load(path)
    except Exception as error:  # each format fails in ways of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OptionError(f"{path} is no file of torch.export (.pt2) or TorchScript (.pt): {reason}") from error
    network: Callable[[Tensor], Tensor] = loaded
    return network


def _of_module(word: str) -> Callable[[Tensor], Tensor]:
    module, _, name = word.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # modules in the current folder, as `python -m` finds them
    try:
        found: Any = import_module(module)
    except ModuleNotFoundError as error:
        raise OptionError(f"there is no Python module {error.name}, of {word}; it is looked for here too") from error
    except Exception as error:
        raise OptionError(f"the Python module {module} fails with {type(error).__name__}: {error}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise OptionError(f"the Python module {module} has no {name or 'name behind the colon'}")
        found = getattr(found, part)
    if not callable(found) or isinstance(found, type):
        kind = "a class" if isinstance(found, type) else "no function"
        raise OptionError(f"{word} is {kind}; name a network, or a function of a batch of inputs (B, n)")
    network: Callable[[Tensor], Tensor] = found
    return network


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(word) for word in listed(text)]
    except ValueError:
        raise OptionError(f"{option} must be numbers separated by commas, got {text!r}") from None


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise OptionError(f"--option must be NAME=VALUE, such as learning_rate=0.1, got {text!r}")
    for convert in (int, float):
        with suppress(ValueError):
            return name.replace("-", "_"), convert(value)
    return name.replace("-", "_"), {"true": True, "false": False}.get(value, value)


def _table(names: Sequence[str], found: Inversion) -> str:
    rows = [[*names, "residual"]]
    for x, residual in zip(found.solutions[:_SHOWN].tolist(), found.residuals[:_SHOWN].tolist(), strict=True):
        rows.append([*(f"{value:.6g}" for value in x), f"{residual:.2g}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    more = len(found.solutions) - _SHOWN
    return "\n".join([*lines, *([f"and {more:,} more"] if more > 0 else [])])


def _write(path: Path, names: Sequence[str], found: Inversion) -> None:
    from inverseflow.utils.files import atomic_write

    with atomic_write(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "residual"])
        writer.writerows([*x, r] for x, r in zip(found.solutions.tolist(), found.residuals.tolist(), strict=True))
