import time

import torch

from inverseflow.utils.timing import time_in_turn

CPU = torch.device("cpu")


def test_functions_take_turns_after_a_warm_up():
    calls = []
    time_in_turn(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")},
        rounds=3,
        at_least_ms=0.0,
        at_most_ms=1e9,
        device=CPU,
    )
    assert "".join(calls) == "aabb" + "ab" * 3


def test_a_slow_function_gets_fewer_rounds():
    timings = time_in_turn(
        {"slow": lambda: time.sleep(0.01), "fast": lambda: None}, rounds=20, at_least_ms=0, at_most_ms=15, device=CPU
    )
    assert (timings["slow"].rounds, timings["fast"].rounds) == (3, 20)


def test_quartiles_surround_the_median():
    timing = time_in_turn({"a": lambda: None}, rounds=5, at_least_ms=0.0, at_most_ms=1e9, device=CPU)["a"]
    assert timing.low <= timing.median <= timing.high
