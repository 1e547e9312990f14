"""Molecules with a wanted log P, drawn from a density of SELFIES given log P."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

import inverseflow
from benchmarks.markdown import table
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.folders import data_folder
from experiments.result import Result, Values
from inverseflow.densities import MADE, Density
from inverseflow.flows import NICE
from inverseflow.utils.seeding import seeded

_WANTED = (0.0, 1.0, 2.0, 3.0, 4.0)
_MADE, _NICE, _NEAREST, _RANDOM = "MADE", "NICE, dequantized", "nearest of the data", "random of the data"
_HELD_OUT = 0.1
_SHOWN = 6


@dataclass(frozen=True)
class Size:
    """Amount of data, training and molecules."""

    molecules: int
    steps: int
    width: int
    drawn: int
    """Molecules drawn for each wanted log P."""


SIZES: dict[Budget, Size] = {
    "smoke": Size(300, 10, 32, 10),
    "quick": Size(50_000, 5_000, 768, 500),
    "full": Size(200_000, 100_000, 2048, 2_000),
}


def measure(size: Size, data_dir: Path | None) -> dict[str, Values]:
    """Train both densities and compare what they draw with molecules of the data.

    Args:
        size: amount of everything.
        data_dir: folder that holds ``molecules/``.
    """
    from experiments.molecules.strings import Alphabet, log_p, read_molecules

    smiles, symbols = read_molecules(data_folder("molecules", data_dir), size.molecules)
    alphabet = Alphabet.of(symbols, max(map(len, symbols)) + 1)
    bits, found = alphabet.encode(symbols), log_p(smiles)
    held_out = round(_HELD_OUT * len(bits))
    train, contexts = bits[held_out:], found[held_out:, None]
    known = set(smiles[held_out:])
    values: dict[str, Values] = {}
    with seeded(0, "molecules", "weights"):
        models: dict[str, Density] = {
            _MADE: MADE((train.shape[1],), levels=2, width=size.width, depth=2, context_channels=1),
            _NICE: NICE(
                (train.shape[1],),
                width=size.width // 2,
                steps=4,
                integer_columns=range(train.shape[1]),
                context_channels=1,
            ),
        }
    for name, model in models.items():
        began = time.perf_counter()
        inverseflow.fit(
            model,
            train if name == _MADE else train.float(),
            contexts,
            max_steps=size.steps,
            batch_size=min(500, len(train) // 2),
            learning_rate=2e-3 if name == _MADE else 1e-3,
            clip_norm=5.0,
            progress=False,
        )
        seconds = time.perf_counter() - began
        test = bits[:held_out] if name == _MADE else bits[:held_out].float()
        with torch.no_grad(), seeded(0, "molecules", name):
            nats = -torch.cat(
                [model.log_prob(x, c) for x, c in zip(test.split(500), found[:held_out, None].split(500), strict=True)]
            )
            drawn = {
                wanted: alphabet.decode(model.sample(size.drawn, torch.tensor([wanted])).round().clamp(0, 1))
                for wanted in _WANTED
            }
        values[name] = {
            "seconds": seconds,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "likelihood": model.likelihood,
            "nats": float(nats.mean()),
            "nats_stderr": float(nats.std() / len(nats) ** 0.5),
            "wanted": {f"{wanted:g}": _judged(molecules, wanted, known) for wanted, molecules in drawn.items()},
        }
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(0))[: size.drawn].tolist()
    data = smiles[held_out:]
    for name in (_NEAREST, _RANDOM):
        chosen = {wanted: _of_data(name, data, found[held_out:], wanted, order) for wanted in _WANTED}
        values[name] = {"wanted": {f"{wanted:g}": _judged(each, wanted, known) for wanted, each in chosen.items()}}
    values[_MADE]["symbols"] = len(alphabet.symbols)
    return values


def _of_data(name: str, data: Sequence[str], found: Tensor, wanted: float, order: list[int]) -> list[str | None]:
    rows = (found - wanted).abs().argsort()[: len(order)].tolist() if name == _NEAREST else order
    return [data[row] for row in rows]


def _judged(molecules: Sequence[str | None], wanted: float, known: set[str]) -> Values:
    from experiments.molecules.strings import diversity, log_p

    valid = [each for each in molecules if each is not None]
    unique = sorted(set(valid))
    errors = (log_p(unique) - wanted).abs()
    return {
        "valid": len(valid) / len(molecules),
        "unique": len(unique) / max(1, len(valid)),
        "new": sum(each not in known for each in unique) / max(1, len(unique)),
        "error": float(errors.mean()) if unique else None,
        "within": float((errors < 0.3).float().mean()) if unique else None,
        "diversity": diversity(unique[:300]),
        "log_p": log_p(unique).tolist(),
        "shown": unique[:_SHOWN],
    }


def _tasks(settings: Settings) -> list[Task]:
    import_module("experiments.molecules.strings")  # refuses a missing package before anything is measured
    size = SIZES[settings.budget]
    lines = {name: asdict(size) for name in (_MADE, _NICE, _NEAREST, _RANDOM)}
    return [Task("molecules", lines, partial(measure, size, settings.data_dir))]


def _parts(result: Result) -> list[str]:
    rows = []
    for row in result.rows:
        for wanted, values in row.values["wanted"].items():
            rows.append(
                [
                    f"{row.name}, log P = {wanted}",
                    f"{values['valid']:.1%}",
                    f"{values['unique']:.1%}",
                    f"{values['new']:.1%}",
                    "" if values["error"] is None else f"{values['error']:.2f}",
                    "" if values["within"] is None else f"{values['within']:.1%}",
                    f"{values['diversity']:.3f}",
                ]
            )
    trained = [row for row in result.rows if "nats" in row.values]
    fits = "; ".join(
        f"{row.name}: {row.values['parameters']:,} parameters, {row.values['seconds']:.0f} s, "
        f"{row.values['nats']:.2f} ± {row.values['nats_stderr']:.2f} nats of a held-out molecule "
        f"({row.values['likelihood'] if row.values['likelihood'] == 'exact' else 'upper bound'})"
        for row in trained
    )
    head = ["molecules", "valid", "different", "new", "mean error of log P", "error < 0.3", "diversity"]
    return [
        f"{fits}.",
        table(head, rows),
        "Valid: decodes to a molecule. Different and new: shares of valid ones, and of different ones that are not "
        "among those of the training. Errors and diversity are of different molecules; diversity is 1 minus the mean "
        "Tanimoto similarity of Morgan fingerprints.",
    ]


def _draw(result: Result) -> Figure:
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, name in zip(axes, (_MADE, _NICE), strict=True):
        wanted = result.parts(name)[0].values["wanted"]
        found = [values["log_p"] or [float("nan")] for values in wanted.values()]
        axis.violinplot(found, [float(each) for each in wanted], widths=0.7, showmedians=True)
        axis.plot(_WANTED, _WANTED, color="black", linewidth=0.8, linestyle="--")
        axis.set_title(name)
        axis.set_xlabel("wanted log P")
    axes[0].set_ylabel("log P of the molecules drawn")
    return figure


EXPERIMENTS = (
    Experiment(
        name="molecules",
        title="Molecules with a wanted log P",
        about="""
Which molecules have a wanted log P, the logarithm of the partition coefficient between octanol and water? Molecules of
the MOSES benchmark (a subset of its training set, so that nothing here compares with its figures) are written as
SELFIES, whose every string is a molecule, and those as bits of one length. MADE has an exact density of bits given log
P. NICE on dequantized bits is a small form of the published model (Hu, Journal of Biomedical Science and Engineering
14(7), 2021), which we reconstructed from its text; it was trained there on QM9. Beside them stand molecules of the
data: the nearest to the wish, and random ones. Needs RDKit and selfies: `pip install 'inverseflow[molecules]'`.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
    ),
)
