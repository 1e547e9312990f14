import json

import pytest
import torch

from applications.style.experiment import tissue
from experiments.__main__ import main


def test_tiles_keep_the_tissue_and_change_its_stain():
    source, truth, target = tissue(128)
    assert source.shape == truth.shape == target.shape == (3, 128, 64)
    assert (source - truth).abs().mean() > 0.02 and not torch.equal(truth, target)


@pytest.mark.slow
def test_the_experiment_runs(tmp_path):
    assert main(["style", "--budget", "smoke", "-o", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "style.json").read_text())["complete"]
    text = (tmp_path / "style.md").read_text()
    assert "chelsea, gravel" in text and "macenko" in text and "nan" not in text
