import json
from importlib.util import find_spec

import pytest

from benchmarks.__main__ import main


def test_the_command_prints_likelihoods_and_times_and_writes_json(tmp_path, capsys):
    pytest.importorskip("sklearn")
    assert main(["densities", "--budget", "smoke", "-o", str(tmp_path / "densities.json")]) == 0
    assert "| two-moons | inverseflow NSF |" in capsys.readouterr().out
    rows = json.loads((tmp_path / "densities.json").read_text())["rows"]
    assert len(rows) == (3 if find_spec("zuko") else 1)
    for row in rows:
        assert -6 < row["log_likelihood"] < -1
        assert row["step"]["median"] > 0
        assert row["parameters"] == pytest.approx(17_300, rel=0.3)
