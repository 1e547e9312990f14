import pytest
import torch

from inverseflow.flows.interpolation import great_circle


def test_a_path_between_latents_begins_and_ends_at_them_and_keeps_their_length():
    first, last = torch.randn(2, 3, 50)
    points = great_circle(first, last, steps=6)
    expected = first.norm(dim=1)[:, None].lerp(last.norm(dim=1)[:, None], torch.linspace(0, 1, 6))

    assert torch.equal(points[:, 0], first) and torch.equal(points[:, -1], last)
    torch.testing.assert_close(points.norm(dim=2), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_a_path_between_latents_of_the_same_direction_is_straight(factor):
    first = torch.randn(1, 5)
    points = great_circle(first, factor * first, steps=3)

    torch.testing.assert_close(points[:, 1], first * (1 + factor) / 2, rtol=1e-3, atol=1e-3)


def test_a_path_from_the_middle_of_the_latent_is_finite():
    points = great_circle(torch.zeros(1, 4), torch.ones(1, 4), steps=5)

    assert points.isfinite().all()
