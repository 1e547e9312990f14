"""A tiny flow learns the bundled digits better than two named baselines."""

import math
from functools import partial

import pytest
import torch

from inverseflow.flows import ImageRealNVP, InverseFlow

LEVELS = 17


@pytest.fixture(scope="module")
def digits():
    datasets = pytest.importorskip("sklearn.datasets")
    images = torch.from_numpy(datasets.load_digits().images).to(torch.uint8)[:, None]
    images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]
    return images[:1400], images[1400:]


def uniform(train, test):
    """Return the bits per dimension of a model that knows nothing."""
    return math.log2(LEVELS)


def pixel_histograms(train, test):
    """Return the bits per dimension of independent pixels, each with its own smoothed histogram."""
    counts = torch.nn.functional.one_hot(train.long(), LEVELS).sum(0) + 1.0
    log2 = (counts / counts.sum(-1, keepdim=True)).log2()
    return -log2.expand(len(test), -1, -1, -1, -1).gather(-1, test.long()[..., None]).mean().item()


def gaussian(train, test):
    """Return the bits per dimension of a normal of full covariance, fitted to dequantized gray levels."""
    points = (train + torch.rand(train.shape)).flatten(1).double()
    normal = torch.distributions.MultivariateNormal(points.mean(0), points.T.cov())
    held_out = (test + torch.rand(test.shape)).flatten(1).double()
    return -normal.log_prob(held_out).mean().item() / 64 / math.log(2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "build",
    [partial(InverseFlow, scales=2, steps=2, width=32, alpha=0.02), partial(ImageRealNVP, steps=2, width=16, depth=1)],
)
def test_its_held_out_likelihood_beats_every_baseline(digits, build):
    train, test = digits
    torch.manual_seed(0)
    flow = build((1, 8, 8), levels=LEVELS)
    flow.initialize(train[:512])
    optimizer = torch.optim.Adam(flow.parameters(), lr=8e-3)
    steps = 120
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss = flow.bits_per_dim(train[torch.randint(len(train), (64,))]).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        bits = flow.eval().bits_per_dim(test).mean().item()
    baselines = {baseline.__name__: baseline(train, test) for baseline in (uniform, pixel_histograms, gaussian)}
    assert bits < min(baselines.values()) - 0.05
    assert torch.equal(flow.decode(flow.encode(test)), test)
