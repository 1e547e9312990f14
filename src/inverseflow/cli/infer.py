"""inverseflow infer."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from inverseflow.cli.arguments import File, Real, Whole
from inverseflow.cli.checks import check_counts, check_seed
from inverseflow.cli.method_options import MethodOptions
from inverseflow.cli.posterior_run import PosteriorRun, table_errors, warnings_said
from inverseflow.cli.train import with_defaults
from inverseflow.errors import CheckpointError, NonFiniteError, OptionError, RunError, TrainingInterrupted
from inverseflow.utils.arguments import listed

if TYPE_CHECKING:
    from torch import Tensor

    from inverseflow.inference import AmortizedPosterior, Problem, Support
    from inverseflow.inference.diagnostics import Diagnosis

_SIMULATIONS = 10_000
_FILES = (".csv", ".tsv", ".gz", ".parquet", ".pq", ".npz", ".npy")
_JUDGED = 1000  # pairs of the diagnosis, at most
_ENOUGH = 100  # pairs that a diagnosis needs
_PICTURED = 2000  # samples in corner.png
_FILE, _TRAINING = Group("File options"), Group("Training options")
_Word = Annotated[str | None, Parameter(show_default=False)]


_Options = with_defaults(MethodOptions, {}, "method.", "Method options")


def infer(
    source: str,
    /,
    *,
    method: Annotated[str, Parameter(name=("--method", "--method.name"))] = "cinn",
    simulations: Annotated[Whole | None, Parameter(show_default=False)] = None,
    out: Annotated[File | None, Parameter(show_default=False)] = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    resume: Annotated[bool, Parameter(negative=())] = False,
    seed: Whole = 0,
    parameters: Annotated[_Word, Parameter(group=_FILE)] = None,
    observations: Annotated[_Word, Parameter(group=_FILE)] = None,
    bounds: Annotated[_Word, Parameter(group=_FILE)] = None,
    max_steps: Annotated[Whole | None, Parameter(group=_TRAINING)] = None,
    batch_size: Annotated[Whole | None, Parameter(group=_TRAINING)] = None,
    learning_rate: Annotated[Real | None, Parameter(group=_TRAINING)] = None,
    patience: Annotated[Whole | None, Parameter(group=_TRAINING)] = None,
    quiet: Annotated[bool, Parameter(negative=(), group=_TRAINING)] = False,
    options: Annotated[_Options, Parameter(name="*")] = _Options(),  # type: ignore[valid-type] # noqa: B008
) -> None:
    """Learn the posterior of an inverse problem, p(parameters | observations), and judge whether it can be trusted.

    The pairs come from a problem of the library, whose prior and simulator are known, or from a file of your own. What
    is learned holds for every observation: `inverseflow posterior` draws parameters for one.

    The run folder receives config.yaml, metrics.csv, posterior.json and posterior.safetensors, report.json,
    calibration.png, corner.png, and report.html, a page about it. A sentence at the end says whether the posterior is
    calibrated on pairs that it was not trained on. Ctrl-C ends the training early and keeps its best weights; the same
    command with --resume goes on from there. Until the end, the folder training/ holds what that needs.

    Try:

        inverseflow infer kinematics
        inverseflow infer two-moons --method nsf --simulations 20000 --out runs/moons
        inverseflow infer pairs.csv --parameters a,b --observations y1,y2 --out runs/pairs
        inverseflow infer pairs.csv --parameters "radius [m]",count --bounds "radius [m]=0:2,count=0.."
        inverseflow infer kinematics --method inn --max-steps 2000 --method.width 64 --out runs/inn

    Args:
        source: a problem, such as kinematics, ballistics, two-moons, slcp, gaussian-linear (another word lists all), or
            a CSV, Parquet, NPZ or NPY file of pairs.
        method: cinn (conditional flow), maf, nsf, iaf, inn, inn-ml, iresnet, autoencoder, invauto, vae, cvae,
            maf-reverse or iaf-reverse.
        simulations: number of pairs to simulate; of a file, the first so many. By default 10,000, or all of the file.
        out: the run folder. By default runs/SOURCE.
        overwrite: replace the posterior in the run folder.
        resume: continue the training in the run folder, with the same settings and data.
        seed: seed of the simulations, the weights, the order of the pairs and all noise.
        parameters: columns of the file that are parameters, separated by commas; a name that holds a comma stands in
            double quotes. By default all but the observations. Units belong to the name.
        observations: columns of the file that are observations, likewise. By default all but the parameters.
        bounds: where parameters of a file can lie, NAME=LOW:HIGH or NAME=LOW: for each, separated by commas; of whole
            numbers NAME=LOW..HIGH or NAME=LOW.. instead. No sample leaves them.
        max_steps: training steps. This and the following options are by default those of the method.
        batch_size: pairs in a training step.
        learning_rate: learning rate of Adam at the start; it falls to zero along a cosine.
        patience: stop after that many validations in a row without a new best one.
        quiet: show no progress.
        options: the options of the method.
    """
    check_seed(seed)
    check_counts(simulations=simulations, max_steps=max_steps, batch_size=batch_size, patience=patience)
    if learning_rate is not None and learning_rate <= 0:
        raise OptionError(f"--learning-rate must be above 0, got {learning_rate:g}")
    path = Path(os.path.expanduser(source))
    if source and path.is_dir():
        raise OptionError(f"{path} is a folder: give a problem, or a CSV, Parquet, NPZ or NPY file")
    is_file = path.is_file() or path.suffix.lower() in _FILES
    name = path.name.partition(".")[0] if is_file else source
    run = PosteriorRun(os.path.realpath(os.path.expanduser(out or Path("runs") / (name or "posterior"))))
    if resume and overwrite:
        raise OptionError(
            "--resume continues the training in the run folder, --overwrite replaces it: give one of both"
        )
    run.check_free(resume=resume, overwrite=overwrite)
    files = {"parameters": parameters, "observations": observations, "bounds": bounds}

    from inverseflow.inference import AmortizedPosterior
    from inverseflow.inference.methods import method_entry

    method_entry(method)
    own = {option: value for option, value in asdict(options).items() if value is not None}
    training: dict[str, Any] = {
        "max_steps": max_steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "patience": patience,
        "seed": seed,
    }
    given = {"simulations": simulations, "method": method, **{f"method.{k}": v for k, v in own.items()}}
    command = _command(source, {"out": out} | given | files | training)
    with warnings_said(quiet), _naming_continuation(run, command):
        if is_file:
            pairs = _of_file(path, simulations, seed, files)
            posterior = AmortizedPosterior(
                method,
                support=_support(bounds, pairs),
                parameters=pairs.parameters,
                observations=pairs.observations,
                **own,
            )
        else:
            pairs = _of_problem(source, simulations or _SIMULATIONS, seed, files)
            assert pairs.problem is not None
            posterior = AmortizedPosterior.of(pairs.problem, method, **own)
        _train(posterior, pairs, run, resume=resume, overwrite=overwrite, progress=not quiet, **training)
        if not quiet:
            print("inverseflow: judging the posterior", file=sys.stderr)
        report, diagnosis = _judge(posterior, pairs, name, seed)
        settings = {
            "source": str(path.resolve()) if is_file else source,
            "simulations": simulations if is_file else simulations or _SIMULATIONS,
            **{option: value for option, value in files.items() if is_file},
            "method": {"name": method, **own},
            **training,
        }
        _write(run, settings, posterior, pairs, report, diagnosis)
    print(_closing_lines(report, run, Path(out or run.path)))
    if report["interrupted"]:
        raise TrainingInterrupted(
            f"interrupted after step {report['steps']}; {run.path} holds the posterior of step {report['best_step']}; "
            f"continue with: {command}"
        )


def _train(
    posterior: AmortizedPosterior, pairs: _Pairs, run: PosteriorRun, *, resume: bool, overwrite: bool, **training: Any
) -> None:
    """Train with checkpoints in the run folder, which is left as it was if that fails before the first one."""
    from inverseflow.utils.files import delete

    new = not run.path.exists()
    if overwrite:
        delete(run.training)
    try:
        posterior.fit(pairs.x, pairs.y, checkpoints=run.training, resume=resume, **training)
    except BaseException as error:
        if new and not run.is_unfinished:
            with suppress(OSError):
                run.path.rmdir()
        if isinstance(error, NonFiniteError):
            delete(run.training)  # to continue would come to the same
            raise NonFiniteError(f"{str(error).partition('; a smaller')[0]}; try a smaller --learning-rate") from error
        raise


def _command(source: str, options: dict[str, Any]) -> str:
    """Return the shell command that continues a training."""
    given = {name.replace("_", "-"): value for name, value in options.items() if value is not None}
    return shlex.join(
        ["inverseflow", "infer", source, *(f"--{name}={value}" for name, value in given.items()), "--resume"]
    )


@contextmanager
def _naming_continuation(run: PosteriorRun, command: str) -> Iterator[None]:
    """Make what ends a training that can be continued say how."""
    try:
        yield
    except KeyboardInterrupt:
        if run.is_unfinished:
            raise TrainingInterrupted(f"stopped at once; continue with: {command}") from None
        raise
    except (OSError, CheckpointError, RunError) as error:
        reason = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(reason, OSError) or isinstance(reason, FileNotFoundError) or not run.is_unfinished:
            raise
        what = (reason.strerror or str(reason)).lower()
        raise RunError(f"cannot write to {run.path}: {what}; mend that, and continue with: {command}") from error


@dataclass(frozen=True)
class _Pairs:
    """Pairs to train on, and what the posterior is judged by."""

    x: Tensor
    y: Tensor
    parameters: tuple[str, ...]
    observations: tuple[str, ...]
    judge: Any
    """The problem, or pairs that were held out."""
    shown: tuple[Tensor, Tensor]
    """The parameters and the observation of corner.png."""
    problem: Problem | None = None
    seconds: float = 0.0
    """Time of the simulations."""


def _of_problem(name: str, count: int, seed: int, files: dict[str, str | None]) -> _Pairs:
    from inverseflow.inference.problems import create, problem_names
    from inverseflow.utils.seeding import derived_seed

    if name not in problem_names():
        raise OptionError(
            f"there is no problem {name!r} and no such file: name one of {', '.join(problem_names())}, or a CSV, "
            "Parquet, NPZ or NPY file"
        )
    if given := [f"--{option}" for option, value in files.items() if value is not None]:
        raise OptionError(f"{' and '.join(given)} is of a file; the problem {name} has its own, leave it out")
    problem = create(name)
    start = time.perf_counter()
    x, y = problem.simulate(count, seed=seed)
    seconds = time.perf_counter() - start
    true, seen = problem.simulate(1, seed=derived_seed(seed, "picture"))
    return _Pairs(x, y, problem.parameters, problem.observations, problem, (true[0], seen[0]), problem, seconds)


def _of_file(path: Path, count: int | None, seed: int, files: dict[str, str | None]) -> _Pairs:
    import torch

    from inverseflow.inference import read_pairs
    from inverseflow.inference.posterior import PAIRS_PER_PARAMETER
    from inverseflow.utils.seeding import derived_seed

    parameters, observations = (listed(files[name] or "") for name in ("parameters", "observations"))
    with table_errors():
        pairs = read_pairs(path, parameters=parameters, observations=observations)
    x, y = pairs.x[:count], pairs.y[:count]
    needed = PAIRS_PER_PARAMETER * x.shape[1]
    held_out = min(_JUDGED, max(len(x) // 10, min(_ENOUGH, len(x) // 3)), len(x) - needed)
    if held_out < 1:
        raise OptionError(
            f"{path} has {len(x)} pairs, too few for {x.shape[1]} parameters: give {needed} to learn from, and more to "
            "judge by"
        )
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(derived_seed(seed, "held out")))
    judged, trained = order[:held_out], order[held_out:]
    judge = (x[judged], y[judged])
    return _Pairs(x[trained], y[trained], pairs.parameters, pairs.observations, judge, (judge[0][0], judge[1][0]))


def _support(bounds: str | None, pairs: _Pairs) -> Support | None:
    """Return the support that --bounds describes, or refuse bounds that a parameter of the pairs exceeds."""
    import torch

    from inverseflow.inference import Above, Integer, Interval, Real, Support

    if bounds is None:
        return None
    names = pairs.parameters
    parts: dict[str, Any] = dict.fromkeys(names, Real())
    for text in listed(bounds):
        name, _, ends = text.rpartition("=")
        separator = ".." if ".." in ends else ":"
        low, between, high = ends.partition(separator)
        if name not in parts:
            raise OptionError(f"--bounds names {name or text!r}, which is no parameter: they are {', '.join(names)}")
        try:
            if not between:
                raise ValueError(f"{ends!r} has no colon")
            if separator == "..":
                parts[name] = Integer(int(low), int(high) if high else None)
            else:
                parts[name] = Interval(float(low), float(high)) if high else Above(float(low))
        except ValueError as error:
            raise OptionError(
                f"--bounds takes NAME=LOW:HIGH or NAME=LOW:, with .. for : of whole numbers, got {text!r} ({error})"
            ) from error
        values = torch.cat([pairs.x, pairs.judge[0]])[:, names.index(name)]
        if outside := values[~parts[name].contains(values[:, None])].tolist():
            raise OptionError(
                f"--bounds {text} leaves out {len(outside)} of the file's values, such as {outside[0]:g}: widen it"
            )
    return Support(list(parts.values()))


def _judge(posterior: AmortizedPosterior, pairs: _Pairs, title: str, seed: int) -> tuple[dict[str, Any], Diagnosis]:
    """Return the content of report.json, and the diagnosis for the pictures."""
    import platform
    from importlib.metadata import version

    from inverseflow.inference.diagnostics import Diagnosis, diagnose

    try:
        diagnosis = diagnose(posterior, pairs.judge, simulations=_JUDGED, seed=seed)
    except KeyboardInterrupt:  # what was trained is kept
        diagnosis = Diagnosis(False, "Not judged: interrupted.", pairs.parameters, 0, 0)
    if pairs.problem is None and 0 < diagnosis.simulations < _ENOUGH:
        verdict = f"{diagnosis.verdict.rstrip('.')}: give a file of {3 * _ENOUGH}, a third of which is held out."
        diagnosis = replace(diagnosis, verdict=verdict)
    start = time.perf_counter()
    posterior.sample(pairs.shown[1], 1000, seed=seed)
    result = posterior.result
    assert result is not None
    report = {
        "title": title,
        "trusted": diagnosis.trusted,
        "verdict": diagnosis.verdict,
        "method": posterior.method,
        "has_density": posterior.has_density,
        "parameters": list(pairs.parameters),
        "observations": list(pairs.observations),
        "pairs": len(pairs.x),
        "simulated": pairs.problem is not None,
        "weights": sum(weight.numel() for weight in posterior.model.parameters()),
        "steps": result.steps,
        "best_step": result.best_step,
        "best_value": result.best_value,
        "stopped_early": result.stopped_early,
        "interrupted": result.interrupted or not diagnosis.simulations,
        "sample_ms_per_1000": 1e3 * (time.perf_counter() - start),
        "simulation_seconds": pairs.seconds,
        "training_ms_per_step": _mean([row["ms_per_step"] for row in result.history if "ms_per_step" in row]),
        "diagnosis": diagnosis.as_dict(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("inverseflow", "torch")}},
    }
    return report, diagnosis


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _write(
    run: PosteriorRun,
    settings: dict[str, Any],
    posterior: AmortizedPosterior,
    pairs: _Pairs,
    report: dict[str, Any],
    diagnosis: Diagnosis,
) -> None:
    """Fill the run folder: all files are written before the first one takes its place."""
    import yaml

    from inverseflow.cli.posterior_page import posterior_page
    from inverseflow.inference.diagnostics import calibration_figure, corner_figure
    from inverseflow.training.report.page import write_page
    from inverseflow.training.run.folder import write_metrics
    from inverseflow.utils.files import delete, write_json, write_text

    true, seen = pairs.shown
    reference = None if pairs.problem is None else pairs.problem.reference
    exact = None
    if reference is not None:
        with suppress(ValueError):  # rejection sampling may accept too few for this observation
            exact = reference(seen, _PICTURED, None)
    drawn = posterior.sample(seen, _PICTURED, seed=settings["seed"])
    title = f"{report['title']}: posterior of {report['method']} at {at(pairs.observations, seen)}"
    pictures = {"corner": corner_figure(drawn, pairs.parameters, truth=true, reference=exact, title=title)}
    if diagnosis.sbc is not None:
        pictures["calibration"] = calibration_figure(diagnosis, title=f"{report['title']}, {report['method']}")
    with tempfile.TemporaryDirectory(dir=run.training) as temporary:
        new = PosteriorRun(temporary)
        head = "# The settings of this posterior, as `inverseflow infer` was given them.\n"
        write_text(new.config, head + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
        write_metrics(new.metrics, posterior.result.history if posterior.result else [])
        posterior.save(temporary)
        write_json(new.report, report)
        for name, figure in pictures.items():
            figure.savefig(getattr(new, name), dpi=110, format="png")
        write_page(new.page, posterior_page(new, report, run.path))
        delete(run.calibration)  # there is no other one without a judgment
        for file in new.path.iterdir():
            os.replace(file, run.path / file.name)
    if not report["interrupted"]:
        delete(run.training)


def at(names: tuple[str, ...], y: Tensor) -> str:
    """Return an observation in words.

    Example:
        >>> import torch
        >>> at(("a [m]", "b"), torch.tensor([1.5, 2.0]))
        'a [m] = 1.5, b = 2'
    """
    values = [f"{value:.4g}" for value in y.flatten().tolist()]
    named = [f"{name} = {value}" for name, value in zip(names, values, strict=True)] if names else values
    return ", ".join(named[:4]) + (", …" if len(named) > 4 else "")


def _closing_lines(report: dict[str, Any], run: PosteriorRun, shown: Path) -> str:
    pairs = f"{report['pairs']:,} {'simulations' if report['simulated'] else 'pairs'}"
    early = " (stopped early)" if report["stopped_early"] else ""
    speed = "" if report["training_ms_per_step"] is None else f", {report['training_ms_per_step']:.1f} ms/step"
    contraction = report["diagnosis"]["contraction"]
    named = zip(report["diagnosis"]["parameters"], contraction, strict=False)  # without a judgment there are none
    shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in named)
    judged = report["diagnosis"]["sbc"] is not None
    pictures = ", calibration.png and corner.png" if judged else " and corner.png"
    learned = [f"  contraction: {shares}"] if shares else []
    return "\n".join(
        [
            f"{report['title']}: {report['method']} with {report['weights']:,} weights, {pairs}, "
            f"{report['steps']} steps{early}{speed}",
            f"  {report['verdict']}",
            *learned,
            f"  1000 samples take {report['sample_ms_per_1000']:.0f} ms",
            f"  the posterior, report.html, report.json{pictures} are in {shown}",
        ]
    )
