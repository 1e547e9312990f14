"""The command line: ``python -m applications.energy``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from applications.energy.latents import LatentWindows
from applications.energy.series import Series, calendar, read_series, windows
from benchmarks.command import Parser, execute
from inverseflow.errors import DataError, OptionError
from inverseflow.estimators import false_alarm_threshold

_HOURS, _STEPS, _RATE = 12.0, 1_000, 0.01
_CALIBRATION = 0.2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = Parser(
        prog="python -m applications.energy",
        description="Find unusual stretches in a series of electric load. The usual load at each time of the day and "
        "week is learned from the first part of the series.",
    )
    parser.add_argument("series", type=Path, help="CSV file: a line of names, then a time and a load in each line")
    parser.add_argument("--days", type=float, help="days at the beginning that are usual (default: the first half)")
    parser.add_argument("--hours", type=float, default=_HOURS, help=f"length of a window (default: {_HOURS:g})")
    parser.add_argument("--rate", type=float, default=_RATE, help=f"rate of false alarms (default: {_RATE})")
    parser.add_argument("--steps", type=int, default=_STEPS, help=f"training steps (default: {_STEPS})")
    parser.set_defaults(run=_detect)
    return execute(parser, argv)


def _detect(options: argparse.Namespace) -> None:
    if options.steps < 1:
        raise OptionError(f"--steps must be at least 1, got {options.steps}")
    if not 0 < options.rate < 1:
        raise OptionError(f"--rate must lie between 0 and 1, got {options.rate:g}")
    series = read_series(options.series)
    length = round(float(options.hours * np.timedelta64(3600, "s") / series.step))
    rows, starts = windows(series, length)
    times = series.times[starts]
    half = series.times[0] + (series.times[-1] - series.times[0]) / 2
    end = half if options.days is None else series.times[0] + np.timedelta64(round(options.days * 86_400), "s")
    usual = series.times[starts + length - 1] < end
    later = times >= end
    if usual.sum() < 2 * length or not later.any():
        raise DataError(
            f"{int(usual.sum())} windows of {length} values lie before {end} and {int(later.sum())} after it: both are "
            "needed, and many of the first; choose --days and --hours"
        )
    places = np.flatnonzero(usual)
    train = places[: round((1 - _CALIBRATION) * len(places))]
    held_out = places[np.searchsorted(starts[places], starts[train[-1]] + length) :]  # which share no value with them
    context = calendar(times)
    model = LatentWindows(rows[train], context[train], max_steps=options.steps)
    threshold = false_alarm_threshold(model.log_prob(rows[held_out], context[held_out]), options.rate)
    alarms = np.flatnonzero(later)[model.log_prob(rows[later], context[later]) < threshold.value]
    _report(series, starts[alarms], length, int(later.sum()))


def _report(series: Series, starts: np.ndarray, length: int, count: int) -> None:
    """Print the stretches that windows of alarm cover together."""
    print(f"{len(starts)} of {count} windows after the usual part are unusual")
    for part in np.split(starts, np.flatnonzero(np.diff(starts) > length) + 1):
        if len(part):
            print(f"{series.times[part[0]]} to {series.times[part[-1] + length - 1]}: {len(part)} windows")


if __name__ == "__main__":
    sys.exit(main())
