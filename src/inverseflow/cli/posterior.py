"""inverseflow posterior."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from inverseflow.cli.arguments import File, Number, Output, Whole
from inverseflow.cli.checks import check_counts, check_output, check_seed
from inverseflow.cli.posterior_run import PosteriorFolder, table_errors, warnings_said
from inverseflow.errors import DataError, OptionError
from inverseflow.utils.arguments import listed

if TYPE_CHECKING:
    from torch import Tensor

    from inverseflow.inference import AmortizedPosterior

_TABLES = (".csv", ".parquet", ".npz", ".npy", ".pt")
_IMPOSSIBLE = 1e-3  # probability of an observation as far out
_LEAST = 1e-12  # probability that is printed: no tail is known further out
_PICTURES, _SUMMARIES = 20, 5  # observations that are drawn, at most, and that are summed up


def posterior(
    run: PosteriorFolder,
    /,
    *,
    y: Annotated[str | None, Parameter(allow_leading_hyphen=True, show_default=False)] = None,
    observation: Annotated[File | None, Parameter(show_default=False)] = None,
    number: Number = 1000,
    output: Output = Path("samples.csv"),
    picture: Annotated[File | None, Parameter(show_default=False)] = None,
    seed: Whole = 0,
) -> None:
    """Draw parameters from a posterior that `inverseflow infer` has learned, given an observation.

    An observation that the simulator could hardly have made is flagged: by a warning, in the title of the picture, and
    by 1 in a column "unlikely" of the table. A posterior that was not found calibrated says so each time.

    Try:

        inverseflow posterior runs/arm --y 1.5,0.5
        inverseflow posterior runs/arm --y "hand 1=1.5,hand 2=0.5" -n 10000 -o samples.parquet --picture corner.png
        inverseflow posterior runs/arm --observation seen.csv -n 1000 -o samples.csv

    Args:
        run: the run folder of `inverseflow infer`.
        y: the observation: its numbers in the order of training, or NAME=VALUE for each, separated by commas. A part
            that holds a comma stands in double quotes.
        observation: a file with observations, one in each row, with the columns of training (CSV, Parquet, NPZ, NPY);
            other columns are named and ignored. Of observations that are no rows, an NPZ or NPY file with one array.
        number: number of samples for each observation.
        output: a table with a column for each parameter (.csv, .parquet, .npz), or an array (n, D) (.npy, .pt). For
            several observations a column "row" counts them from 0, and an array is (m, n, D).
        picture: a picture of the samples, .png; of several observations one each, with a number in its name.
        seed: seed of the samples.
    """
    check_counts(number=number)
    check_seed(seed)
    check_output(output, *_TABLES)
    if picture is not None and (picture.suffix != ".png" or picture.is_dir()):
        raise OptionError(f"--picture must be a file that ends in .png, got {picture}")
    if (y is None) == (observation is None):
        raise OptionError("give one observation by --y, or a file of some by --observation")
    run.check()
    from inverseflow.inference import AmortizedPosterior
    from inverseflow.training.words import counted

    learned = AmortizedPosterior.load(run.path)
    results = run.results()
    seen = _typed(learned, y) if y is not None else _read(learned, observation)  # (m, *shape)
    if picture is not None and len(seen) > _PICTURES:
        raise OptionError(f"--picture draws at most {_PICTURES} observations, got {len(seen)}: give fewer rows")
    names = learned.parameters or tuple(
        f"x{place}" for place in range(learned.support.columns if learned.support else 0)
    )
    try:
        samples = learned.sample(seen, number, seed=seed)  # (m, n, D)
    except (RuntimeError, MemoryError) as error:
        if "memory" not in str(error) and not isinstance(error, MemoryError):
            raise
        total = counted(number * len(seen), "sample")
        raise OptionError(
            f"there is no memory for {total}; draw fewer (-n), or fewer observations at a time"
        ) from error
    surprises = learned.surprise(seen).tolist()
    unlikely = [value < _IMPOSSIBLE for value in surprises]
    if not results.get("trusted", False):
        print(f"inverseflow: WARNING: {results.get('verdict', 'the posterior was not judged')}", file=sys.stderr)
    for row, value in enumerate(surprises):
        if unlikely[row]:
            which = "this observation" if len(seen) == 1 else f"the observation in row {row}"
            share = f"{value:.1g}" if value >= _LEAST else f"below {_LEAST:g}"
            print(
                f"inverseflow: WARNING: the simulator could hardly have made {which} (one as far out has probability "
                f"{share}), so its posterior means nothing",
                file=sys.stderr,
            )
    _write(output, samples, names, unlikely)
    if picture is not None:
        _draw(picture, samples, names, learned, seen, unlikely)
    print(_summary(samples, names, learned, seen))
    print(
        f"{counted(number, 'sample')}{'' if len(seen) == 1 else f' for each of {len(seen)} observations'} in {output}"
    )


def _typed(learned: AmortizedPosterior, text: str) -> Tensor:
    """Return the observation in the text of --y, ``(1, M)``."""
    import torch

    names, shape = learned.observations, learned.observation_shape
    if len(shape) != 1:
        raise OptionError(f"an observation of this posterior has shape {shape}: give it as a file, by --observation")
    parts = listed(text)
    if names and all("=" in part for part in parts):
        given = {part.rpartition("=")[0].strip(): part.rpartition("=")[2] for part in parts}
        if len(parts) != len(names) or set(given) != set(names):
            raise OptionError(f"--y takes a value for each of {', '.join(names)}, got {text!r}")
        parts = [given[name] for name in names]
    wanted = f"{shape[0]} numbers" + (f" ({', '.join(names)})" if names else "")
    if len(parts) != shape[0]:
        raise OptionError(f"--y takes {wanted}, separated by commas, got {len(parts)} in {text!r}")
    values = []
    for part in parts:
        try:
            values.append(float(part))
        except ValueError:
            raise OptionError(f"--y takes {wanted}, got {part!r}") from None
    tensor = torch.tensor([values], dtype=torch.float64)
    if not bool(tensor.isfinite().all()):
        raise OptionError(f"--y takes finite numbers, got {text!r}")
    return tensor


def _read(learned: AmortizedPosterior, path: Path | None) -> Tensor:
    """Return the observations in a file, ``(m, *shape)``."""
    import numpy as np
    import torch

    from inverseflow.inference import read_observations

    assert path is not None
    shape = learned.observation_shape
    if learned.observations:
        with table_errors(), warnings_said():
            return read_observations(path, learned.observations)
    try:
        with np.load(path, allow_pickle=False) if path.suffix == ".npz" else nullcontext() as arrays:
            array = next(iter(arrays.values())) if arrays is not None else np.load(path, allow_pickle=False)
            values = torch.from_numpy(np.asarray(array, dtype=np.float64))
    except (OSError, ValueError, TypeError, StopIteration, EOFError) as error:
        raise DataError(
            f"{path} cannot be read as an array ({error}): give an NPY file, or an NPZ file of one array"
        ) from error
    return values.reshape(-1, *shape) if tuple(values.shape) == shape else values


def _write(path: Path, samples: Tensor, names: tuple[str, ...], unlikely: list[bool]) -> None:
    """Write samples ``(m, n, D)``."""
    import numpy as np

    from inverseflow.cli.tables import write_columns

    count, number, _ = samples.shape
    columns: dict[str, Any] = {}
    if count > 1:
        columns["row"] = np.arange(count).repeat(number)
    if any(unlikely):
        columns["unlikely"] = np.array(unlikely, dtype=np.int64).repeat(number)
    if taken := [name for name in columns if name in names]:
        raise OptionError(f"a parameter is called {taken[0]!r}, as a column of the table is: write an array (.npy)")
    columns |= dict(zip(names, samples.flatten(0, 1).T.numpy(), strict=True))
    write_columns(path, columns, samples if count > 1 else samples[0])


def _draw(
    path: Path, samples: Tensor, names: tuple[str, ...], learned: AmortizedPosterior, seen: Tensor, unlikely: list[bool]
) -> None:
    from inverseflow.cli.infer import at
    from inverseflow.inference.diagnostics import corner_figure
    from inverseflow.utils.files import atomic_write

    for row, (drawn, y) in enumerate(zip(samples, seen, strict=True)):
        title = f"posterior at {at(learned.observations, y)}"
        if unlikely[row]:
            title += "\nWARNING: the simulator could hardly have made this observation"
        own = path if len(seen) == 1 else path.with_stem(f"{path.stem}-{row}")
        with atomic_write(own) as temporary:
            corner_figure(drawn, names, title=title).savefig(temporary, dpi=110, format="png")


def _summary(samples: Tensor, names: tuple[str, ...], learned: AmortizedPosterior, seen: Tensor) -> str:
    """Return mean, deviation and 95 % interval of each parameter, for the first observations."""
    import torch

    from inverseflow.cli.infer import at

    lines, width = [], max(map(len, names))
    levels = torch.tensor([0.025, 0.975], dtype=torch.float64)
    for drawn, y in zip(samples[:_SUMMARIES].double(), seen, strict=False):
        lines.append(at(learned.observations, y))
        for name, values in zip(names, drawn.T, strict=True):
            low, high = torch.quantile(values[: 2**24], levels).tolist()
            spread = values.std().item() if len(values) > 1 else 0.0
            lines.append(
                f"  {name:<{width}}  {values.mean().item():.4g} ± {spread:.2g}   95 %: {low:.4g} to {high:.4g}"
            )
    if len(samples) > _SUMMARIES:
        lines.append(f"and {len(samples) - _SUMMARIES} observations more")
    return "\n".join(lines)
