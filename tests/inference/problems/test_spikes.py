import torch

from inverseflow.inference.problems import create
from inverseflow.inference.problems.spikes import design_matrix


def test_spikes_have_the_stated_probabilities_and_statistics():
    x = 0.5 * torch.randn(1, 10).expand(20_000, 10)
    spikes = create("bernoulli-glm-raw").observe(x)
    assert (spikes.mean(0) - (design_matrix() @ x[0]).sigmoid()).abs().max() < 0.02
    statistics = create("bernoulli-glm").observe(x)
    assert torch.equal(statistics, spikes @ design_matrix())  # the same random numbers
