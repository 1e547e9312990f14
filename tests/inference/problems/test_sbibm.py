"""The published tasks against the observations and reference samples that were published with them."""

import numpy as np
import pytest
import torch
from scipy import stats

from inverseflow.inference.problems import create
from inverseflow.inference.problems.slcp import distractors


@pytest.fixture
def published(shared_data):
    folder = shared_data("sbibm")
    return lambda name: np.load(folder / f"{name}.npz")


@pytest.mark.parametrize(
    "name", ["gaussian-linear", "gaussian-linear-uniform", "gaussian-mixture", "two-moons", "slcp"]
)
def test_reference_draws_from_the_published_posterior(name, published):
    task, problem = published(name.replace("-", "_")), create(name)
    for index in (5, 9):
        theirs = task["reference_posterior"][index].astype(float)
        y = torch.from_numpy(task["observations"][index]).float()
        ours = problem.reference(y, len(theirs), torch.Generator().manual_seed(0)).double().numpy()
        if (
            name == "slcp"
        ):  # its four modes are mirror images, and their shares among the published samples are not equal
            ours, theirs = np.abs(ours), np.abs(theirs)
        for one, other in zip(ours.T, theirs.T, strict=True):
            assert stats.ks_2samp(one, other).pvalue > 1e-4
        assert np.corrcoef(ours.T) == pytest.approx(np.corrcoef(theirs.T), abs=0.06)


def test_distractors_are_those_published(published):
    task = published("slcp")
    locations, factors, order = distractors()
    assert np.allclose(locations, task["noise_loc"], rtol=1e-6)
    assert np.allclose(factors, task["noise_scale_tril"], rtol=1e-6)
    assert np.array_equal(order, task["permutation"])
