"""Methods that are one bijection between x and [y, z]: trained by discrepancies, or by maximum likelihood."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn

from inverseflow.bijections import ActNorm, Affine, Bijection, Compose, Coupling, Halves, Householder, Residual
from inverseflow.bijections.actnorm import initialize_from_data
from inverseflow.densities.density import Likelihood
from inverseflow.errors import DataError, OptionError
from inverseflow.inference.methods.base import Conditional, Training, method
from inverseflow.nets import MLP, LipschitzNet
from inverseflow.ops import mmd
from inverseflow.training.objective import Loss
from inverseflow.utils.arguments import finite_number, whole_number

LEAST_NOISE = 0.05
"""Least deviation of the observations that maximum likelihood finds, where theirs is one. A smaller one, which it would
find for observations without noise, makes them all that counts, and leaves z far from normal."""
_PACE = 10.0  # the deviations fall by orders of magnitude while weights move by tenths
WIDTHS = (0.04, 0.8, 4.0)
"""Widths of the kernels, in squared deviations: under narrower ones a point has hardly any neighbors in a batch."""
PAD_DRAWS = 16
"""Draws of the pads over which a density is averaged in evaluation mode."""


class JointBijection(Conditional):
    r"""Base class of models that map parameters one-to-one to observations and a latent: f: [x, u] ↔ [y, z, v].

    Both sides are padded to N numbers: x by u, and [y, z] by v. Samples given y are :math:`f^{-1}(y, z, v)` for normal
    z and v.

    Args:
        dims: number of parameters D.
        context_channels: number of observations M.
        build: builds f from its number of channels N.
        latent: length K of z, from 0 to D; None for D - M, the dimensions that y leaves open, or for D if M is not
            smaller: several observations then tell about the same, or are noisy.
        channels: the total N, at least D and M + K; None for the larger of them.
        pad_noise: deviation of the pads u and v.

    Raises:
        ValueError: if a number is out of its range.
    """

    def __init__(
        self,
        dims: int,
        context_channels: int,
        build: Callable[[int], Bijection],
        *,
        latent: int | None = None,
        channels: int | None = None,
        pad_noise: float,
    ) -> None:
        super().__init__(dims, context_channels)
        left = dims - context_channels
        self.latent = whole_number("latent", (left if left > 0 else dims) if latent is None else latent, at_least=0)
        if self.latent > dims:
            raise ValueError(
                f"latent must be at most the {dims} parameters, got {latent}: a longer one holds nothing of x; "
                "pad by channels"
            )
        needed = max(dims, context_channels + self.latent)
        self.channels = whole_number("channels", max(needed, 2) if channels is None else channels)
        if self.channels < needed:
            raise ValueError(
                f"channels must be at least {needed}, for {dims} parameters and for {context_channels} observations + "
                f"{self.latent} of the latent, got {channels}"
            )
        self.pad_noise = finite_number("pad_noise", pad_noise, above=0)
        self.bijection = build(self.channels)

    @torch.no_grad()
    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n rows, without gradients; arguments and errors as for `Density.sample`."""
        n, context, temperature = self._sampling_args(n, context, temperature)
        if context is None:
            raise ValueError(f"{type(self).__name__} is conditional: pass a context")
        noise = temperature * torch.randn(
            n, self.channels, generator=generator, dtype=context.dtype, device=context.device
        )
        return self.to_parameters(self._scaled(noise, context))[0]

    def predict(self, x: Tensor) -> Tensor:
        """Return the observations ``(B, M)`` of x with pads of zero."""
        return self.to_latent(x, x.new_zeros(len(x), self.channels - self.dims))[0]

    def to_latent(self, x: Tensor, pads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return f(x, u) in its parts, and the log-determinant.

        Args:
            x: ``(B, D)``.
            pads: u, ``(B, N - D)``.

        Returns:
            The observations ``(B, M)``, the latent ``(B, K)``, the pads ``(B, N - M - K)``, and ``(B,)``.
        """
        joint, log_det = self.bijection(torch.cat([x, pads], 1))
        assert self.context_shape is not None
        observed = self.context_shape[0]
        y, z, v = joint.tensor_split([observed, observed + self.latent], dim=1)
        return y, z, v, log_det

    def to_parameters(self, joint: Tensor) -> tuple[Tensor, Tensor]:
        """Return x ``(B, D)`` and its pads ``(B, N - D)`` of [y, z, v] ``(B, N)``."""
        padded, _ = self.bijection.inverse(joint)
        x, pads = padded.tensor_split([self.dims], dim=1)
        return x, pads

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set parameters that depend on data.

        Raises:
            DataError: if there is no latent, and equal observations have different parameters.
        """
        if context is not None and not self.latent:
            _require_one_to_one(x, context)
        initialize_from_data(self.bijection, torch.cat([x, self._pads(x, self.dims)], 1))

    def _pads(self, like: Tensor, first: int) -> Tensor:
        """Draw the pads behind the first elements for each row."""
        return self.pad_noise * torch.randn(len(like), self.channels - first, dtype=like.dtype, device=like.device)

    def _scaled(self, noise: Tensor, y: Tensor) -> Tensor:
        """Return [y, z, v] for standard normal noise ``(B, N)``."""
        end = y.shape[1] + self.latent
        return torch.cat([y, noise[:, y.shape[1] : end], self.pad_noise * noise[:, end:]], 1)


class INN(JointBijection):
    r"""Invertible network x ↔ [y, z], trained in both directions by discrepancies between samples.

    .. math:: L = w_y \lVert f_y(x) - y \rVert^2 + w_z\, \mathrm{MMD}^2\big([\bar f_y(x), f_z(x)], [y, z]\big)
        + w_x\, \mathrm{MMD}^2\big(f^{-1}(y, z), x\big) + w_r \lVert f^{-1}(f(x) + \epsilon) - x \rVert^2
        + w_p (\lVert v \rVert^2 + \lVert u \rVert^2)

    with z drawn anew, and no gradient through :math:`\bar f_y`: the second term makes z normal and independent of y,
    and leaves y to the first. The pads are noise where they enter, and are penalized where they leave. The weight of
    the third term rises from 0 in the first passes of training. One step adds the gradients of both directions. The
    samples have no density: nothing ties their spread to one.

    Args:
        dims: number of parameters D.
        context_channels: number of observations M.
        build: builds f, as for `JointBijection`.
        latent: length K of z.
        channels: the total N.
        fit_weight: weight of the observations, :math:`w_y`.
        latent_weight: weight of the discrepancy of the latent, :math:`w_z`.
        prior_weight: weight of the discrepancy of the parameters, :math:`w_x`.
        reconstruction_weight: weight of the reconstruction, :math:`w_r`; 0 leaves it out.
        pad_weight: weight of the pads, :math:`w_p`.
        observation_noise: deviation of noise that is added to y.
        latent_noise: deviation of the noise ε of the reconstruction.
        pad_noise: deviation of the pads.
        ramp: training passes until the third term has its full weight.

    Raises:
        ValueError: if a number is out of its range.

    Reference:
        Ardizzone et al., `Analyzing Inverse Problems with Invertible Neural Networks
        <https://arxiv.org/abs/1808.04730>`_, 2019, section 3. Its public code has :math:`w_y = w_r = 1`. A larger
        weight of y learns it in fewer steps, and without the reconstruction a step takes less time.
    """

    has_density = False
    passes: Tensor

    def __init__(
        self,
        dims: int,
        context_channels: int,
        build: Callable[[int], Bijection],
        *,
        latent: int | None = None,
        channels: int | None = None,
        fit_weight: float = 10.0,
        latent_weight: float = 50.0,
        prior_weight: float = 500.0,
        reconstruction_weight: float = 0.0,
        pad_weight: float = 10.0,
        observation_noise: float = 0.05,
        latent_noise: float = 0.02,
        pad_noise: float = 0.01,
        ramp: int = 200,
    ) -> None:
        super().__init__(dims, context_channels, build, latent=latent, channels=channels, pad_noise=pad_noise)
        self.weights = {
            name: finite_number(f"{name}_weight", value, at_least=0)
            for name, value in {
                "fit": fit_weight,
                "latent": latent_weight,
                "prior": prior_weight,
                "reconstruction": reconstruction_weight,
                "pad": pad_weight,
            }.items()
        }
        self.observation_noise = finite_number("observation_noise", observation_noise, at_least=0)
        self.latent_noise = finite_number("latent_noise", latent_noise, at_least=0)
        self.ramp = whole_number("ramp", ramp, at_least=0)
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def loss(self, x: Tensor, context: Tensor) -> Loss:
        """Return the sum of the weighted terms of both directions."""
        if context.requires_grad:
            raise OptionError(
                "an INN can't train a summary of the observations: a constant one has the smallest loss; take inn-ml, "
                "cinn, or a summary without parameters"
            )
        if self.training:
            self.passes += 1
        terms = {**self.forward_terms(x, context), **self.reverse_terms(x, context)}
        return Loss(torch.stack(list(terms.values())).sum(), terms)

    def forward_terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return the weighted terms of x → [y, z]: observations, latent, pads and reconstruction."""
        weights = self.weights
        target = y + self.observation_noise * torch.randn_like(y)
        found, z, v, _ = self.to_latent(x, self._pads(x, self.dims))
        product = torch.cat([target, torch.randn_like(z)], 1)
        terms = {
            "fit": weights["fit"] * _mean_square(found - target),
            "latent": weights["latent"] * mmd(torch.cat([found.detach(), z], 1), product, widths=WIDTHS),
        }
        if v.shape[1]:
            terms["latent_pads"] = weights["pad"] * _mean_square(v)
        if weights["reconstruction"]:
            joint = torch.cat([found, z, v], 1)
            again, _ = self.to_parameters(joint + self.latent_noise * torch.randn_like(joint))
            terms["reconstruction"] = weights["reconstruction"] * _mean_square(again - x)
        return terms

    def reverse_terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return the weighted terms of [y, z] → x: parameters and pads."""
        ramp = min(1.0, float(self.passes) / self.ramp) if self.training and self.ramp else 1.0
        noise = torch.randn(len(y), self.channels, dtype=y.dtype, device=y.device)
        target = y + self.observation_noise * noise[:, : y.shape[1]]
        drawn, u = self.to_parameters(self._scaled(noise, target))
        terms = {"prior": ramp * self.weights["prior"] * mmd(drawn, x, widths=WIDTHS)}
        if u.shape[1]:
            terms["parameter_pads"] = self.weights["pad"] * _mean_square(u)
        return terms


class LikelihoodINN(JointBijection):
    r"""Invertible network x ↔ [y, z], trained by maximum likelihood: its density is that of its samples.

    .. math:: q(x, u \mid y) = \mathcal{N}\big(f_y(x, u);\, y, \Sigma\big)\, \mathcal{N}\big(f_z; 0, I\big)\,
        \mathcal{N}\big(f_v; 0, \sigma_v^2 I\big)\, \left|\det \frac{\partial f}{\partial (x, u)}\right|

    the image under :math:`f^{-1}` of y with noise, of z and of the pads v. Without pads of x the density of x is exact.
    With pads u the model is a density of both, and draws of u give a lower bound in expectation,
    :math:`\log q(x, u \mid y) - \log \mathcal{N}(u; 0, \sigma_u^2 I)`; in evaluation mode the bound is tightened by
    the mean over several draws. The factor of Σ is learned, down to a deviation of 0.05, unless `observation_noise`
    gives one deviation for all observations.

    Args:
        dims: number of parameters D.
        context_channels: number of observations M.
        build: builds f, as for `JointBijection`.
        latent: length K of z.
        channels: the total N.
        observation_noise: deviation of the observations; None learns their covariance.
        pad_noise: deviation of the pads.

    Raises:
        ValueError: if a number is out of its range.

    Reference:
        Kruse et al., `Benchmarking Invertible Architectures on Inverse Problems <https://arxiv.org/abs/2101.10763>`_,
        2021, section 2; pads: Huang et al., `Augmented Normalizing Flows <https://arxiv.org/abs/2002.07101>`_, 2020.
    """

    def __init__(
        self,
        dims: int,
        context_channels: int,
        build: Callable[[int], Bijection],
        *,
        latent: int | None = None,
        channels: int | None = None,
        observation_noise: float | None = None,
        pad_noise: float = 1.0,
    ) -> None:
        super().__init__(dims, context_channels, build, latent=latent, channels=channels, pad_noise=pad_noise)
        learned = observation_noise is None
        self.least_noise = LEAST_NOISE if learned else finite_number("observation_noise", observation_noise, above=0)
        self.log_noise = nn.Parameter(torch.zeros(context_channels)) if learned else None
        self.mixing = nn.Parameter(torch.zeros(context_channels, context_channels)) if learned else None

    @property
    def likelihood(self) -> Likelihood:
        """``"exact"`` without pads of x, else ``"bound"``; ``"estimate"`` if a `Residual` layer estimates."""
        if any(layer.estimates(self.channels) for layer in self.modules() if isinstance(layer, Residual)):
            return "estimate"
        return "exact" if self.channels == self.dims else "bound"

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log density ``(B,)``, or its lower bound; arguments and errors as for `Density.log_prob`."""
        self._check_batch(x, self.event_shape)
        self._check_context(context, x)
        assert context is not None
        draws = 1 if self.training or self.channels == self.dims else PAD_DRAWS
        repeated, y = x.repeat(draws, 1), context.repeat(draws, 1)
        pads = self._pads(repeated, self.dims)
        weights = self.joint_log_prob(repeated, pads, y) - _log_normal(pads, self.pad_noise)
        log_prob: Tensor = weights.view(draws, len(x)).logsumexp(0) - math.log(draws)
        return log_prob

    def joint_log_prob(self, x: Tensor, pads: Tensor, y: Tensor) -> Tensor:
        """Return log q(x, u | y), ``(B,)``.

        Args:
            x: ``(B, D)``.
            pads: u, ``(B, N - D)``.
            y: ``(B, M)``.
        """
        found, z, v, log_det = self.to_latent(x, pads)
        whitening = self._whitening(y)
        of_y = _log_normal((found - y) @ whitening.T) + whitening.diagonal().log().sum()
        return of_y + _log_normal(z) + _log_normal(v, self.pad_noise) + log_det

    def _scaled(self, noise: Tensor, y: Tensor) -> Tensor:
        joint = super()._scaled(noise, y)
        deviation = noise[:, : y.shape[1]]
        deviation = torch.linalg.solve_triangular(self._whitening(y), deviation.T, upper=False).T
        return torch.cat([y + deviation, joint[:, y.shape[1] :]], 1)

    def _whitening(self, y: Tensor) -> Tensor:
        """Return the lower triangular matrix that makes the noise of y standard normal."""
        if self.log_noise is None or self.mixing is None:
            return torch.eye(y.shape[1], dtype=y.dtype, device=y.device) / self.least_noise
        noise = self.least_noise + (_PACE * self.log_noise).exp()
        return torch.diag(1 / noise) + self.mixing.tril(-1)


@method("inn", has_density=False, has_forward=True, training=Training(batch_size=256, learning_rate=3e-3))
def inn(
    dims: int,
    context_channels: int,
    *,
    blocks: int = 4,
    width: int = 96,
    depth: int = 2,
    **options: Any,
) -> Conditional:
    """Build an invertible network x ↔ [y, z] of affine couplings, trained by discrepancies: see `INN`.

    Args:
        dims: number of parameters D.
        context_channels: number of observations M.
        blocks: blocks of two couplings each, with a learned rotation (`Householder`) between.
        width: hidden units in each layer of a network.
        depth: hidden layers of a network.
        options: options of `INN`.
    """
    return INN(dims, context_channels, partial(couplings, blocks=blocks, width=width, depth=depth), **options)


@method("inn-ml", has_forward=True, training=Training(batch_size=256, learning_rate=3e-3))
def inn_ml(
    dims: int,
    context_channels: int,
    *,
    blocks: int = 4,
    width: int = 96,
    depth: int = 2,
    **options: Any,
) -> Conditional:
    """Build an invertible network x ↔ [y, z] as `inn`, trained by maximum likelihood: see `LikelihoodINN`."""
    build = partial(couplings, blocks=blocks, width=width, depth=depth)
    return LikelihoodINN(dims, context_channels, build, **options)


@method("iresnet", has_forward=True, training=Training(batch_size=256, learning_rate=3e-3))
def iresnet(
    dims: int,
    context_channels: int,
    *,
    steps: int = 10,
    width: int = 64,
    depth: int = 2,
    max_lipschitz: float = 0.9,
    **options: Any,
) -> Conditional:
    """Build a residual network x ↔ [y, z], trained by maximum likelihood as `inn_ml`; exact up to 64 channels.

    Args:
        dims: number of parameters D.
        context_channels: number of observations M.
        steps: residual blocks, each behind an `ActNorm`.
        width: hidden units in each layer of a network.
        depth: hidden layers of a network.
        max_lipschitz: bound of the Lipschitz constant of each block's network, below 1.
        options: options of `LikelihoodINN`.

    Reference:
        Behrmann et al., `Invertible Residual Networks <https://arxiv.org/abs/1811.00995>`_, 2019.
    """

    def build(channels: int) -> Bijection:
        net = partial(LipschitzNet, width=width, depth=depth, max_lipschitz=max_lipschitz)
        return Compose(*(Compose(ActNorm(channels), Residual(channels, net)) for _ in range(steps)))

    return LikelihoodINN(dims, context_channels, build, **options)


def couplings(channels: int, *, blocks: int, width: int, depth: int) -> Bijection:
    """Return blocks of two affine couplings, one for either half, with learned rotations between.

    The publications have fixed random permutations. Of few channels, many of those mix nothing: a third of four.
    """
    net = partial(MLP, width=width, depth=depth)
    layers: list[Bijection] = []
    for block in range(whole_number("blocks", blocks, at_least=1)):
        layers += [Householder(channels)] if block else []
        layers += [Coupling(channels, net, map=Affine(), split=Halves(swap=swap)) for swap in (False, True)]
    return Compose(*layers)


def _require_one_to_one(x: Tensor, y: Tensor) -> None:
    """Raise if neighbors among the observations have parameters that are far apart."""
    rows = slice(0, 1000)
    distances = torch.cdist(y[rows], y[rows]).fill_diagonal_(math.inf)
    near = distances.argmin(1)
    of_y, of_x = (_mean_square(v[rows] - v[rows][near]) / (2 * v[rows].var(0).sum()) for v in (y, x))
    if of_x > 0.1 and of_x > 10 * of_y:
        raise DataError(
            f"latent=0 needs observations that determine the parameters, but neighbors among them, which share "
            f"{1 - of_y:.0%} of the variance of y, share {1 - of_x:.0%} of that of x; leave latent out"
        )


def _log_normal(x: Tensor, deviation: float = 1.0) -> Tensor:
    """Return the log density ``(B,)`` of rows of independent normal numbers of mean zero."""
    constant = math.log(deviation) + 0.5 * math.log(2 * math.pi)
    return -0.5 * (x / deviation).square().sum(1) - x.shape[1] * constant


def _mean_square(x: Tensor) -> Tensor:
    """Return the mean over rows of the squared norm."""
    return x.square().sum(1).mean()
