import json
from dataclasses import replace

import pytest

from experiments.__main__ import main
from experiments.blocks import LINES, TOLERANCE, compared, count, options_of
from experiments.experiment import Settings
from experiments.result import Result, Row


@pytest.mark.parametrize("budget", ["smoke", "quick", pytest.param("full", marks=pytest.mark.slow)])
def test_all_lines_have_the_same_number_of_parameters(budget, tmp_path):
    settings = Settings(budget, tmp_path)
    options = {name: options_of(name, settings) for name in LINES}
    counts = {name: count(each) for name, each in options.items()}
    assert max(counts.values()) / counts["1×1, convolutional"] <= 1 + TOLERANCE
    assert min(counts.values()) / counts["1×1, convolutional"] >= 1 - TOLERANCE
    plain = {str(replace(each, model=options["gated residual"].model, out=None)) for each in options.values()}
    assert len(plain) == 1, "lines differ in the model alone"


def test_a_difference_is_said_with_its_error_and_only_beyond_two_of_them():
    rows = [
        Row(name, "seed 0", {}, {"bits_per_dim": bits, "bits_per_dim_stderr": 0.03})
        for name, bits in {"a": 1.0, "b": 1.2, "c": 1.05}.items()
    ]
    result = Result("blocks", "smoke", 1, {"device": "cpu"}, True, tuple(rows))
    assert compared(result, "a", "b") == "a needs 0.200 ± 0.042 bits/dim fewer than b"
    assert compared(result, "b", "a") == "b needs 0.200 ± 0.042 bits/dim more than a"
    assert compared(result, "a", "c") == "a and c do not differ by two standard errors (0.050 ± 0.042 bits/dim)"


@pytest.mark.slow
def test_the_command_trains_every_line_and_prints_the_parameters_that_were_trained(tmp_path):
    assert main(["blocks", "--budget", "smoke", "-o", str(tmp_path)]) == 0
    result = Result.from_json(json.loads((tmp_path / "blocks.json").read_text()))
    assert result.names == list(LINES)
    settings = Settings("smoke", tmp_path)
    for row in result.rows:
        assert row.values["parameters"] == count(options_of(row.name, settings))
