"""Problems with mixtures of normal distributions."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from inverseflow.inference.problem import Problem
from inverseflow.inference.problems.priors import box
from inverseflow.inference.problems.registry import register
from inverseflow.inference.support import Real, Support
from inverseflow.utils.arguments import one_of

_BOUND, _SCALES = 10.0, (1.0, 0.1)
LABELS = {"all": (0, 1, 2, 3, 4, 5, 6, 7), "some": (0, 0, 0, 0, 1, 1, 2, 3), "none": (0,) * 8}
CENTERS = [(-2.4142, 1.0), (-1.0, 2.4142), (1.0, 2.4142), (2.4142, 1.0)]  # clockwise
CENTERS += [(-a, -b) for a, b in CENTERS]
_MODE_SCALE, _LABEL_NOISE = 0.2, 0.05


@register("gaussian-mixture")
def gaussian_mixture() -> Problem:
    r"""Return the problem of the common mean of two normal distributions, a wide one and a narrow one.

    .. math:: x \sim \mathcal{U}(-10, 10)^2, \quad y \sim ½ \mathcal{N}(x, I) + ½ \mathcal{N}(x, 0.1^2 I)

    Task T.7 of Lueckmann et al., 2021, https://arxiv.org/abs/2101.04653. The posterior is the same mixture around y,
    cut off where the prior ends.

    Example:
        >>> problem = gaussian_mixture()
        >>> problem.log_prob(torch.zeros(1, 2), torch.zeros(2)).exp()
        tensor([8.0373])
    """

    def simulator(x: Tensor) -> Tensor:
        return x + x.new_tensor(_SCALES)[torch.randint(2, (len(x), 1))] * torch.randn_like(x)

    def parts(y: Tensor) -> tuple[Normal, Tensor]:
        """Return both normals around y, ``(2, 2)``, and the logarithm of the mass of each inside of the prior."""
        normal = Normal(y.double(), torch.tensor(_SCALES, dtype=torch.float64)[:, None])
        low, high = (normal.cdf(torch.full((2,), end, dtype=torch.float64)) for end in (-_BOUND, _BOUND))
        return normal, (high - low).log().sum(1)

    def reference(y: Tensor, n: int, generator: Generator | None = None) -> Tensor:
        normal, mass = parts(y)
        chosen = torch.multinomial(mass.exp(), n, replacement=True, generator=generator)
        low, high = (normal.cdf(torch.full((2,), end, dtype=torch.float64))[chosen] for end in (-_BOUND, _BOUND))
        u = low + (high - low) * torch.rand(n, 2, dtype=torch.float64, generator=generator)
        scale = torch.tensor(_SCALES, dtype=torch.float64)[chosen, None]
        x: Tensor = y.double() + scale * torch.special.ndtri(u)
        return x.clamp(-_BOUND, _BOUND).to(y.dtype)

    def log_prob(x: Tensor, y: Tensor) -> Tensor:
        normal, mass = parts(y)
        density: Tensor = normal.log_prob(x.double()[:, None]).sum(2).logsumexp(1) - mass.logsumexp(0)
        return density.masked_fill((x.abs() > _BOUND).any(1), -math.inf).to(x.dtype)

    return Problem(
        name="gaussian-mixture",
        prior=box(-_BOUND, _BOUND, dims=2),
        simulator=simulator,
        reference=reference,
        log_prob=log_prob,
    )


@register("eight-modes")
def eight_modes(*, labels: str = "some") -> Problem:
    r"""Return the problem of points in the plane around eight centers, of which the label of a center is observed.

    The centers are (±2.4142, ±1) and (±1, ±2.4142), with a standard deviation of 0.2. From Ardizzone et al.,
    *Analyzing inverse problems with invertible neural networks*, 2019, https://arxiv.org/abs/1808.04730.

    The observation is the label as a one-hot vector plus normal noise of standard deviation 0.05, which never hides a
    label, and keeps the observation from being constant where all labels are equal. The posterior is the mixture of
    the modes of a label.

    Args:
        labels: ``"all"`` for eight labels, ``"some"`` for 0, 0, 0, 0, 1, 1, 2, 3 clockwise from (−2.4142, 1),
            ``"none"`` for one label.

    Example:
        >>> x, y = eight_modes(labels="some").simulate(100)
        >>> x.shape, y.shape
        (torch.Size([100, 2]), torch.Size([100, 4]))
    """
    label = torch.tensor(LABELS[one_of("labels", labels, LABELS)])
    centers = torch.tensor(CENTERS)

    def modes(weights: Tensor) -> MixtureSameFamily:
        return MixtureSameFamily(Categorical(logits=weights.log()), Independent(Normal(centers, _MODE_SCALE), 1))

    def weights(y: Tensor) -> Tensor:
        return (label == y.argmax()).float()

    def simulator(x: Tensor) -> Tensor:
        """Draw the mode that x came from, and return its label."""
        each = Normal(centers, _MODE_SCALE).log_prob(x[:, None]).sum(2)  # (B, 8)
        return F.one_hot(label[Categorical(logits=each).sample()], int(label.max()) + 1).to(x.dtype)

    def reference(y: Tensor, n: int, generator: Generator | None = None) -> Tensor:
        chosen = torch.multinomial(weights(y), n, replacement=True, generator=generator)
        return (centers[chosen] + _MODE_SCALE * torch.randn(n, 2, generator=generator)).to(y.dtype)

    return Problem(
        name="eight-modes",
        prior=modes(torch.ones(8)),
        support=Support([Real(), Real()]),
        simulator=simulator,
        noise=lambda s: s + _LABEL_NOISE * torch.randn_like(s),
        reference=reference,
        log_prob=lambda x, y: modes(weights(y)).log_prob(x),
    )
