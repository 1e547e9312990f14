"""A density model: preprocessing, a bijection, and a base density."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from inverseflow.bijections import Bijection, Compose, Dequantize, Multiscale, Shape, initialize_from_data
from inverseflow.distributions import StandardNormal
from inverseflow.errors import ConvergenceError, SingularError
from inverseflow.flows import pretrained
from inverseflow.flows.distribution import FlowDistribution
from inverseflow.flows.failing import failing_layer
from inverseflow.flows.image.step import Step

if TYPE_CHECKING:
    from typing_extensions import Self


class Flow(nn.Module):
    r"""A density over data x through a bijection f and a base density p.

    .. math:: \log p(x) = \log p_z(f(x)) + \log|\det \partial f / \partial x|

    With `levels`, x are integer grey levels and the flow dequantises them itself: ``log_prob`` is then a one-sample
    estimate of a lower bound on the log probability of the discrete image (its expectation over the noise is the
    bound), and ``bits_per_dim`` the corresponding upper bound. Without, x is continuous and ``log_prob`` its exact
    log density.

    Args:
        bijection: from preprocessed data to the latent.
        event_shape: the shape of one datum, ``(C, *spatial)``.
        levels: number of grey levels of integer data, None for continuous data.
        preprocessing: a fixed bijection applied first (after dequantisation), None for none.
        base: density of the flat latent ``(B, D)``: a module with ``log_prob(z)`` and ``sample(n, temperature=,
            generator=)``; a standard normal by default.

    Shape:
        x: ``(B, *event_shape)``; log_prob: ``(B,)``; latent: ``(B, D)``.

    Raises:
        ValueError: a layer can't take the shape that reaches it, or the latent has another number of dimensions.

    Example:
        >>> flow = Flow(Compose(ActNorm(2), AffineCoupling(2, MLP(1, 2, width=8))), (2,))
        >>> x = torch.randn(5, 2)
        >>> flow.log_prob(x).shape, flow.sample(3).shape
        (torch.Size([5]), torch.Size([3, 2]))
    """

    config: dict[str, Any] | None = None
    """What a registered flow was built with: ``{"flow": name, "options": {...}}``."""

    paper_architecture: ClassVar[Mapping[str, Any] | None] = None
    """Options that bring a ready-made flow closer to its publication's, None where there is no publication."""

    def __init__(
        self,
        bijection: Bijection,
        event_shape: Shape,
        *,
        levels: int | None = None,
        preprocessing: Bijection | None = None,
        base: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.event_shape: Shape = tuple(event_shape)
        self.dims = math.prod(self.event_shape)
        self.levels = levels
        self.dequantize = Dequantize(levels) if levels is not None else None
        self.preprocessing = preprocessing if preprocessing is not None else Compose()
        self.bijection = bijection
        self._latent_shape = bijection.output_shape(self.preprocessing.output_shape(self.event_shape))
        if math.prod(self._latent_shape) != self.dims:
            raise ValueError(f"a latent of shape {self._latent_shape} can't stand for data of shape {self.event_shape}")
        self.base: Any = base if base is not None else StandardNormal(self.dims)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return `log_prob`, so that wrappers for parallel training and compilation see the likelihood."""
        self._check_event(x)
        if self.dequantize is None:
            return self._log_density(x, context)
        x, log_det = self.dequantize(x)
        log_prob: Tensor = self._log_density(x, context) + log_det
        return log_prob

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log likelihood of each datum in nats; for grey levels a one-sample estimate of its lower bound.

        Args:
            x: ``(B, *event_shape)``; grey levels of an integer dtype when the flow has `levels`.
            context: ``(B, K)`` for a conditional flow.

        Returns:
            ``(B,)``.
        """
        log_prob: Tensor = self(x, context)
        return log_prob

    def bits_per_dim(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        r"""Return :math:`-\log p(x) / (D \log 2)` for each datum: the mean number of bits that one element costs.

        For grey levels these are bits of the *discrete* image (an upper bound); for continuous data they are the
        negative log density in bits and depend on its unit.
        """
        return self.to_bits_per_dim(self.log_prob(x, context))

    def to_bits_per_dim(self, log_prob: Tensor) -> Tensor:
        """Convert nats of a whole datum to bits per dimension."""
        return -log_prob / (self.dims * math.log(2))

    @torch.no_grad()
    def sample(
        self,
        n: int,
        context: Tensor | None = None,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw n data.

        Args:
            n: how many.
            context: ``(n, K)``, one for each sample, or ``(1, K)`` or ``(K,)`` for all.
            temperature: standard deviation of the base's noise; 1 samples the model itself, below 1 its more likely
                part.
            generator: source of the noise.

        Returns:
            ``(n, *event_shape)``: grey levels when the flow has `levels`, else floating-point.
        """
        x, _ = self.sample_with_log_prob(n, context, temperature=temperature, generator=generator)
        return x

    def sample_with_log_prob(
        self,
        n: int,
        context: Tensor | None = None,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw n data with their log density under the model, differentiable with respect to its parameters.

        With `levels` the log density is that of the continuous point in units of grey levels, before it is rounded
        down: what `log_prob` of the sample returns when its noise happens to be the fraction that was cut off.

        Args:
            n: how many.
            context: ``(n, K)``, one for each sample, or ``(1, K)`` or ``(K,)`` for all.
            temperature: standard deviation of the base's noise; the log density is the model's, at temperature 1.
            generator: source of the noise.

        Returns:
            ``(n, *event_shape)`` and ``(n,)`` in nats.
        """
        if not isinstance(n, int):
            raise TypeError(f"the number of samples is a whole number, got {n!r}")
        if n < 0:
            raise ValueError(f"can't draw {n} samples")
        if not temperature >= 0:
            raise ValueError(f"the temperature is a standard deviation and not negative, got {temperature}")
        if context is not None:
            context = torch.atleast_2d(context).flatten(0, -2)
            if context.shape[0] not in (1, n):
                raise ValueError(f"{n} samples need one context or {n} of them, got shape {tuple(context.shape)}")
            context = context.expand(n, -1)
        z = self.base.sample(n, temperature=temperature, generator=generator)
        x, log_det = self._from_latent(z, context)
        return x, self.base.log_prob(z) - log_det

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the latent of each datum, flat and of all scales, so that ``decode(encode(x)) == x``.

        Gray levels are placed at the middle of their interval instead of at a random point of it. The equality holds
        up to rounding: in float32 an ill-conditioned layer can lose the data. `round_trip_error` measures it; bound the
        layers (``max_row_sum``), train at a lower learning rate or compute in float64 if it is large.

        Args:
            x: ``(B, *event_shape)``.
            context: ``(B, K)`` for a conditional flow.

        Returns:
            ``(B, D)``; `latent_slices` tells the scales apart.
        """
        self._check_event(x)
        x = x if self.dequantize is None else self.dequantize.center(x)
        return self._to_latent(x, context)[0]

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the data whose latents these are.

        Args:
            z: ``(B, D)``.
            context: ``(B, K)`` for a conditional flow.

        Returns:
            ``(B, *event_shape)``.
        """
        if z.ndim != 2 or z.shape[1] != self.dims:
            raise ValueError(f"latents have shape (B, {self.dims}), got {tuple(z.shape)}")
        return self._from_latent(z, context)[0]

    @torch.no_grad()
    def round_trip_error(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return how far ``decode(encode(x))`` is from each datum: the largest absolute difference of an element.

        In exact arithmetic it is zero. In floating-point it grows with the condition number of the layers, and a flow
        trained at a high learning rate can lose its inverse altogether; nothing else shows it.

        Args:
            x: ``(B, *event_shape)``.
            context: ``(B, K)`` for a conditional flow.

        Returns:
            ``(B,)`` in the unit of x, gray levels when the flow has `levels`; infinite if a value is not finite.

        Example:
            >>> Flow(ActNorm(2), (2,)).round_trip_error(torch.randn(3, 2))
            tensor([0., 0., 0.])
        """
        z = self.encode(x, context)
        error = (self.decode(z, context).to(z.dtype) - x.to(z.dtype)).abs().flatten(1).amax(1)
        return torch.where(z.isfinite().all(1), error, torch.inf).nan_to_num(torch.inf, torch.inf)

    @property
    def latent_slices(self) -> dict[str, slice]:
        """Which part of the flat latent belongs to which scale, ``scale_1`` the finest."""
        if isinstance(self.bijection, Multiscale):
            return self.bijection.latent_slices
        return {"scale_1": slice(0, self.dims)}

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Let every ActNorm that is not yet initialised whiten what reaches it of this batch; once, before training.

        Args:
            x: one batch of data, large enough for stable means and deviations.
            context: the batch's context for a conditional flow.

        Raises:
            RuntimeError: the flow is in evaluation mode.
        """
        initialize_from_data(self, x, context)

    def condition(self, context: Tensor | None = None) -> FlowDistribution:
        """Return the flow as a `torch.distributions.Distribution`.

        Args:
            context: None, ``(K,)``, or ``(B, K)`` for a batch of distributions.
        """
        return FlowDistribution(self, context)

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether steps recompute their activations in the backward pass: less memory for about a third more time."""
        return any(step.gradient_checkpointing for step in self._steps())

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, enabled: bool) -> None:
        for step in self._steps():
            step.gradient_checkpointing = enabled

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors``; needs the extra ``inverseflow[hub]``.

        Each file is written aside and renamed, so that a failure leaves what was there before.

        Args:
            folder: where; made if it does not exist.

        Raises:
            CheckpointError: the flow is not a registered one, or the files can't be written.
        """
        pretrained.save(self, Path(folder))

    @classmethod
    def from_pretrained(cls, folder_or_hub_id: str | Path) -> Self:
        """Load what `save_pretrained` wrote, from a folder or from the Hugging Face hub; executes no code from it.

        Args:
            folder_or_hub_id: a folder, or ``owner/name`` on the hub.

        Raises:
            CheckpointError: files are missing, damaged, or belong to another kind of flow.
        """
        flow = pretrained.load(folder_or_hub_id)
        return pretrained.checked(flow, cls, folder_or_hub_id)

    def _steps(self) -> list[Step]:
        return [module for module in self.modules() if isinstance(module, Step)]

    def _log_density(self, x: Tensor, context: Tensor | None) -> Tensor:
        z, log_det = self._to_latent(x, context)
        log_prob: Tensor = self.base.log_prob(z) + log_det
        return log_prob

    def _to_latent(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_det = self.preprocessing(x, context)
        z, log_det_of_bijection = self.bijection(x, context)
        return z.flatten(1), log_det + log_det_of_bijection

    def _from_latent(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        try:
            x, log_det = self.bijection.inverse(z.reshape(-1, *self._latent_shape), context)
        except (ConvergenceError, SingularError) as error:
            error.args = (f"{failing_layer(error, self)}: {error}", *error.args[1:])
            raise
        x, log_det_of_preprocessing = self.preprocessing.inverse(x, context)
        log_det = log_det + log_det_of_preprocessing
        if self.dequantize is None:
            return x, log_det
        x, log_det_of_levels = self.dequantize.inverse(x)
        return x, log_det + log_det_of_levels

    def _check_event(self, x: Tensor) -> None:
        if x.ndim != 1 + len(self.event_shape) or tuple(x.shape[1:]) != self.event_shape:
            raise ValueError(
                f"this flow takes batches of shape (B, {', '.join(map(str, self.event_shape))}), got {tuple(x.shape)}"
            )
