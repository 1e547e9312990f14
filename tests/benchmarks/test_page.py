import json
from pathlib import Path

from benchmarks import bench_axes
from benchmarks.__main__ import main
from benchmarks.page import page, read_results

DOCS = Path(__file__).parents[2] / "docs"


def test_the_committed_page_is_what_the_committed_measurements_give():
    results = read_results(DOCS / "results")
    assert results
    assert (DOCS / "performance.md").read_text("utf-8") == page(results)


def test_the_command_writes_the_page_and_its_pictures(tmp_path, op_benchmark, model_benchmark, density_benchmark):
    op, axes, model = op_benchmark.to_json(), bench_axes("smoke").to_json(), model_benchmark.to_json()
    densities = density_benchmark.to_json()
    measured = {"op": op, "op-sweeps": op, "axes": axes, "model": model, "densities": densities}
    for name, values in measured.items():
        (tmp_path / f"{name}-cpu.json").write_text(json.dumps(values))
    written = tmp_path / "performance.md"
    assert main(["page", "--results", str(tmp_path), "-o", str(written)]) == 0
    text = written.read_text()
    assert "| 2×3×4×5×6 |" in text
    assert "4×2×6×6, k=3" in text and "Inverse-Flow" in text and "No measurements on a GPU exist yet" in text
    assert "500 steps" in text and "performance-densities-cpu.png" in text
    for line in text.splitlines():
        if line.startswith("!["):
            assert (tmp_path / line.partition("(")[2].rstrip(")")).read_bytes().startswith(b"\x89PNG")


def test_a_folder_without_measurements_is_an_error(tmp_path, capsys):
    assert main(["page", "--results", str(tmp_path), "-o", str(tmp_path / "page.md")]) == 2
    assert "there are no measurements" in capsys.readouterr().err
