"""Emission lines of H II regions: which cloud shines like this?"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Categorical, Uniform

from experiments.science.metropolis import ChainReference, gaussian_log_likelihood
from inverseflow.inference import Problem, independent

_LINES = ("Hα", "Hβ", "OII", "OIII 4363", "OIII 5007", "OI", "NII", "SII 6716", "SII 6731", "SIII", "HeI", "ArIII")
_LOW = torch.tensor([math.log(1e5), math.log(0.01), 2.0, 1.0, 0.0, 0.0, 0.0])
_HIGH = torch.tensor([math.log(1e7), math.log(0.15), 4.0, 20.0, 1.0, 3.0, 3.0])
_NOISE = 0.05
_WEAK = 0.03
"""Coefficients of mass and efficiency relative to the others."""


def hii_regions() -> Problem:
    r"""Return the problem of a star-forming cloud seen in twelve emission lines.

    .. math:: \ln L_j = \ln(M \cdot \mathrm{SFE}) + a_j^\top\theta + \theta^\top Q_j\theta + 0.05\,\varepsilon_j

    with cloud mass M, star-formation efficiency SFE, density, age, number of clusters, age of the youngest cluster and
    evolutionary phase, scaled to θ in [-1, 1]. The coefficients of ln M and ln SFE are small: the light depends on
    their sum more than on each.

    Our reconstruction of a thinly published system, with simulated data; coefficients are arbitrary. After Kang et al.
    2022, https://doi.org/10.1093/mnras/stac222

    Example:
        >>> x, y = hii_regions().simulate(100)
        >>> x.shape, y.shape
        (torch.Size([100, 7]), torch.Size([100, 12]))
    """
    uniform = [Uniform(low, high) for low, high in zip(_LOW[:5], _HIGH[:5], strict=True)]
    prior = independent(*uniform, Categorical(torch.ones(4)), Categorical(torch.ones(4)))
    return Problem(
        "hii-regions",
        prior,
        line_luminosities,
        noise=lambda lines: lines + _NOISE * torch.randn_like(lines),
        parameters=(
            "ln M [solar masses]",
            "ln SFE",
            "log10 density [1/cm3]",
            "cloud age [Myr]",
            "youngest age / cloud age",
            "clusters after the first",
            "phase",
        ),
        observations=tuple(f"ln L({line})" for line in _LINES),
        reference=ChainReference(prior, gaussian_log_likelihood(line_luminosities, _NOISE)),
    )


def line_luminosities(x: Tensor) -> Tensor:
    """Return ln L of twelve lines, ``(n, 12)``, without noise.

    Args:
        x: ``(n, 7)``.
    """
    low, high = _LOW.to(x), _HIGH.to(x)
    share = youngest_age(x) / x[:, 3]
    theta = 2 * (torch.cat([x[:, :4], share[:, None], x[:, 5:]], dim=1) - low) / (high - low) - 1
    linear, quadratic = (coefficients.to(x) for coefficients in _coefficients())
    return (x[:, 0] + x[:, 1])[:, None] + theta @ linear.T + torch.einsum("ni,jik,nk->nj", theta, quadratic, theta)


def youngest_age(x: Tensor) -> Tensor:
    """Return the age of the youngest cluster in Myr, ``(n,)``: never above the age of the cloud.

    Args:
        x: ``(n, 7)``. A single cluster is the youngest and the oldest.
    """
    return torch.where(x[:, 5] == 0, x[:, 3], x[:, 3] * x[:, 4])


def _coefficients() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(74)
    scale = torch.tensor([_WEAK, _WEAK, 1, 1, 1, 1, 1])
    linear = 0.4 * torch.randn(len(_LINES), 7, generator=generator) * scale
    quadratic = 0.1 * torch.randn(len(_LINES), 7, 7, generator=generator) * scale[:, None] * scale
    return linear, quadratic
