import pytest
import torch

from inverseflow.inference import AmortizedPosterior
from inverseflow.inference.problems import create
from inverseflow.inference.problems.mixtures import CENTERS, LABELS


def unbiased_distance_correlation(x, y):
    """Return the distance correlation without bias of Székely and Rizzo (2014): about 0 if independent, at most 1."""

    def centered(points):
        n = len(points)
        d = torch.cdist(points, points)
        u = d - d.sum(0) / (n - 2) - d.sum(1, keepdim=True) / (n - 2) + d.sum() / ((n - 1) * (n - 2))
        return u.fill_diagonal_(0)

    a, b = centered(x), centered(y)
    return ((a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt()).item()


def test_the_distance_correlation_of_these_tests_tells_dependence_from_independence():
    x = torch.randn(1000, 1)
    assert unbiased_distance_correlation(x, x) == pytest.approx(1)
    assert unbiased_distance_correlation(x, x**2) > 0.1
    assert abs(unbiased_distance_correlation(x, torch.randn(1000, 2))) < 0.01


def trained(name, problem, *, max_steps, batch_size=256, **options):
    """Return a posterior that is trained on 10,000 simulations."""
    x, y = problem.simulate(10_000, seed=0)
    posterior = AmortizedPosterior.of(problem, name, **options)
    return posterior.fit(x, y, max_steps=max_steps, batch_size=batch_size, learning_rate=3e-3, progress=False)


@pytest.mark.slow
def test_samples_of_the_robot_arm_reach_the_point_and_the_latent_is_independent_of_it():
    problem = create("kinematics")
    posterior = trained("inn", problem, max_steps=400)
    x, y = problem.simulate(1000, seed=1)
    samples = posterior.sample(y[:20], 200, seed=0)
    reached = problem.simulator(samples.flatten(0, 1)).reshape(20, 200, 2)
    assert (reached - y[:20, None]).square().sum(2).mean() < 0.05
    assert samples.std(1).mean() > 0.1
    model = posterior.model.conditional
    with torch.no_grad():
        found, z, *_ = model.to_latent(posterior._standardized("x", x), torch.empty(1000, 0))
    assert unbiased_distance_correlation(z, y) < 0.05
    assert unbiased_distance_correlation(found, y) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(("name", "labels", "max_steps"), [("inn", "none", 400), ("inn-ml", "some", 1000)])
def test_every_mode_of_a_label_is_drawn_and_hardly_any_of_another(name, labels, max_steps):
    problem = create("eight-modes", labels=labels)
    sizes = {"latent": 2, "channels": 8} if name == "inn" else {}
    posterior = trained(name, problem, max_steps=max_steps, batch_size=200, width=64, **sizes)
    modes = torch.tensor(CENTERS)
    for label in sorted({*LABELS[labels]}):
        y = torch.nn.functional.one_hot(torch.tensor(label), max(LABELS[labels]) + 1).float()
        nearest = torch.cdist(posterior.sample(y, 1000, seed=0), modes).argmin(1)
        share = torch.bincount(nearest, minlength=8) / 1000
        of_label = torch.tensor(LABELS[labels]) == label
        assert share[of_label].min() > 0.05
        assert share[~of_label].sum() < 0.03
    if name == "inn":
        model = posterior.model.conditional
        x, y = (posterior._standardized(*pair) for pair in zip("xy", problem.simulate(1000, seed=1), strict=True))
        with torch.no_grad():
            *_, v, _ = model.to_latent(x, model._pads(x, 2))
            _, u = model.to_parameters(model._scaled(torch.randn(1000, 8), y))
        assert max(v.square().mean().sqrt(), u.square().mean().sqrt()) < 0.1
