from dataclasses import asdict

import pytest

from experiments.result import Result, Row
from experiments.speed import Effort
from experiments.speedup import EXPERIMENTS, GLOW, OURS, PLAIN, SOLVER, Comparison, build, measure
from inverseflow import flows

SMALL = Comparison((1, 16, 16), 2, 1, 8)
EFFORT = Effort(2, 2, 50)


@pytest.fixture(scope="module")
def measured():
    return measure(SMALL, EFFORT, "cpu")


def test_every_named_flow_takes_part():
    classes = {type(flow) for flow in build(SMALL).values()}
    assert {cls for cls in vars(flows).values() if isinstance(cls, type) and issubclass(cls, flows.ImageFlow)} - {
        flows.ImageFlow
    } <= classes


def test_sampling_inverse_flow_calls_no_solve(measured):
    assert (measured[OURS]["solves"], measured[OURS]["convolutions"]) == (0, 2)
    assert measured[OURS]["largest_matrix"] == 8  # of the 1×1 convolutions


def test_sampling_the_alternatives_solves(measured):
    assert (measured[SOLVER]["solves"], measured[SOLVER]["convolutions"]) == (2, 0)
    assert measured["FInC Flow"]["solves"] == measured["CInC Flow"]["solves"] == 2
    assert measured["Emerging"]["solves"] == 4
    assert measured["SNF, exact inverse"]["largest_matrix"] == 256


def test_every_flow_returns_to_its_images(measured):
    assert all(values["wrong_pixels"] == 0 for values in measured.values())


def test_both_claims_are_printed_with_their_ratios():
    times = {OURS: 2.0, GLOW: 1.0, SOLVER: 3.0, PLAIN: 50.0}
    rows = [
        Row(
            name,
            "architecture",
            {"effort": asdict(EFFORT)},
            {
                "sample": {"median": time, "low": time, "high": time, "rounds": 3},
                "solves": int(name == SOLVER),
                "convolutions": 2,
                "largest_matrix": 8,
                "round_trip_error": 1e-5,
            },
        )
        for name, time in times.items()
    ]
    text = "\n".join(EXPERIMENTS[0].parts(Result("speedup", "quick", 1, {}, True, tuple(rows))))
    assert "takes 25.0 times as long by substitution, pixel by pixel, and 1.50 times" in text
    assert "Inverse-Flow takes 2.00 times as long" in text
    assert "Sampling Inverse-Flow contains no k×k solve" in text
