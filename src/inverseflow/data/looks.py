"""A look at the columns of a table: where they have no density, because values repeat or columns depend on others."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inverseflow.errors import DataError

Floats = npt.NDArray[np.float64]
LatticePolicy = Literal["dequantize", "refuse", "ignore"]
"""What becomes of columns without a density: dequantize lattices and refuse others, refuse all, or model all as
continuous."""

_ALL_DIFFERENT = 0.9  # a continuous column has as many values as rows; rounding and duplicates may cost a tenth
_FINEST = 1e-4  # a flow resolves no finer steps, in deviations of the column
_LARGEST = 2**24  # whole numbers below this are exact in float32
_COUNTABLE = 2**53  # and below this in float64
_ATOM, _FEWEST = 0.05, 5  # a value in more than this share and number of the rows is no accident
_REPEATED = 1 / 3
_DEPENDENT = 1e-6
_SHOWN = 6


@dataclass(frozen=True)
class Lattice:
    """Equally spaced values: ``offset + k · step`` for whole numbers k.

    Example:
        >>> lattice = Lattice(step=0.5)
        >>> lattice.numbers(np.array([1.0, 2.5])), lattice.values(np.array([2.0, 5.0]))
        (array([2., 5.]), array([1. , 2.5]))
    """

    step: float
    offset: float = 0.0

    def numbers(self, values: npt.ArrayLike) -> Floats:
        """Return the whole numbers k of values, of other values the nearest ones."""
        numbers: Floats = np.round((np.asarray(values, np.float64) - self.offset) / self.step)
        return numbers + 0.0  # −0 + 0 is 0

    def values(self, numbers: npt.ArrayLike) -> Floats:
        """Return the values of whole numbers k, without the last digit, which is rounding."""
        values = self.offset + np.asarray(numbers, np.float64) * self.step
        digits = 13 - math.ceil(math.log10(max(float(np.abs(values).max(initial=0)), self.step)))
        rounded: Floats = np.round(values, digits)
        return rounded

    def __str__(self) -> str:
        return "whole numbers" if self.step == 1 and not self.offset else f"steps of {self.step:g}"


def find_lattice(values: Floats, precision: float = 2.0**-52) -> Lattice | None:
    """Return the coarsest lattice that holds a column, None if the column is as good as continuous.

    It is if nearly all values differ, or if the steps are below a ten-thousandth of its deviation.

    Args:
        values: ``(N,)``, all finite.
        precision: relative rounding error of the values.

    Example:
        >>> find_lattice(np.arange(100) % 7 * 0.01)
        Lattice(step=0.01, offset=0.0)
        >>> find_lattice(np.random.default_rng(0).normal(size=100)) is None
        True
    """
    distinct = np.unique(values)
    if len(distinct) < 2 or len(distinct) > _ALL_DIFFERENT * len(values):
        return None
    low, high = np.quantile(values, [0.25, 0.75])
    deviation = float((high - low) / 1.35) or float(values.std())  # extreme values must not hide a lattice
    rounding = 4 * precision * float(np.abs(distinct).max())
    units = [10.0 ** -math.floor(5 - math.log10(deviation)), float(np.diff(distinct).min())]
    if not (distinct % 1).any():
        units, rounding = [1.0], 0.0
    for unit in units:
        numbers = (distinct - distinct[0]) / unit
        if rounding > 0.05 * unit or numbers[-1] > _COUNTABLE:
            continue
        if np.abs(numbers - np.round(numbers)).max() > max(rounding / unit, 1e-6):
            continue
        step = float(f"{unit * int(np.gcd.reduce(np.round(numbers).astype(np.int64))):.12g}")
        first = distinct[0] / step
        on_zero = abs(first - round(first)) * step <= max(rounding, 1e-6 * step)
        on_zero = (
            on_zero and np.abs(distinct).max() < _LARGEST * step
        )  # far from zero, numbers are counted from the least
        lattice = Lattice(step, 0.0 if on_zero else float(f"{distinct[0]:.12g}"))
        fits = step >= _FINEST * deviation and np.abs(lattice.numbers(distinct)).max() < _LARGEST
        return lattice if fits else None
    return None


def look_at(
    columns: Mapping[str, Floats], precisions: Mapping[str, float], policy: LatticePolicy, where: str
) -> tuple[dict[str, Lattice], tuple[str, ...]]:
    """Return the lattices that are to be dequantized, and notes for the user.

    Args:
        columns: the columns of numbers, ``(N,)`` each.
        precisions: relative rounding error of each.
        policy: what becomes of columns without a density.
        where: the table, in messages.

    Raises:
        DataError: if a column has no density and the policy does not take it. The message names the remedy.
    """
    if policy not in get_args(LatticePolicy):
        raise DataError(f"unknown lattice {policy!r}: choose one of {', '.join(get_args(LatticePolicy))}")
    found = {name: find_lattice(column, precisions[name]) for name, column in columns.items()}
    lattices = {name: lattice for name, lattice in found.items() if lattice is not None}
    continuous = {name: column for name, column in columns.items() if name not in lattices}
    without = [*_atoms(continuous), *_dependency(continuous)]
    if policy != "dequantize":
        without = [f"{lattices_in_words(lattices)}: dequantize (lattice='dequantize', --lattice dequantize)"] * bool(
            lattices
        ) + without
    if without and policy != "ignore":
        raise DataError(
            f"{where} has columns without a density, where the likelihood has no bound: {'; '.join(without)}; "
            "or model all as continuous nevertheless (lattice='ignore', --lattice ignore)"
        )
    notes = [f"columns without a density, modeled as continuous: {'; '.join(without)}"] if without else []
    if policy == "dequantize" and lattices:
        notes.append(
            f"columns on lattices, dequantized so that their probability is modeled: {lattices_in_words(lattices)}"
        )
    return {} if policy == "ignore" else lattices, (*notes, *_repeats(continuous))


def lattices_in_words(lattices: Mapping[Any, Lattice]) -> str:
    """Return which columns lie on which lattices."""
    by_kind: dict[str, list[Any]] = {}
    for name, lattice in lattices.items():
        by_kind.setdefault(str(lattice), []).append(name)
    return ", ".join(f"{listed_columns(names)} ({kind})" for kind, names in by_kind.items())


def _atoms(columns: Mapping[str, Floats]) -> list[str]:
    """Return a sentence on the columns that hold one value too often for a density."""
    found = []
    for name, column in columns.items():
        distinct, counts = np.unique(column, return_counts=True)
        most = int(counts.argmax())
        if counts[most] > max(_FEWEST, _ATOM * len(column)) and len(distinct) > 1:
            found.append(f"{name!r} is {distinct[most]:g} in {100 * counts[most] / len(column):.0f} % of the rows")
    if not found:
        return []
    shown = ", ".join([*found[:_SHOWN], *([f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else [])])
    them = "it" if len(found) == 1 else "them"
    return [f"{shown}: leave {them} out, or name {them} among context_columns (--context-columns)"]


def _dependency(columns: Mapping[str, Floats]) -> list[str]:
    """Return a sentence if some columns determine another linearly."""
    if len(columns) < 2:
        return []
    values = np.stack([column - column.mean() for column in columns.values()], 1)
    deviations = values.std(0)
    if not deviations.all():
        return []  # a constant column, which is refused elsewhere
    _, singular, directions = np.linalg.svd(np.linalg.qr(values / deviations, mode="r"))
    if singular[-1] >= _DEPENDENT * singular[0]:
        return []
    involved = [name for name, weight in zip(columns, directions[-1], strict=True) if abs(weight) > 0.01]
    return [f"{listed_columns(involved)} depend on each other linearly: leave one of them out"]


def _repeats(columns: Mapping[str, Floats]) -> list[str]:
    """Return a note if many rows share their values with others, although no lattice holds them."""
    shares = {}
    for name, column in columns.items():
        _, place, counts = np.unique(column, return_inverse=True, return_counts=True)
        share = float((counts[place.reshape(-1)] > 1).mean())
        if share > _REPEATED:
            shares[name] = share
    if not shares:
        return []
    most = 100 * max(shares.values())
    return [
        f"up to {most:.0f} % of the rows share their value of {listed_columns(list(shares))} with others, where the "
        "likelihood can grow without bound: add noise as wide as the rounding, or round to equal steps"
    ]


def in_table_units(rows: Tensor, columns: Sequence[str], lattices: Mapping[str, Lattice]) -> Tensor:
    """Return rows ``(N, D)`` with the values of lattices in place of their numbers, in ``float64``."""
    converted = rows.double()
    for place, name in enumerate(columns):
        if name in lattices:
            converted[:, place] = torch.from_numpy(lattices[name].values(converted[:, place].numpy()))
    return converted


def listed_columns(names: Sequence[Any]) -> str:
    """Return the first names, quoted."""
    return ", ".join([*map(repr, names[:_SHOWN]), *(["..."] if len(names) > _SHOWN else [])])
