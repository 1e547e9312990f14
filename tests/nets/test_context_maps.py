import pytest
import torch

from inverseflow.nets import ContextMaps


def perturbed(size: tuple[int, ...]) -> ContextMaps:
    maps = ContextMaps(2, 3, size).double()
    torch.nn.init.normal_(maps.weight, std=0.05)
    return maps


@pytest.mark.parametrize("size", [(5,), (4, 3), (2, 3, 2)])
def test_the_maps_are_those_of_the_formula(size):
    maps, context = perturbed(size), torch.randn(4, 2, dtype=torch.float64)
    expected = torch.stack([(20 * sum(c[k] * maps.weight[:, k] for k in range(2))).tanh() for c in context])
    found = maps(context)

    torch.testing.assert_close(found[:, 2:], expected)
    assert torch.equal(found[:, :2], context.reshape(4, 2, *[1] * len(size)).expand(-1, -1, *size))


def test_a_spatial_context_is_averaged_to_the_size_of_the_maps():
    maps, context = perturbed((2, 3)), torch.randn(4, 2, 4, 6, dtype=torch.float64)
    pooled = torch.nn.functional.avg_pool2d(context, 2)

    torch.testing.assert_close(maps(context), maps(pooled))
    torch.testing.assert_close(maps(context)[:, :2], pooled)


def test_the_maps_start_at_zero():
    assert not ContextMaps(2, 3, (4, 4))(torch.ones(1, 2))[:, 2:].any()
