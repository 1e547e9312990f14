import pytest
import torch
from scipy.optimize import minimize

from inverseflow.inference import invert
from inverseflow.inference.inversion.descent import lbfgs
from inverseflow.inference.inversion.search import Box, Search


def test_an_exact_line_search_solves_the_normal_equations_of_an_affine_map():
    A = torch.tensor([[2.0, 0.5], [0.3, 1.5], [-0.4, 1.0], [1.0, 0.2]], dtype=torch.float64)
    b, t = torch.tensor([1.0, -1.0, 0.5, 0.0]).double(), torch.tensor([0.2, 1.0, -2.0, 0.7]).double()
    found = invert(lambda x: x @ A.T + b, t, method="gradient", step="exact", inputs=2, restarts=2, max_evaluations=400)
    expected = torch.linalg.solve(A.T @ A, A.T @ (t - b))
    assert not found.converged  # four equations, two unknowns
    assert torch.allclose(found.solutions[0], expected, atol=1e-7)
    assert torch.allclose(found.residuals[0], (A @ expected + b - t).norm(), atol=1e-12)


@pytest.mark.parametrize("memory", [1, 5])
def test_lbfgs_finds_the_minimum_of_a_bounded_quadratic(memory):
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    A, c = root @ root.T + torch.eye(6), torch.randn(6, generator=generator, dtype=torch.float64)
    expected = minimize(
        lambda x: 0.5 * x @ A.numpy() @ x - c.numpy() @ x,
        torch.zeros(6).numpy(),
        jac=lambda x: A.numpy() @ x - c.numpy(),
        method="L-BFGS-B",
        bounds=[(-0.2, 0.2)] * 6,
        options={"ftol": 0, "gtol": 1e-10},
    )
    box = Box(torch.full((6,), -0.2).double(), torch.full((6,), 0.2).double(), seed=0)
    rule = lbfgs(Search(box, 3, -torch.inf, 0), memory=memory, patience=10_000)
    best = torch.inf
    for _ in range(150):
        x = rule.propose()
        error = 0.5 * ((x @ A) * x).sum(1) - x @ c
        rule.update(x, error, x @ A - c)
        best = min(best, float(error.min()))
    assert best == pytest.approx(expected.fun, abs=1e-8)
