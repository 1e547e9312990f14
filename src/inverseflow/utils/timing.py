"""Timing of several functions in turn, so that a change of the machine's speed affects all of them."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

_FEWEST_ROUNDS = 3


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call: median and quartiles over the rounds."""

    median: float
    low: float
    high: float
    rounds: int


def time_in_turn(
    functions: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    at_least_ms: float,
    at_most_ms: float,
    device: torch.device,
) -> dict[str, Timing]:
    """Time functions in turn, round after round, after an uncounted warm-up; wait for the device before each reading.

    A measurement repeats a short call for about `at_least_ms` and takes the mean. A slow function gets fewer rounds,
    but at least 3, so that all its rounds take about `at_most_ms`.
    """
    repeats, own_rounds = {}, {}
    for name, function in functions.items():
        once = max(time_once(function, 1, device), 1e-3)
        if _FEWEST_ROUNDS * once < at_most_ms:
            once = max(time_once(function, 1, device), 1e-3)
        repeats[name] = max(1, round(at_least_ms / once))
        affordable = int(at_most_ms / (repeats[name] * once))
        own_rounds[name] = min(rounds, max(_FEWEST_ROUNDS, affordable))
    times: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds):
        for name, function in functions.items():
            if number < own_rounds[name]:
                times[name].append(time_once(function, repeats[name], device))
    return {name: _summary(values) for name, values in times.items()}


def time_once(function: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Return the mean milliseconds of a call without a warm-up, over repeated calls."""
    _wait(device)
    began = time.perf_counter()
    for _ in range(repeats):
        function()
    _wait(device)
    return 1e3 * (time.perf_counter() - began) / repeats


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _summary(values: list[float]) -> Timing:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return Timing(median=median, low=low, high=high, rounds=len(values))
