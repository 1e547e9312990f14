import torch

from inverseflow.inference.methods import build_method


def test_a_flow_starts_at_the_least_squares_fit():
    context = torch.randn(2000, 3)
    slope = torch.tensor([[2.0, 0.0], [0.0, -1.0], [0.5, 0.0]])
    x = context @ slope + torch.tensor([1.0, -3.0]) + torch.tensor([0.1, 0.4]) * torch.randn(2000, 2)
    conditional = build_method("cinn", 2, 3, width=16, steps=2)
    conditional.initialize(x, context)
    residual = x - context @ conditional.slope - conditional.center
    assert torch.allclose(conditional.slope, slope, atol=0.05)
    assert torch.allclose(conditional.deviation, torch.tensor([0.1, 0.4]), rtol=0.1)
    assert residual.mean(0).abs().max() < 1e-3


def test_the_density_counts_the_scale_of_the_residuals():
    context = torch.randn(500, 2)
    x = context + 0.01 * torch.randn(500, 2)
    conditional = build_method("maf", 2, 2, width=16, steps=1).double()
    conditional.initialize(x.double(), context.double())
    side = (torch.arange(400).double() + 0.5) / 400 * 0.4 - 0.2
    grid = torch.cartesian_prod(side, side) + context[0]
    density = conditional.log_prob(grid, context[:1].double().expand(len(grid), 2)).exp()
    assert abs(density.sum().item() * (0.4 / 400) ** 2 - 1) < 0.01


def test_more_observations_than_pairs_still_have_a_fit():
    conditional = build_method("cinn", 2, 50, width=16, steps=2)
    conditional.initialize(torch.randn(30, 2), torch.randn(30, 50))
    assert conditional.log_prob(torch.randn(4, 2), torch.randn(4, 50)).isfinite().all()
