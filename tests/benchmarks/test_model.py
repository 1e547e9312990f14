import json

import torch

from benchmarks import ModelBenchmark
from benchmarks.__main__ import main
from benchmarks.sequential import pixel_by_pixel, substitute, swap_direction
from inverseflow.bijections import CausalConv2d, InverseConv2d
from inverseflow.flows import InverseFlow
from inverseflow.ops import inv_conv2d


def small_flow():
    return InverseFlow((1, 8, 8), levels=17, scales=2, steps=4, width=8)


def test_every_flow_returns_to_the_images_it_encoded(model_benchmark):
    assert len(model_benchmark.rows) == 4
    assert all(row.wrong_pixels == 0 for row in model_benchmark.rows)


def test_the_flows_differ_by_their_kernels_alone(model_benchmark):
    parameters = {row.flow: row.parameters for row in model_benchmark.rows}
    assert parameters["Inverse-Flow"] == parameters["sequential alternative"] > parameters["Glow"]


def test_the_solve_is_a_part_of_the_step(model_benchmark):
    assert {"blocked"} <= {share.backend for share in model_benchmark.shares}


def test_turning_round_swaps_every_solve_for_a_convolution():
    turned = swap_direction(small_flow())
    assert not [module for module in turned.modules() if isinstance(module, InverseConv2d)]
    assert len([module for module in turned.modules() if isinstance(module, CausalConv2d)]) == 8
    assert turned.config is None


def test_sampling_pixel_by_pixel_gives_the_same_images():
    turned = swap_direction(small_flow())
    turned.initialize(torch.randint(17, (16, 1, 8, 8), dtype=torch.uint8))
    z = turned.base.sample(4)
    torch.testing.assert_close(pixel_by_pixel(turned).decode(z), turned.decode(z))


def test_substitution_walks_from_any_corner():
    y, weight = torch.randn(2, 3, 5, 4, dtype=torch.float64), 0.2 * torch.randn(3, 3, 2, 3, dtype=torch.float64)
    for corner, mirrored in (("top_left", ()), ("bottom_right", (2, 3)), ("top_right", (3,))):
        expected = inv_conv2d(y, weight, corner=corner, unitriangular=True)
        torch.testing.assert_close(substitute(y, weight, mirrored), expected)


def test_measurements_survive_json(model_benchmark):
    assert ModelBenchmark.from_json(json.loads(json.dumps(model_benchmark.to_json()))) == model_benchmark


def test_the_command_prints_times_and_writes_json(tmp_path, capsys, monkeypatch, model_benchmark):
    monkeypatch.setattr("benchmarks.bench_model", lambda budget, device, on_architecture: model_benchmark)
    assert main(["model", "--budget", "smoke", "-o", str(tmp_path / "model.json")]) == 0
    assert "sequential alternative, pixel by pixel" in capsys.readouterr().out
    assert json.loads((tmp_path / "model.json").read_text())["rows"][0]["parameters"] > 0
