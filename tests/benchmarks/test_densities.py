import json
import math
from dataclasses import asdict, replace
from importlib.util import find_spec

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.densities import DensityBenchmark, _likelihood_row, fastest_peer, ratios
from benchmarks.density_tables import density_report
from benchmarks.peers import FITTED, PACKAGES, SAMPLED, contenders


def test_the_command_prints_likelihoods_and_times_and_writes_json(tmp_path, capsys):
    pytest.importorskip("sklearn")
    assert main(["densities", "--budget", "smoke", "-o", str(tmp_path / "densities.json")]) == 0
    printed = capsys.readouterr().out
    assert "| two-moons | 2 | realnvp | \u2212" in printed
    assert "| 6 | nsf-ar | inverseflow | 67,890 |" in printed
    result = DensityBenchmark.from_json(json.loads((tmp_path / "densities.json").read_text()))
    ours = [row for row in result.times if row.package == "inverseflow"]
    assert [row.model for row in ours] == [*FITTED, *SAMPLED]
    assert all(row.sample.median > 0 and (row.log_prob is None) == (row.model in SAMPLED) for row in ours)
    assert all(-6 < row.log_likelihood < -2 and 0 < row.standard_error < 0.1 for row in result.likelihoods)
    assert [(row.columns, row.batch) for row in result.inverses] == [(6, 1), (6, 256)]
    assert all(1 < row.passes <= 7 for row in result.inverses)


@pytest.mark.parametrize("model", FITTED + SAMPLED)
def test_the_flows_of_all_packages_have_about_equally_many_parameters(model):
    sizes = {package: contender.parameters for package, contender in contenders(model, 6).items()}
    assert sizes == pytest.approx(dict.fromkeys(sizes, sizes["inverseflow"]), rel=0.03)
    lacking = {"nice": {"zuko"}, "maf": {"normflows"}, "planar": {"zuko", "nflows"}, "radial": {"zuko", "nflows"}}
    assert set(sizes) == {name for name in PACKAGES if find_spec(name)} - lacking.get(model, set())


def test_the_standard_error_of_several_starts_holds_their_spread():
    x = torch.randn(500, 2)
    starts = [contenders("maf", 2, seed)["inverseflow"] for seed in range(3)]
    row = _likelihood_row("normal", "maf", "inverseflow", starts, x, x, 3)
    with torch.no_grad():
        each = torch.stack([start.log_prob(x) for start in starts])
    assert row.starts == 3 and row.log_likelihood == pytest.approx(each.mean().item(), abs=1e-5)
    expected = each.mean(0).var() / 500 + each.mean(1).var() / 3
    assert row.standard_error == pytest.approx(expected.sqrt().item(), rel=1e-4)
    assert each.mean(1).var() > 0


def test_starts_that_diverge_are_counted_and_left_out():
    x = torch.randn(50, 2)
    starts = [contenders("maf", 2, seed)["inverseflow"] for seed in range(2)]
    broken = replace(starts[0], log_prob=lambda x: starts[0].log_prob(x) * math.nan)
    row = _likelihood_row("normal", "maf", "inverseflow", [broken, starts[1]], x, x, 3)
    assert (row.starts, row.diverged) == (2, 1)
    with torch.no_grad():
        assert row.log_likelihood == pytest.approx(starts[1].log_prob(x).mean().item(), abs=1e-5)
    with pytest.raises(RuntimeError, match="inverseflow's maf on normal diverged from every start"):
        _likelihood_row("normal", "maf", "inverseflow", [broken], x, x, 3)


def test_ratios_are_our_time_over_the_fastest_peers(density_benchmark):
    assert (
        fastest_peer(density_benchmark.times, density_benchmark.times[0], "log_prob")
        == density_benchmark.times[2].log_prob
    )
    assert ratios(density_benchmark.times, "sample") == {(6, "maf"): 0.75}
    assert ratios(density_benchmark.times, "step") == {}


def test_the_report_compares_with_the_best_peer_and_names_the_missing_ones(density_benchmark):
    report = density_report(density_benchmark)
    assert "| maf | \u22121.500 ± 0.010, 10 | \u22121.600 ± 0.010, 10 | better |" in report
    assert "| nsf | \u22121.405 ± 0.010, 10 | \u22121.400 ± 0.010, 10 | within one standard error |" in report
    assert "5.0 standard errors below zuko" in report
    assert "log_prob 0.75, sample 0.75." in report
    assert "without rows: nflows, normflows" in report
    assert "4.00 (3.60–4.40), 0.75" in report


def test_a_benchmark_survives_json(density_benchmark):
    assert DensityBenchmark.from_json(json.loads(json.dumps(asdict(density_benchmark)))) == density_benchmark
