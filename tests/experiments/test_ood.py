import json

import pytest
import torch

from experiments.__main__ import main
from experiments.ood import gray, png_nats


def test_pictures_keep_their_pixels_inside_a_margin():
    pictures = torch.randint(256, (3, 1, 28, 28), dtype=torch.uint8)
    assert torch.equal(gray(pictures)[:, :, 2:30, 2:30], pictures)
    color = torch.tensor([10, 20, 30], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 32, 32)
    assert torch.equal(gray(color), torch.full((2, 1, 32, 32), 20, dtype=torch.uint8))


def test_a_file_of_noise_takes_about_its_bits():
    (nats,) = png_nats(torch.randint(256, (1, 1, 32, 32), dtype=torch.uint8))
    assert -nats / torch.log(torch.tensor(2.0)) == pytest.approx(32 * 32 * 8, rel=0.15)


@pytest.mark.slow
def test_the_experiment_runs(shared_data, tmp_path):
    folder = shared_data("fashion-mnist").parent
    assert main(["ood", "--budget", "smoke", "--data-dir", str(folder), "-o", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "ood.json").read_text())["complete"]
    text = (tmp_path / "ood.md").read_text()
    assert "Fashion-MNIST → MNIST" in text and "nan" not in text
