import math

import pytest
import torch
from skimage.measure import find_contours
from sklearn.datasets import make_moons
from torch import nn

from inverseflow.inference import invert


def norm(x):
    return x.norm(dim=1)


def test_points_spread_along_a_circle():
    target, box = torch.tensor([1.0], dtype=torch.float64), ([-2.0, -2.0], [2.0, 2.0])
    found = invert(norm, target, method="boundary", box=box, tolerance=0.02)
    assert found.converged and len(found.solutions) > 140
    assert ((found.solutions.norm(dim=1) - 1).abs() < 0.02).all()
    angles = torch.atan2(*found.solutions.T).sort().values
    gaps = torch.cat([angles.diff(), angles[:1] + 2 * math.pi - angles[-1:]])
    assert gaps.max() < 3 * 2 * math.pi / len(angles)


@pytest.mark.slow
def test_the_boundary_of_a_classifier_is_the_contour_of_marching_squares():
    x, label = make_moons(400, noise=0.1, random_state=0)
    x, label = torch.tensor(x), torch.tensor(label).double()
    network = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1)).double()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(150):
        loss = nn.functional.binary_cross_entropy_with_logits(network(x)[:, 0], label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    classifier = nn.Sequential(network, nn.Sigmoid())
    low, high = torch.tensor([-1.5, -1.0]).double(), torch.tensor([2.5, 1.5]).double()
    found = invert(classifier, [0.5], method="boundary", box=(low, high), tolerance=0.1, generations=200)

    size = 201
    axes = [torch.linspace(float(a), float(b), size, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
    with torch.no_grad():
        probabilities = classifier(torch.cartesian_prod(*axes)).view(size, size)
    contours = [torch.tensor(each) for each in find_contours(probabilities.numpy(), 0.5)]
    contour = low + torch.cat(contours) / (size - 1) * (high - low)
    distances = torch.cdist(found.solutions, contour)
    assert max(distances.amin(0).max(), distances.amin(1).max()) < 0.1


def test_an_empty_level_set_is_reported():
    found = invert(norm, [-1.0], method="boundary", box=([1.0, 1.0], [2.0, 2.0]), generations=20)
    assert not found.converged
    assert found.solutions.shape == (1, 2) and found.residuals.item() > 1 + 2**0.5 - 1e-6
