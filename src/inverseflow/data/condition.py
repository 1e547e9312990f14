"""Conditions: how labels and columns of a table become contexts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

import torch
from torch import Tensor

from inverseflow.errors import DataError
from inverseflow.utils.arguments import listed


class Condition(Protocol):
    """How the values that a user names become contexts ``(N, size)``."""

    @property
    def size(self) -> int:
        """Length K of a context."""

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values that `condition_from_mapping` turns into an equal condition."""


@dataclass(frozen=True)
class LabelCondition:
    """One class of several, as a context with a one at its place.

    Args:
        classes: the names of the classes.

    Example:
        >>> LabelCondition(("cat", "dog")).encode(["dog"])
        tensor([[0., 1.]])
    """

    classes: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def listed(self) -> str:
        """The names of the classes in messages: of many the first ten and their number."""
        return few(self.classes)

    def encode(self, names: Sequence[Any]) -> Tensor:
        """Return the contexts ``(N, size)`` of classes by name; 7 means ``"7"``.

        Raises:
            DataError: if there is no such class; the message lists the classes.
        """
        for name in names:
            if category_name(name) not in self.classes:
                raise DataError(f"there is no class {name!r}: choose one of {self.listed}")
        numbers = [self.classes.index(category_name(name)) for name in names]
        return self.one_hot(torch.tensor(numbers, dtype=torch.long))

    def one_hot(self, labels: Tensor) -> Tensor:
        """Return the contexts ``(N, size)`` of classes by number ``(N,)``.

        Raises:
            DataError: if a number is not from 0 to ``size - 1``.
        """
        outside = (labels < 0) | (labels >= self.size)
        if bool(outside.any()):
            raise DataError(
                f"{int(outside.sum())} of {len(labels)} labels are not from 0 to {self.size - 1}, "
                f"such as {int(labels[outside][0])}: number the classes from 0 on, or leave these examples out"
            )
        return torch.nn.functional.one_hot(labels.long(), self.size).float()

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values for `condition_from_mapping`."""
        return {"kind": "label", "classes": list(self.classes)}


@dataclass(frozen=True)
class ColumnCondition:
    """Columns of a table, as a context: a number as it is, in the table's units, a category as a one at its place.

    Args:
        columns: the names of the columns, in the order of the context.
        categories: the names of the categories of each column that holds categories.

    Example:
        >>> condition = ColumnCondition(("t", "site"), {"site": ("north", "south")})
        >>> condition.encode([{"t": 0.5, "site": "south"}])
        tensor([[0.5000, 0.0000, 1.0000]])
        >>> condition.parse("t=2,site=north")
        tensor([[2., 1., 0.]])
    """

    columns: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @property
    def size(self) -> int:
        """Length of a context: the numbers, and the categories of each other column."""
        return sum(len(self.categories.get(name, ("",))) for name in self.columns)

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return the contexts ``(N, size)`` of rows, each a mapping from column to number or category.

        Raises:
            DataError: if a row lacks a column or has another, a number is not finite, or there is no such category.
        """
        return torch.tensor([self._context(row) for row in rows], dtype=torch.float32).reshape(len(rows), self.size)

    def _context(self, row: Mapping[str, Any]) -> list[float]:
        known = ", ".join(self.columns)
        for name in row:
            if name not in self.columns:
                raise DataError(f"the context has no column {name!r}: give a value for each of {known}")
        context: list[float] = []
        for name in self.columns:
            if name not in row:
                raise DataError(f"the context lacks a value for {name!r}: give a value for each of {known}")
            value = row[name]
            if name in self.categories:
                categories = self.categories[name]
                if category_name(value) not in categories:
                    raise DataError(f"the column {name!r} has no category {value!r}: choose one of {few(categories)}")
                context += [float(category_name(value) == category) for category in categories]
            else:
                context.append(_number(name, value))
        return context

    def parse(self, text: str) -> Tensor:
        """Return the context ``(1, size)`` of text such as ``"t=0.5,site=north"``.

        Raises:
            DataError: as `encode`, or if the text has another form.
        """
        return self.encode([self.named(text)])

    def named(self, text: str) -> dict[str, str]:
        """Return what text such as ``"t=0.5,site=north"`` names, without looking at columns and values.

        Raises:
            DataError: if a part has no "=", or a column stands there twice.
        """
        row: dict[str, str] = {}
        for part in listed(text) or [""]:
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals or name in row:
                problem = f"names {name!r} twice" if equals else f"has no '=' in {part!r}"
                raise DataError(
                    f"the context {text!r} {problem}: write NAME=VALUE for each of {', '.join(self.columns)}"
                )
            row[name] = value
        return row

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values for `condition_from_mapping`."""
        categories = {name: list(names) for name, names in self.categories.items()}
        return {"kind": "columns", "columns": list(self.columns), "categories": categories}


def condition_from_mapping(mapping: Mapping[str, Any]) -> Condition:
    """Return the condition that `to_mapping` described.

    Raises:
        DataError: if the mapping is not one of a condition.

    Example:
        >>> condition_from_mapping(LabelCondition(("cat", "dog")).to_mapping())
        LabelCondition(classes=('cat', 'dog'))
    """
    try:
        if mapping["kind"] == "label":
            return LabelCondition(tuple(map(str, mapping["classes"])))
        if mapping["kind"] == "columns":
            categories = {str(name): tuple(map(str, names)) for name, names in mapping["categories"].items()}
            return ColumnCondition(tuple(map(str, mapping["columns"])), categories)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{mapping!r} describes no condition: write it with to_mapping()") from error
    raise DataError(f"unknown kind of condition {mapping['kind']!r}: choose label or columns")


def mixed(text: str, n: int) -> dict[str, int]:
    """Return how many of n samples each class has, from shares such as ``"cat=0.2,dog=0.8"``.

    Shares are relative to each other. The whole numbers next to them, which add up to n, are those of the largest
    remainders; of equal ones the first.

    Raises:
        DataError: if a part is no NAME=SHARE, a name stands there twice, or the shares are no numbers at least 0 with
            one above.

    Example:
        >>> mixed("cat=0.2,dog=0.8", 7)
        {'cat': 1, 'dog': 6}
    """
    shares: dict[str, Fraction] = {}
    for part in listed(text) or [""]:
        name, equals, value = (piece.strip() for piece in part.rpartition("="))
        if not equals or name in shares:
            problem = f"names {name!r} twice" if equals else f"has no '=' in {part!r}"
            raise DataError(f"the mix {text!r} {problem}: write NAME=SHARE for each class, separated by commas")
        try:
            shares[name] = Fraction(str(float(value)))
        except ValueError:  # also of inf and nan
            shares[name] = Fraction(-1)
        if shares[name] < 0:
            raise DataError(f"the share of {name!r} in the mix must be a finite number at least 0, got {value!r}")
    whole = sum(shares.values())
    if not whole:
        raise DataError(f"the shares of the mix {text!r} are all 0: give one above 0")
    exact = {name: n * share / whole for name, share in shares.items()}
    counts = {name: math.floor(value) for name, value in exact.items()}
    for name in sorted(exact, key=lambda name: counts[name] - exact[name])[: n - sum(counts.values())]:
        counts[name] += 1
    return counts


def few(names: Sequence[str]) -> str:
    """Return names for a message: all, or of many the first ten and their number.

    Example:
        >>> few([str(n) for n in range(300)])
        '0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... (300 in all)'
    """
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:10])}, ... ({len(names)} in all)"


def category_name(value: Any) -> str:
    """Return the name of a category: whole numbers without a point, all else as text without spaces around it.

    Example:
        >>> category_name(3.0), category_name(True), category_name(" 3.0")
        ('3', 'true', '3.0')
    """
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        number = math.nan
    if not abs(number) <= torch.finfo(torch.float32).max:
        raise DataError(f"the column {name!r} of the context must be a finite number, got {value!r}")
    return number
