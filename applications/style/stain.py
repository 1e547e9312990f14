"""The stain of one slide for another: an invertible map of the optical density, and two classical methods."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from skimage.color import lab2rgb, rgb2lab
from torch import Tensor

from applications.style.statistics import Statistics, transfer
from inverseflow.bijections import Bijection, Compose, Conv1x1, Inverse, Whiten
from inverseflow.errors import OptionError

Floats = npt.NDArray[np.float64]

FLOOR = 1 / 255
"""The least transmission: that of the darkest pixel that is not black, so that the density of black is finite."""
_TISSUE = 0.15
"""Pixels with a lower density are glass, from which Macenko's method learns nothing."""
_PIXELS, _DIRECTIONS = 4096, 24
_LARGEST = 99
"""The percentile that stands for the largest angle and concentration."""


def optical_density(picture: Tensor) -> Tensor:
    """Return −log₁₀ of the transmitted light of a picture from 0 to 1; black counts as one level of 255.

    Example:
        >>> optical_density(torch.tensor([0.0, 0.1, 1.0]))
        tensor([2.4065, 1.0000, 0.0000])
    """
    return -picture.clamp(FLOOR, 1).log10()


def transmission(density: Tensor) -> Tensor:
    """Return the picture of an optical density, clipped to 0 to 1."""
    return (10**-density).clamp(0, 1)


def reinhard(source: Tensor, target: Tensor) -> Tensor:
    """Give a picture the mean and the deviation of each channel of another, in CIELAB.

    Reference:
        Reinhard et al., Color Transfer between Images, 2001, https://doi.org/10.1109/38.946629, in another space of
        opponent colors.
    """
    own, other = (torch.from_numpy(rgb2lab(p.permute(1, 2, 0).numpy())).permute(2, 0, 1) for p in (source, target))
    moved = transfer(own, Statistics.of(own, "adain"), Statistics.of(other, "adain"))
    return torch.from_numpy(lab2rgb(moved.permute(1, 2, 0).numpy())).permute(2, 0, 1).float()


def macenko(source: Tensor, target: Tensor) -> Tensor:
    """Give a picture the two stains of another, and their largest concentrations.

    Reference:
        Macenko et al., A method for normalizing histology slides, 2009, https://doi.org/10.1109/ISBI.2009.5193250.
    """
    (_, amounts), (other, wanted) = _stains(source), _stains(target)
    ratios = np.percentile(wanted, _LARGEST, axis=1) / np.percentile(amounts, _LARGEST, axis=1).clip(1e-6)
    density = other @ (amounts * ratios[:, None])
    return transmission(torch.from_numpy(density).float().view_as(source))


def linear(source: Tensor, target: Tensor, *, steps: int = 150, seed: int = 0) -> Tensor:
    """Give a picture the distribution of the optical densities of another, as far as a matrix can.

    See `linear_map`. Another stain is such a map, if both pictures hold the same tissue in the same shares.
    """
    own = optical_density(source)
    moved, _ = linear_map(own, optical_density(target), steps=steps, seed=seed)(own[None])
    return transmission(moved[0])


def linear_map(source: Tensor, target: Tensor, *, steps: int = 150, seed: int = 0) -> Bijection:
    r"""Return an invertible map of the channels that gives densities ``(3, H, W)`` the distribution of others.

    .. math:: z = S_t R S_s^{-1} (x - \mu_s) + \mu_t

    with the roots S of the covariances. Every rotation R gives the covariance of the target; the one is sought whose
    colors are nearest to those of the target (sliced Wasserstein distance), from the identity on.

    Args:
        source: the densities to change.
        target: the densities wanted, of any size.
        steps: steps of Adam.
        seed: of the pixels that are compared, and of the directions.

    Raises:
        OptionError: if a picture has one color only.
    """
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for name, density in (("source", source), ("target", target)):
        if not bool(density.flatten(1).std(1).max() > 1e-4):
            raise OptionError(f"the {name} has one color only: give a picture of stained tissue")
        rows = density.flatten(1)
        samples.append(rows[:, torch.randint(rows.shape[1], (_PIXELS,), generator=generator)])
    whiten, color = Whiten.of(source[None]), Inverse(Whiten.of(target[None]))
    white, _ = whiten(samples[0][None])
    angles = torch.zeros(3, 3, requires_grad=True)
    optimizer = torch.optim.Adam([angles], lr=0.05)
    best, least = torch.eye(3), float("inf")
    for _ in range(steps):
        rotation = torch.matrix_exp(angles - angles.T)
        moved, _ = color(rotation @ white)
        distance = sliced_distance(moved[0], samples[1], torch.randn(_DIRECTIONS, 3, generator=generator))
        if float(distance.detach()) < least:
            best, least = rotation.detach(), float(distance.detach())
        optimizer.zero_grad()
        distance.backward()
        optimizer.step()
    mix = Conv1x1(3)
    mix.load_state_dict({"weight": best})
    return Compose(whiten, mix, color).requires_grad_(False)


def sliced_distance(first: Tensor, second: Tensor, directions: Tensor) -> Tensor:
    """Return the root of the mean squared distance between sorted projections of two sets of as many points.

    Args:
        first: ``(D, N)``.
        second: ``(D, N)``.
        directions: ``(K, D)``, of any length.

    Reference:
        Rabin et al., Wasserstein Barycenter and its Application to Texture Mixing, 2011,
        https://doi.org/10.1007/978-3-642-24785-9_37.
    """
    directions = directions / directions.norm(dim=1, keepdim=True)
    sorted_ = [(directions @ points).sort(1).values for points in (first, second)]
    return (sorted_[0] - sorted_[1]).square().mean().sqrt()


METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"linear": linear, "macenko": macenko, "reinhard": reinhard}


def _stains(picture: Tensor) -> tuple[Floats, Floats]:
    """Return the directions of two stains ``(3, 2)``, of length 1, and how much of each a pixel has ``(2, N)``."""
    density = optical_density(picture).flatten(1).double().numpy()
    tissue = density[:, (density > _TISSUE).all(0)]
    if tissue.shape[1] < 2:
        raise OptionError("a picture holds no stained tissue, which Macenko's method needs: take the linear method")
    plane = np.linalg.eigh(np.cov(tissue))[1][:, :0:-1]
    plane = plane * np.sign(plane.sum(0)).clip(-1, 1)  # so that angles are about that of the mean
    angles = np.arctan2(plane[:, 1] @ tissue, plane[:, 0] @ tissue)
    ends = np.percentile(angles, [100 - _LARGEST, _LARGEST])
    stains = plane @ np.stack([np.cos(ends), np.sin(ends)])
    stains = stains[:, np.argsort(-stains[0])]  # the stain that absorbs more red comes first
    amounts = np.linalg.lstsq(stains, density, rcond=None)[0]
    return stains, amounts
