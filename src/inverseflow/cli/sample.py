"""inverseflow sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from inverseflow.cli.arguments import File, Number, Output, Real, RunFolder, Whole
from inverseflow.cli.checks import check_counts, check_output, check_run, check_seed
from inverseflow.errors import DataError, OptionError, RunError
from inverseflow.utils.arguments import listed

if TYPE_CHECKING:
    from torch import Tensor

    from inverseflow.densities import Density
    from inverseflow.training.run.description import Description

_USUAL_NUMBER, _USUAL_ROW = 100, 10
_IMAGES, _TABLES = (".png", ".npz", ".pt"), (".csv", ".parquet", ".npz", ".npy", ".png", ".pt")
_AUDIO = (".wav", ".npz", ".pt")
_PAUSE = 0.25  # seconds between two samples in one WAV file
_Words = Annotated[tuple[str, ...], Parameter(consume_multiple=False, negative=(), show_default=False)]


def sample(
    run: RunFolder,
    /,
    *,
    number: Number | None = None,
    label: _Words = (),
    context: _Words = (),
    mix: Annotated[str | None, Parameter(show_default=False)] = None,
    given: Annotated[str | None, Parameter(show_default=False)] = None,
    impute: Annotated[File | None, Parameter(show_default=False)] = None,
    candidates: Whole = 1000,
    length: Whole | None = None,
    temperature: Real = 1.0,
    output: Output | None = None,
    seed: Whole = 0,
    batch_size: Whole = 500,
    device: str = "auto",
) -> None:
    """Draw images, points, rows of a table or audio from a trained model.

    An unfinished run is sampled with its best weights so far.

    Try:

        inverseflow sample runs/mnist -n 100 -o samples.png
        inverseflow sample runs/mnist -n 10000 --temperature 0.8 -o samples.npz
        inverseflow sample runs/digits --label 7
        inverseflow sample runs/digits --label all
        inverseflow sample runs/points --context "t=0.5" -n 1000 -o samples.csv
        inverseflow sample runs/points --context "t=0.5" --mix "north=0.2,south=0.8" -n 1000 -o samples.csv
        inverseflow sample runs/maf --given "a=1.5,b=2" -n 1000 -o samples.csv
        inverseflow sample runs/maf --impute gaps.csv -n 5 -o filled.csv
        inverseflow sample runs/audio --length 16000 -o samples.wav

    Args:
        run: the run folder.
        number: number of samples, of each label or context. By default 100, 10 of each of several labels, and one of
            audio.
        label: class of the samples, for a run with --condition label; may be given several times. all stands for every
            class. In a picture each of several labels has its row.
        context: context of the samples, NAME=VALUE for each of its columns, separated by commas, for a run with
            --context-columns; may be given several times. A part that holds a comma stands in double quotes.
        mix: shares of classes in the samples, NAME=SHARE separated by commas: of as many labels, or of as many
            categories or values of the one context column that --context leaves out. The counts are whole and add up to
            --number. A .csv, .parquet or .npz file says in one more column which sample is of which.
        given: values of columns that the model has learned with the others, NAME=VALUE separated by commas; the others
            are drawn from their conditional density. Models do this whose columns follow in one order, if the first
            ones in it are given: made, rosenblatt, and maf and nsf-ar with --model.steps 1.
        impute: a table in which cells are missing: it is written with them drawn given the others of their row, -n
            times, by default once. Where --given could give these others the draws follow the conditional density;
            elsewhere they are chosen among candidates by their weights, and it is said what those are worth.
        candidates: candidates for each row of --impute that needs them.
        length: length of audio, in samples of its sampling rate, for a model that generates any (wavenet). By default
            that of a segment.
        temperature: standard deviation of the latent noise of a flow; of a density without an inverse it divides the
            logits and multiplies the scales. 1 samples the model itself; a smaller value draws fewer unlikely samples.
        output: of images a picture (.png), a NumPy archive with the array "images" (.npz), or a PyTorch tensor (.pt).
            The archive and the tensor hold gray levels, uint8, (N, C, H, W). By default samples.png. Of points and rows
            a table (.csv, .parquet, .npz with an array for each column), an array (.npy), a tensor (.pt), or a picture
            (.png). By default samples.csv. Of audio a recording (.wav, 16-bit, one sample after another with a pause
            between), an archive or a tensor of levels (.npz, .pt). By default samples.wav.
        seed: seed of the noise.
        batch_size: number of samples drawn at a time.
        device: device to compute on: auto, cpu, cuda, cuda:1 ...
    """
    check_counts(number=number, length=length, batch_size=batch_size)
    if candidates < 2:
        raise OptionError(f"--candidates must be at least 2, got {candidates}")
    check_seed(seed)
    if temperature < 0:
        raise OptionError(f"--temperature must be at least 0, got {temperature:g}")
    check_output(output, *dict.fromkeys((*_IMAGES, *_TABLES, *_AUDIO)))
    check_run(run)
    if impute is not None:
        if label or context or mix is not None or given is not None or length is not None or temperature != 1:
            raise OptionError("--impute takes all from its file; leave out other options on what is sampled")
        output = output or Path("samples.csv")
        check_output(output, *(suffix for suffix in _TABLES if suffix != ".png"))
        from inverseflow.cli.imputation import fill_in

        return fill_in(run, impute, number or 1, candidates, output, seed, device)
    import torch

    from inverseflow import training
    from inverseflow.cli.loading import load_density
    from inverseflow.densities import WaveNet
    from inverseflow.training.words import counted

    data = training.describe(run)
    mixture = None if mix is None else _mixture(data, mix, number or _USUAL_NUMBER, label, context)
    contexts = _contexts(data, label, context) if mixture is None else mixture.contexts  # (conditions, K)
    images = data.levels is not None and len(data.event_shape) == 3
    audio = data.sampling_rate is not None and data.levels is not None
    output = output or Path("samples.png" if images else "samples.wav" if audio else "samples.csv")
    check_output(output, *(_IMAGES if images else _AUDIO if audio else _TABLES))
    if length is not None and not audio:
        raise OptionError(f"--length is of audio; {data.title} is none, leave it out")
    rows = contexts is not None and len(contexts) > 1
    each = number or (1 if audio else _USUAL_ROW if rows and images else _USUAL_NUMBER)
    density = load_density(run, device)
    if images and density.levels is None:
        raise RunError(f"{run.path} holds a model of real numbers; only a model of gray levels draws images")
    given_length = None if contexts is None else contexts.shape[1]
    if density.context_shape is not None and density.context_shape != (given_length,):
        raise RunError(f"{run.data} does not fit the model; delete it, and the data of the run are read instead")
    if length is not None:
        if not isinstance(density, WaveNet):
            raise OptionError(
                f"{type(density).__name__} draws segments of {data.event_shape[1]} samples only; leave --length out, "
                "or train a wavenet"
            )
        density = density.with_length(length)
    where = next(density.parameters()).device
    generator = torch.Generator(where).manual_seed(seed)
    known = {} if given is None else _given(density, data, given)
    counts = [each] if contexts is None else [each] * len(contexts) if mixture is None else [*mixture.counts.values()]
    total = sum(counts)
    dtype = torch.float32 if density.levels is None else torch.uint8 if density.levels <= 256 else torch.int64
    try:
        samples = torch.empty(total, *density.event_shape, dtype=dtype)
    except RuntimeError as error:
        of_length = "" if length is None else f" of --length {length}"
        raise OptionError(f"there is no memory for {counted(total, 'sample')}{of_length}; draw less") from error
    if contexts is not None:
        contexts = contexts.repeat_interleave(torch.tensor(counts), 0).to(where)
    for start in range(0, total, batch_size):
        size = min(batch_size, total - start)
        own = None if contexts is None else contexts[start : start + size]
        if known:
            drawn = density.sample_given(size, known, own, temperature=temperature, generator=generator)
        else:
            drawn = density.sample(size, own, temperature=temperature, generator=generator)
        samples[start : start + size] = drawn
    if images:
        _write_images(output, samples, data.levels or 0, each if rows and mixture is None else None)
    elif audio:
        _write_audio(output, samples, data)
    else:
        from inverseflow.cli.tables import write_rows

        write_rows(output, samples, data, None if mixture is None else mixture.column(data))
    are = "is" if total == 1 else "are"
    of_each = "" if mixture is None else f": {', '.join(f'{n} of {name}' for name, n in mixture.counts.items())}"
    print(f"{counted(total, 'sample')} at temperature {temperature:g} {are} in {output}{of_each}")


def _contexts(data: Description, labels: tuple[str, ...], contexts: tuple[str, ...]) -> Tensor | None:
    """Return the contexts that the options name, or refuse options that the condition of the run has no use for."""
    import torch

    from inverseflow.data import ColumnCondition, LabelCondition

    condition = data.condition
    if isinstance(condition, LabelCondition):
        if contexts or not labels:
            raise OptionError(
                f"the samples of this run need --label: one of {condition.listed}, or all for every class"
            )
        return condition.encode(condition.classes if "all" in labels and "all" not in condition.classes else labels)
    if isinstance(condition, ColumnCondition):
        if labels or not contexts:
            names = ",".join(f"{name}=VALUE" for name in condition.columns)
            raise OptionError(f'the samples of this run need --context "{names}"')
        return torch.cat([condition.parse(text) for text in contexts])
    if labels or contexts:
        option = "--label" if labels else "--context"
        raise OptionError(f"{data.title} was trained without a condition; leave {option} out")
    return None


@dataclass(frozen=True)
class _Mixture:
    """How many samples there are of each class or value of one column, and the context of each."""

    name: str
    values: Sequence[Any]
    counts: dict[str, int]
    contexts: Tensor

    def column(self, data: Description) -> dict[str, Any]:
        """Return the column that says which sample is of which class, under a name that is free."""
        import numpy as np

        name = self.name
        while name in data.columns:
            name += "_"
        return {name: np.repeat(np.array(self.values), [*self.counts.values()])}


def _mixture(data: Description, mix: str, number: int, labels: tuple[str, ...], contexts: tuple[str, ...]) -> _Mixture:
    """Return the mixture that --mix names, or refuse it."""
    from inverseflow.data import ColumnCondition, LabelCondition
    from inverseflow.data.condition import mixed

    condition = data.condition
    if isinstance(condition, LabelCondition):
        if labels or contexts:
            raise OptionError("--mix names the labels and their shares; leave --label and --context out")
        counts = mixed(mix, number)
        return _Mixture("label", [*counts], counts, condition.encode([*counts]))
    if isinstance(condition, ColumnCondition):
        row = condition.named(contexts[0]) if contexts else {}
        left = [name for name in condition.columns if name not in row]
        if labels or len(contexts) > 1 or len(left) != 1:
            names = ", ".join(condition.columns)
            raise OptionError(
                f"--mix is of one column of the context ({names}); give the values of all others by one --context"
            )
        counts = mixed(mix, number)
        encoded = condition.encode([{**row, left[0]: name} for name in counts])
        values = [*counts] if left[0] in condition.categories else [float(name) for name in counts]
        return _Mixture(left[0], values, counts, encoded)
    raise OptionError(f"{data.title} was trained without a condition; leave --mix out")


def _write_audio(output: Path, levels: Tensor, data: Description) -> None:
    import torch

    from inverseflow.data.audio import to_pcm
    from inverseflow.data.wav import write_wav

    assert data.sampling_rate is not None
    if output.suffix == ".wav":
        samples = to_pcm(levels[:, 0], data.levels or 0)
        pause = samples.new_zeros(len(samples), round(_PAUSE * data.sampling_rate))
        joined = torch.cat([samples, pause], 1).flatten()
        write_wav(output, joined[: len(joined) - pause.shape[1]], data.sampling_rate)
    else:
        _write_array(output, "levels", levels)


def _given(density: Density, data: Description, text: str) -> dict[int, float]:
    """Return the values of columns by their numbers, or refuse what the model can't be given."""
    from inverseflow.data import ColumnCondition

    whole = [name for name in data.columns if name in data.categories or name in data.lattices]
    order = density.given_order
    if not data.columns:
        raise OptionError(f"--given is of columns of a table; {data.title} has none, leave it out")
    if order is None:
        raise OptionError(
            "this model can't be sampled given columns: train made, rosenblatt, or maf or nsf-ar with --model.steps 1, "
            "or name the columns in --context-columns"
        )
    names = [name.partition("=")[0].strip() for name in listed(text)]
    if unknown := [name for name in names if name and name not in data.columns]:
        raise OptionError(f"--given names the column {unknown[0]!r}, but the model has {', '.join(data.columns)}")
    if len({*names}) < len(names):
        raise OptionError(f"--given names a column twice: {text!r}; name each once")
    if {*names} == {*data.columns}:
        raise OptionError(
            f"--given names all columns ({', '.join(names)}): nothing is left to draw, leave the last out"
        )
    in_order = [data.columns[place] for place in order]
    first = in_order[: len(names)]
    if not names or sorted(names) != sorted(first):
        raise OptionError(
            f"--given takes the first columns in the order {', '.join(in_order)}, got {text!r}; give all before the "
            "last of them, or train with them as --context-columns"
        )
    if wrong := [name for name in names if name in whole]:
        names_of = ", ".join(wrong)
        raise OptionError(f"--given takes no whole numbers or categories ({names_of}); train with them as context")
    try:
        values = ColumnCondition(tuple(names)).parse(text)[0].tolist()
    except DataError as error:
        raise OptionError(str(error).replace("the context", "--given")) from error
    return {data.columns.index(name): value for name, value in zip(names, values, strict=True)}


def _write_images(output: Path, images: Tensor, levels: int, columns: int | None) -> None:
    from inverseflow.training.report import save_grid

    if output.suffix == ".png":
        save_grid(output, images, levels, columns)
    else:
        _write_array(output, "images", images)


def _write_array(output: Path, name: str, values: Tensor) -> None:
    import numpy as np

    from inverseflow.utils.files import atomic_write, write_torch

    if output.suffix == ".npz":
        with atomic_write(output) as aside, aside.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **{name: values.numpy()})
    else:
        write_torch(output, values)
