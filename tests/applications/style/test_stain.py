import pytest
import torch

from applications.style.stain import linear, linear_map, macenko, optical_density, reinhard, transmission
from inverseflow.errors import OptionError

STAINS = torch.tensor([[0.65, 0.27, 0.38], [0.70, 0.57, -0.43], [0.29, 0.78, 0.18]])
OTHER = torch.tensor([[0.60, 0.40, 0.38], [0.75, 0.45, -0.43], [0.30, 0.75, 0.18]])


def amounts(seed, pixels=4096):
    """Return skewed amounts of two stains and little of a third ``(3, 1, pixels)``."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(3, 1, pixels, generator=generator)
    return (0.3 + draws.square()) * torch.tensor([0.9, 0.7, 0.02])[:, None, None]


def stained(matrix, seed):
    return transmission(torch.einsum("ij,jhw->ihw", matrix, amounts(seed)))


def test_density_of_transmission_is_the_density_and_black_is_finite():
    density = torch.rand(3, 4, 4) * 2
    assert torch.allclose(optical_density(transmission(density)), density, atol=1e-5)
    assert optical_density(torch.zeros(3, 2, 2)).isfinite().all()


def test_a_linear_change_of_stain_is_undone_and_the_map_is_invertible():
    source, truth = stained(OTHER, 0), stained(STAINS, 0)
    target = truth[:, :, torch.randperm(truth.shape[2])].view(3, 64, 64)  # the same tissue elsewhere
    found = linear_map(optical_density(source), optical_density(target), steps=80)
    moved, _ = found(optical_density(source)[None])
    error = (moved[0] - optical_density(truth)).abs().mean()
    assert error < 1e-2 < (optical_density(source) - optical_density(truth)).abs().mean()
    assert torch.allclose(found.inverse(moved)[0][0], optical_density(source), atol=1e-4)


@pytest.mark.parametrize("method", [pytest.param(linear, marks=pytest.mark.slow), macenko, reinhard])
def test_every_method_leaves_a_picture_that_has_the_stain(method):
    picture = stained(STAINS, 0)
    assert (method(picture, picture) - picture).abs().mean() < 0.03


def test_pictures_without_tissue_are_refused():
    glass = torch.full((3, 8, 8), 0.98)
    with pytest.raises(OptionError, match="the source has one color only"):
        linear(glass, stained(STAINS, 0))
    with pytest.raises(OptionError, match="no stained tissue"):
        macenko(glass, stained(STAINS, 0))
