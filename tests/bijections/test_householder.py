"""Products of reflections."""

import pytest
import torch

from inverseflow.bijections import Householder


def reflections(vectors):
    """Multiply one reflection after the other."""
    product = torch.eye(len(vectors), dtype=vectors.dtype)
    for vector in vectors.T:
        product = product - 2 * product @ vector[:, None] @ vector[None] / vector.dot(vector)
    return product


@pytest.mark.parametrize("count", [1, 3, 5, 8])
def test_its_matrix_is_the_product_of_its_reflections(count):
    layer = Householder(5, reflections=count).double()
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    expected = torch.einsum("ij,bjhw->bihw", reflections(layer.vectors.detach()), x)
    torch.testing.assert_close(layer(x)[0], expected, rtol=0, atol=1e-12)


def test_it_is_orthogonal_also_with_vectors_of_very_different_lengths():
    layer = Householder(6).double()
    with torch.no_grad():
        layer.vectors.mul_(10.0 ** torch.arange(-9, 9, 3))
    matrix = layer(torch.eye(6, dtype=torch.float64))[0].T
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-12)
    assert matrix.det().item() == pytest.approx(1)


def test_as_many_reflections_as_channels_reach_any_rotation():
    target = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    target[:, 0] *= target.det().sign()
    layer = Householder(4).double()
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = (layer(torch.eye(4, dtype=torch.float64))[0] - target).square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    assert loss().item() < 1e-8


def test_a_product_of_no_reflections_is_refused():
    with pytest.raises(ValueError, match="reflections must be at least 1, got 0"):
        Householder(4, reflections=0)
