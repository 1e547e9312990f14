import json

import pytest
import torch

from applications.steganography.experiment import SIZES, examples, measure_png, psnr
from experiments.__main__ import main
from experiments.result import Result


def test_the_ratio_is_that_of_the_formula():
    truth = torch.randint(256, (3, 8, 8)).byte()
    picture = (truth.int() + torch.where(truth > 100, -3, 4)).byte()
    error = (picture.double() - truth.double()).square().mean()
    assert psnr(picture, truth) == pytest.approx(float(10 * (255**2 / error).log10()))


def test_examples_of_one_cover_have_one_size_and_differ():
    for cover, *secrets in examples(SIZES["smoke"], 2):
        assert {picture.shape for picture in (cover, *secrets)} == {(3, 64, 64)}
        assert not torch.equal(cover, secrets[0])


def test_the_shipped_models_hide_what_they_promise_in_pictures_they_have_not_seen():
    values = measure_png(SIZES["smoke"])
    network = values["network"]
    assert min(network["container"]) > 36 and min(min(found) for found in network["secret"]) > 30
    assert max(network["clipped"]) < 0.02
    assert min(values["network, two secrets"]["container"]) > 33


@pytest.mark.slow
def test_the_experiment_runs_and_says_how_much_the_robust_network_gains(tmp_path, capsys):
    assert main(["steganography", "--budget", "smoke", "-o", str(tmp_path)]) == 0
    result = Result.from_json(json.loads((tmp_path / "steganography.json").read_text()))
    rows = {row.name: row.values["secret"]["90"] for row in result.rows if row.part == "JPEG"}
    gains = [robust - plain for plain, robust in zip(rows["network"], rows["robust network"], strict=True)]
    assert min(gains) > 3
    assert "secrets are" in capsys.readouterr().out
