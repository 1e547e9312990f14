"""Series of load: files, windows, the calendar, and synthetic faults."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inverseflow.errors import DataError, OptionError
from inverseflow.utils.arguments import whole_number

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True)
class Series:
    """Values at times, in order; steps may be missing."""

    times: Any
    """``(T,)``, in seconds (datetime64)."""
    values: Floats
    """``(T,)``."""

    @property
    def step(self) -> Any:
        """The most frequent time between two values."""
        steps, counts = np.unique(np.diff(self.times), return_counts=True)
        return steps[counts.argmax()]


def read_series(path: Path) -> Series:
    """Read a CSV file with a line of names, the time in the first column and the load in the second.

    Raises:
        DataError: if the file is missing or short, a time or a value can't be read, or times do not increase. The
            message names the line.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    times, values = [], []
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if number == 1 or not row:
                continue
            try:
                times.append(np.datetime64(row[0].removesuffix("+00:00"), "s"))
                values.append(float(row[1]))
            except (ValueError, IndexError) as error:
                raise DataError(f"{path}, line {number}: give a time and a number, got {','.join(row)!r}") from error
            if not np.isfinite(values[-1]):
                raise DataError(f"{path}, line {number}: the load is {row[1]}: leave out lines without a value")
            if len(times) > 1 and not times[-1] > times[-2]:
                raise DataError(
                    f"{path}, line {number}: {row[0]} does not come after the time before it: sort the lines"
                )
    if len(times) < 3:
        raise DataError(f"{path} holds {len(times)} values: a series needs more")
    return Series(np.array(times), np.array(values))


def windows(series: Series, length: int, every: int = 1) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return all windows without a gap in time ``(N, length)``, and the places of their first values.

    Args:
        series: the series.
        length: number of values in a window.
        every: number of values between the starts of two windows, counted from the first value of the series.

    Raises:
        OptionError: if the length is less than 2.
        DataError: if no window fits.

    Example:
        >>> times = np.array(["2000-01-01T00", "2000-01-01T01", "2000-01-01T02", "2000-01-01T04"], "datetime64[s]")
        >>> windows(Series(times, np.arange(4.0)), 2)[1].tolist()  # none across the gap after 02:00
        [0, 1]
    """
    if length < 2:
        raise OptionError(f"a window needs at least 2 values, got {length}")
    every = whole_number("every", every, at_least=1)
    starts = np.arange(0, len(series.values) - length + 1, every)
    wanted = (length - 1) * series.step
    starts = starts[series.times[starts + length - 1] - series.times[starts] == wanted]
    if not len(starts):
        raise DataError(f"no window of {length} values without a gap fits into {len(series.values)} values")
    return series.values[starts[:, None] + np.arange(length)], starts


def calendar(times: Any) -> Floats:
    """Return sine and cosine of the time of day and of the day of the week, and the weekend ``(N, 5)``.

    Example:
        >>> calendar(np.array(["2000-01-01T06:00"], "datetime64[s]")).round(2).tolist()  # a Saturday
        [[1.0, 0.0, -0.97, -0.22, 1.0]]
    """
    days = (times - np.datetime64("1969-12-29", "s")) / _DAY  # a Monday
    day, week = 2 * np.pi * (days % 1), 2 * np.pi * (days // 1 % 7) / 7
    return np.stack([np.sin(day), np.cos(day), np.sin(week), np.cos(week), days // 1 % 7 >= 5], 1)


FAULTS = ("spike", "dip", "frozen", "shifted", "scaled")
"""Synthetic faults: the first three are of the meter, the others an unusual day."""


def with_faults(series: Series, count: int, rng: np.random.Generator) -> tuple[Series, Booleans]:
    """Return a series with that many synthetic faults of each kind, and which values are faulty.

    A spike or a dip of two values is 25 % of the mean load, a meter is frozen for 5 hours, and for half a day the load
    of four hours later is taken, or a tenth added. Faults are at least a day apart.
    """
    values, faulty = series.values.copy(), np.zeros(len(series.values), dtype=bool)
    hour = max(1, round(float(np.timedelta64(1, "h") / series.step)))
    day, mean = 24 * hour, series.values.mean()
    slots = np.arange(day // 2, len(values) - day, day)
    if len(slots) < count * len(FAULTS):
        raise DataError(f"{len(values)} values hold {len(slots)} days: too few for {count * len(FAULTS)} faults")
    for number, slot in enumerate(rng.permutation(slots)[: count * len(FAULTS)]):
        kind = FAULTS[number % len(FAULTS)]
        start = slot + int(rng.integers(day // 4))
        length = {"spike": 2, "dip": 2, "frozen": 5 * hour}.get(kind, day // 2)
        part = slice(start, start + length)
        if kind in ("spike", "dip"):
            values[part] += (1 if kind == "spike" else -1) * 0.25 * mean
        elif kind == "frozen":
            values[part] = values[start]
        elif kind == "shifted":
            values[part] = series.values[start + 4 * hour : start + 4 * hour + length]
        else:
            values[part] *= 1.1
        faulty[part] = True
    return Series(series.times, values), faulty
