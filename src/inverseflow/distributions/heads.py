"""Distributions of single elements, whose parameters a network predicts."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from inverseflow.ops.levels import check_levels
from inverseflow.ops.precision import at_least_single
from inverseflow.utils.arguments import finite_number, whole_number

MIN_LOG_SCALE = -7.0
"""The least logarithm of a scale: below it, one value of the training data would get all the probability."""


class Head(ABC):
    r"""A distribution :math:`p(x; \theta)` of one number with parameters θ, for every element of a tensor.

    A subclass MUST implement `num_parameters`, `_log_prob` and `_sample`, and set `levels`. It holds no state. Training
    MUST be able to start where all parameters are zero.

    Example:
        >>> class Exponential(Head):
        ...     levels, num_parameters = None, 1
        ...     def _log_prob(self, x, parameters):
        ...         return parameters[:, 0] - x * parameters[:, 0].exp()
        ...     def _sample(self, parameters, temperature, generator):
        ...         noise = torch.empty_like(parameters[:, 0]).exponential_(generator=generator)
        ...         return temperature * noise * (-parameters[:, 0]).exp()
        >>> Exponential().log_prob(torch.ones(1, 3), torch.zeros(1, 1, 3))
        tensor([[-1., -1., -1.]])
    """

    levels: int | None
    """Number of integer values 0 … levels - 1, None for continuous data."""

    @property
    @abstractmethod
    def num_parameters(self) -> int:
        """Number of parameters P for each element."""

    def log_prob(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Return the log probability, or log density, of each element in nats, in at least float32.

        Args:
            x: ``(B, *rest)``; integers if there are `levels`, else floating-point numbers.
            parameters: ``(B, P, *rest)``.

        Returns:
            ``(B, *rest)``.

        Raises:
            TypeError: if x is not of the kind of number that the head takes.
            ValueError: if a level is out of range, or the shapes do not fit.
        """
        self.check(x)
        expected = (*x.shape[:1], self.num_parameters, *x.shape[1:])
        if parameters.shape != expected:
            name = type(self).__name__
            raise ValueError(f"{name} needs parameters of shape {tuple(expected)}, got {tuple(parameters.shape)}")
        return self._log_prob(x, at_least_single(parameters))

    @torch.no_grad()
    def sample(self, parameters: Tensor, *, temperature: float = 1.0, generator: Generator | None = None) -> Tensor:
        """Draw each element, without gradients.

        Args:
            parameters: ``(B, P, *rest)``.
            temperature: logits are divided by it and scales are multiplied by it. 0 gives the most probable value of a
                Bernoulli or categorical distribution, and the center of the heaviest component of a mixture.
            generator: source of the noise.

        Returns:
            ``(B, *rest)``: integers if there are `levels`, uint8 up to 256 of them and int64 beyond; else of the dtype
            of the parameters.

        Raises:
            ValueError: if the temperature is negative.
        """
        temperature = finite_number("temperature", temperature, at_least=0)
        x = self._sample(at_least_single(parameters), temperature, generator)
        return x.to(self.dtype or parameters.dtype)

    @property
    def dtype(self) -> torch.dtype | None:
        """The dtype of samples: uint8 up to 256 levels, int64 beyond, None for the dtype of the parameters."""
        if self.levels is None:
            return None
        return torch.uint8 if self.levels <= 256 else torch.int64

    def check(self, x: Tensor) -> None:
        """Raise unless x holds numbers of the kind that the head takes; errors as for `log_prob`."""
        name = type(self).__name__
        if self.levels is not None:
            check_levels(x, self.levels, name)
        elif not x.is_floating_point():
            raise TypeError(
                f"{name} expects floating-point input, got {x.dtype}; convert with .float(), or give the model levels"
            )

    @abstractmethod
    def _log_prob(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Return the log probability of each element."""

    @abstractmethod
    def _sample(self, parameters: Tensor, temperature: float, generator: Generator | None) -> Tensor:
        """Draw each element; any dtype that holds the values."""


@dataclass(frozen=True)
class Bernoulli(Head):
    r"""Two levels with one parameter, the logit l: :math:`P(1) = \sigma(l)`.

    Example:
        >>> Bernoulli().log_prob(torch.tensor([[0, 1]]), torch.tensor([[[0.0, 2.0]]]))
        tensor([[-0.6931, -0.1269]])
    """

    levels = 2
    num_parameters = 1

    def _log_prob(self, x: Tensor, parameters: Tensor) -> Tensor:
        logits = parameters[:, 0]
        return x * logits - F.softplus(logits)

    def _sample(self, parameters: Tensor, temperature: float, generator: Generator | None) -> Tensor:
        return parameters[:, 0] + temperature * _logistic(parameters[:, 0], generator) > 0


@dataclass(frozen=True)
class Categorical(Head):
    r"""Any distribution of K levels, with K logits as parameters: :math:`P(k) \propto e^{l_k}`.

    Args:
        levels: number of levels K, from 2 to 65536.

    Example:
        >>> Categorical(3).log_prob(torch.tensor([[2]]), torch.zeros(1, 3, 1))
        tensor([[-1.0986]])
    """

    levels: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", _whole_levels(self.levels))

    @property
    def num_parameters(self) -> int:
        """Number of parameters P for each element: the levels."""
        return self.levels

    def _log_prob(self, x: Tensor, parameters: Tensor) -> Tensor:
        return parameters.log_softmax(1).gather(1, x.long()[:, None]).squeeze(1)

    def _sample(self, parameters: Tensor, temperature: float, generator: Generator | None) -> Tensor:
        return _choose(parameters, temperature, generator)


@dataclass(frozen=True)
class Gaussian(Head):
    r"""Normal distribution of a real number, with the mean μ and log σ as parameters; log σ ≥ -7.

    Example:
        >>> Gaussian().log_prob(torch.zeros(1, 1), torch.zeros(1, 2, 1))
        tensor([[-0.9189]])
    """

    levels = None
    num_parameters = 2

    def _log_prob(self, x: Tensor, parameters: Tensor) -> Tensor:
        return _log_normal(x, *_location_and_log_scale(parameters))

    def _sample(self, parameters: Tensor, temperature: float, generator: Generator | None) -> Tensor:
        mean, log_scale = _location_and_log_scale(parameters)
        return mean + _spread(log_scale, temperature) * _noise(torch.randn, mean, generator)


@dataclass(frozen=True)
class GaussianMixture(Head):
    r"""Mixture of k normal distributions of a real number: :math:`p(x) = \sum_i \pi_i N(x; \mu_i, \sigma_i^2)`.

    The parameters are the k logits of π, then k means, then k times log σ ≥ -7. Means are counted from k points that
    are evenly spread over [-1, 1], so that components differ where all parameters are zero.

    Args:
        components: number of components k.

    Example:
        >>> from inverseflow.distributions import GaussianMixture
        >>> GaussianMixture(components=1).log_prob(torch.zeros(1, 1), torch.zeros(1, 3, 1))
        tensor([[-0.9189]])
    """

    levels = None
    components: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "components", whole_number("components", self.components, at_least=1))

    @property
    def num_parameters(self) -> int:
        """Number of parameters P for each element: 3 for each component."""
        return 3 * self.components

    def _log_prob(self, x: Tensor, parameters: Tensor) -> Tensor:
        log_weights, mean, log_scale = _components(parameters, MIN_LOG_SCALE)
        return (log_weights + _log_normal(x[:, None], mean, log_scale)).logsumexp(1)

    def _sample(self, parameters: Tensor, temperature: float, generator: Generator | None) -> Tensor:
        mean, log_scale = _choose_component(parameters, MIN_LOG_SCALE, temperature, generator)
        return mean + _spread(log_scale, temperature) * _noise(torch.randn, mean, generator)


@dataclass(frozen=True)
class LogisticMixture(Head):
    r"""Discretized mixture of k logistic distributions over K levels.

    .. math:: P(v) = \sum_i \pi_i \left[ \sigma\!\left(\frac{y_v + h - \mu_i}{s_i}\right)
        - \sigma\!\left(\frac{y_v - h - \mu_i}{s_i}\right) \right], \quad y_v = \frac{2v}{K - 1} - 1, \quad
        h = \frac{1}{K - 1}

    The lowest interval reaches down to -∞ and the highest up to ∞, so the levels sum to 1 exactly. The parameters are
    the k logits of π, then k means, then k times log s. Means are counted from k points that are evenly spread over
    [-1, 1]. log s ≥ -7, and less in proportion to the interval if there are more than 256 levels.

    Args:
        levels: number of levels K, from 2 to 65536.
        components: number of components k.

    Reference:
        Salimans et al., PixelCNN++, 2017, section 2.1, https://arxiv.org/abs/1701.05517.

    Example:
        >>> head = LogisticMixture(levels=4, components=2)
        >>> x, parameters = torch.arange(4)[:, None], torch.randn(1, 6, 1).expand(4, -1, -1)
        >>> head.log_prob(x, parameters).exp().sum()
        tensor(1.)
    """

    levels: int
    components: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", _whole_levels(self.levels))
        object.__setattr__(self, "components", whole_number("components", self.components, at_least=1))

    @property
    def num_parameters(self) -> int:
        """Number of parameters P for each element: 3 for each component."""
        return 3 * self.components

    def _log_prob(self, x: Tensor, parameters: Tensor) -> Tensor:
        log_weights, mean, log_scale = _components(parameters, self._min_log_scale)
        x = x.long()[:, None]
        centered = 2 * x.to(parameters.dtype) / (self.levels - 1) - 1 - mean
        precision, half = (-log_scale).exp(), 1 / (self.levels - 1)
        # σ(b) - σ(a) = σ(b) σ(-a) (1 - e^(a - b)), which neither cancels nor underflows.
        below = F.logsigmoid((centered + half) * precision).where(x < self.levels - 1, 0)
        above = F.logsigmoid((half - centered) * precision).where(x > 0, 0)
        width, eps = 2 * half * precision, torch.finfo(parameters.dtype).eps
        inside = (-torch.expm1(-width.clamp_min(eps))).log()
        inside = torch.where(width < eps, math.log(2 * half) - log_scale, inside)  # the logarithm of the width
        inside = inside.where((x > 0) & (x < self.levels - 1), 0)
        return (log_weights + below + above + inside).logsumexp(1)

    def _sample(self, parameters: Tensor, temperature: float, generator: Generator | None) -> Tensor:
        mean, log_scale = _choose_component(parameters, self._min_log_scale, temperature, generator)
        y = mean + _spread(log_scale, temperature) * _logistic(mean, generator)
        return ((y + 1) * ((self.levels - 1) / 2)).round().clamp(0, self.levels - 1)

    @property
    def _min_log_scale(self) -> float:
        return MIN_LOG_SCALE - max(0.0, math.log((self.levels - 1) / 255))


def head_for(levels: int | None, components: int | None = None) -> Head:
    """Return the head of a model with these options.

    Args:
        levels: number of levels of integer data, None for continuous data.
        components: components of a mixture, None for none.

    Returns:
        `Bernoulli` for 2 levels and `Categorical` for more, or `LogisticMixture`; `Gaussian` for continuous data, or
        `GaussianMixture`.

    Raises:
        ValueError: if there are fewer than 2 levels, or no component.

    Example:
        >>> head_for(256), head_for(256, components=10), head_for(None)
        (Categorical(levels=256), LogisticMixture(levels=256, components=10), Gaussian())
    """
    if levels is None:
        return Gaussian() if components is None else GaussianMixture(components)
    if components is not None:
        return LogisticMixture(levels, components)
    return Bernoulli() if levels == 2 else Categorical(levels)


def _whole_levels(levels: int) -> int:
    return whole_number("levels", levels, at_least=2, at_most=2**16)


def _location_and_log_scale(parameters: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_scale = parameters.unbind(1)
    return mean, log_scale.clamp(min=MIN_LOG_SCALE)


def _log_normal(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    return -0.5 * ((x - mean) * (-log_scale).exp()).square() - log_scale - 0.5 * math.log(2 * math.pi)


def _components(parameters: Tensor, min_log_scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return log weights, means and log scales of the components of a mixture, each ``(B, k, *rest)``."""
    logits, mean, log_scale = parameters.chunk(3, dim=1)
    count = logits.shape[1]
    start = torch.linspace(-1, 1, count + 2, dtype=mean.dtype, device=mean.device)[1:-1]
    mean = mean + start.reshape(-1, *(1 for _ in mean.shape[2:]))
    return logits.log_softmax(1), mean, log_scale.clamp(min=min_log_scale)


def _choose_component(
    parameters: Tensor, min_log_scale: float, temperature: float, generator: Generator | None
) -> tuple[Tensor, Tensor]:
    """Draw a component of each mixture; return its mean and log scale, each ``(B, *rest)``."""
    log_weights, mean, log_scale = _components(parameters, min_log_scale)
    chosen = _choose(log_weights, temperature, generator)[:, None]
    return mean.gather(1, chosen).squeeze(1), log_scale.gather(1, chosen).squeeze(1)


def _choose(logits: Tensor, temperature: float, generator: Generator | None) -> Tensor:
    """Draw from the categorical distribution along axis 1: the largest logit plus Gumbel noise."""
    exponential = -_open_uniform(logits, generator).log()
    return (logits - temperature * exponential.log()).argmax(1)


def _logistic(like: Tensor, generator: Generator | None) -> Tensor:
    return _open_uniform(like, generator).logit()


def _spread(log_scale: Tensor, temperature: float) -> Tensor:
    """Return scales times the temperature, zero at temperature 0 even if a scale is infinite."""
    return temperature * log_scale.exp() if temperature else torch.zeros_like(log_scale)


def _open_uniform(like: Tensor, generator: Generator | None) -> Tensor:
    """Draw uniform numbers from the open interval (0, 1); those that `torch.rand` rounds to 0 are half of its step."""
    eps = torch.finfo(like.dtype).eps
    return _noise(torch.rand, like, generator).clamp(eps / 4, 1 - eps / 2)


def _noise(draw: Callable[..., Tensor], like: Tensor, generator: Generator | None) -> Tensor:
    """Draw noise on the device of the generator, for a tensor that may lie elsewhere."""
    device = like.device if generator is None else generator.device
    return draw(like.shape, dtype=like.dtype, device=device, generator=generator).to(like.device)
