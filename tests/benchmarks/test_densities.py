import json
from importlib.util import find_spec

import pytest

from benchmarks.__main__ import main


def test_the_command_prints_likelihoods_and_times_and_writes_json(tmp_path, capsys):
    pytest.importorskip("sklearn")
    assert main(["densities", "--budget", "smoke", "-o", str(tmp_path / "densities.json")]) == 0
    printed = capsys.readouterr().out
    assert "| two-moons | inverseflow NSF |" in printed
    assert "| 6 | NSF-AR | inverseflow | 67,890 |" in printed
    result = json.loads((tmp_path / "densities.json").read_text())
    rows = result["rows"]
    assert len(rows) == (3 if find_spec("zuko") else 1)
    for row in rows:
        assert -6 < row["log_likelihood"] < -1
        assert row["step"]["median"] > 0
        assert row["parameters"] == pytest.approx(17_300, rel=0.3)
    of_autoregressive = result["autoregressive"]
    assert len(of_autoregressive) == (4 if find_spec("zuko") else 2)
    assert {row["parameters"] for row in of_autoregressive} == {26_940, 67_890}
    assert all(row[what]["median"] > 0 for row in of_autoregressive for what in ("log_prob", "step", "sample"))
