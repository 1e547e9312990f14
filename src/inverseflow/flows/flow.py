"""A density model: preprocessing, a bijection, and a base density."""

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from typing_extensions import Self

from inverseflow.bijections import (
    ActNorm,
    Autoregressive,
    Bijection,
    CheckpointedCompose,
    Compose,
    Dequantize,
    DequantizeColumns,
    Inverse,
    Multiscale,
    Residual,
    Standardize,
    initialize_from_data,
)
from inverseflow.bijections.coupling import warn_about_idle_elements
from inverseflow.bijections.residual import without_log_det
from inverseflow.densities import Density, DensityDistribution, Likelihood, load, save
from inverseflow.densities.density import example_context_shape
from inverseflow.distributions import Base, StandardNormal
from inverseflow.distributions.independent import Independent
from inverseflow.errors import LayerError, OptionError


class Flow(Density):
    r"""A density over data x through a bijection f and a base density p.

    .. math:: \log p(x) = \log p_z(f(x)) + \log|\det \partial f / \partial x|

    With `levels`, x are integer gray levels and the flow dequantizes them itself: ``log_prob`` is then a one-sample
    estimate of a lower bound on the log probability of the discrete image (its expectation over the noise is the
    bound), and ``bits_per_dim`` the corresponding upper bound. So it is with `integer_columns`. Without, x is
    continuous and ``log_prob`` is exact. With a `VariationalDequantize` the bound is the one of its noise.

    Args:
        bijection: from preprocessed data to the latent.
        event_shape: the shape of one datum, ``(C, *spatial)``.
        levels: number of gray levels of integer data, None for continuous data.
        preprocessing: a fixed bijection applied first (after dequantization), None for none.
        base: density of the flat latent ``(B, D)``; a standard normal by default.
        integer_columns: columns of a table ``(D,)`` that hold whole numbers, which the flow dequantizes itself.
        dequantize: the layer that dequantizes the levels, such as a `VariationalDequantize`; None for uniform noise.
        embedding: a module applied to the context before the layers see it: a `Standardize`, or a network that
            summarizes an observation. It gets contexts in the dtype of the layers; but if a `torch.nn.Embedding` is
            part of it, whole numbers stay what they are. None for none.
        context_shape: shape of the context of one datum, before the embedding; None if there is none, or the layers
            check it.

    Raises:
        TypeError: if the bijection or the embedding is of another type.
        ValueError: if a layer can't take the shape that reaches it, or the latent has another number of dimensions.

    Reference:
        Rezende and Mohamed, `Variational Inference with Normalizing Flows <https://arxiv.org/abs/1505.05770>`_, 2015.

    Example:
        >>> flow = Flow(Compose(ActNorm(2), AffineCoupling(2, MLP(1, 2, width=8))), (2,))
        >>> x = torch.randn(5, 2)
        >>> flow.log_prob(x).shape, flow.sample(3).shape
        (torch.Size([5]), torch.Size([3, 2]))
    """

    def __init__(
        self,
        bijection: Bijection,
        event_shape: Sequence[int],
        *,
        levels: int | None = None,
        preprocessing: Bijection | None = None,
        base: Base | None = None,
        integer_columns: Sequence[int] = (),
        dequantize: Dequantize | None = None,
        embedding: nn.Module | None = None,
        context_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__(event_shape, levels=levels, integer_columns=integer_columns, context_shape=context_shape)
        if not isinstance(bijection, Bijection):
            raise TypeError(f"bijection must be a Bijection, got {bijection!r}")
        if embedding is not None and not isinstance(embedding, nn.Module):
            raise TypeError(f"embedding must be a torch.nn.Module, got {embedding!r}")
        warn_about_idle_elements(bijection)
        if dequantize is not None and dequantize.levels != levels:
            raise ValueError(
                f"dequantize is of {dequantize.levels} levels and the flow of levels={levels}; let them agree"
            )
        self.dequantize = self._dequantization() if dequantize is None else dequantize
        self.preprocessing = preprocessing if preprocessing is not None else Compose()
        self.bijection = bijection
        self._latent_shape = bijection.output_shape(self.preprocessing.output_shape(self.event_shape))
        if math.prod(self._latent_shape) != self.dims:
            raise ValueError(f"a latent of shape {self._latent_shape} can't stand for data of shape {self.event_shape}")
        self.base: Base = base if base is not None else StandardNormal(self.dims)
        self.embedding = embedding
        self._embeds_labels = embedding is not None and any(
            isinstance(module, nn.Embedding) for module in embedding.modules()
        )
        layers_take = example_context_shape(self) if context_shape is None and embedding is None else None
        self._context_channels = None if layers_take is None else layers_take[0]

    @property
    def likelihood(self) -> Likelihood:
        """``"estimate"`` if a `Residual` estimates, ``"bound"`` if the flow dequantizes, else ``"exact"``."""
        residuals = (module for module in self.bijection.modules() if isinstance(module, Residual))
        if any(layer.estimates(self.dims) for layer in residuals):
            return "estimate"
        return "exact" if self.dequantize is None else "bound"

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log density of each datum in nats; for gray levels a one-sample estimate of its lower bound.

        Arguments as for `Density.log_prob`; gray levels have an integer dtype.
        """
        return self.encode_with_log_prob(x, context)[1]

    def encode_with_log_prob(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the latent ``(B, D)`` of each datum, with whole numbers at noise, and `log_prob`, computed together.

        Arguments as for `log_prob`.
        """
        self._check_batch(x, self.event_shape)
        log_det_of_levels: Tensor | float = 0.0
        if self.dequantize is not None:
            x, log_det_of_levels = self.dequantize(x)
        z, log_det = self._to_latent(x, context)
        return z, self.base.log_prob(z) + log_det + log_det_of_levels

    def log_prob_at_center(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log density ``(B,)`` at the middle of the unit interval of each whole number, instead of at noise.

        It is a score that depends on the datum alone, and neither exact nor a bound. Without whole numbers it is
        `log_prob`.

        Arguments as for `log_prob`.
        """
        if self.dequantize is None:
            return self.log_prob(x, context)
        x, log_det = self._centered(x)
        return self._log_density(x, context) + log_det

    def log_prob_by_scale(self, x: Tensor, context: Tensor | None = None) -> dict[str, Tensor]:
        """Return what the preprocessing and each scale contribute to `log_prob_at_center`, each ``(B,)``.

        A scale contributes the log density of the latent that leaves there, and the log-determinant of its layers; the
        learned prior of what leaves is one of these. The sum of all is the log density.

        Arguments as for `log_prob`.

        Raises:
            OptionError: if the base density of several scales does not fall apart into dimensions.

        Example:
            >>> flow, x = ImageFlow((1, 8, 8), scales=2, steps=1, width=8), torch.randint(256, (5, 1, 8, 8))
            >>> parts = flow.log_prob_by_scale(x)
            >>> list(parts), torch.allclose(sum(parts.values()), flow.log_prob_at_center(x))
            (['preprocessing', 'scale_1', 'scale_2'], True)
        """
        context = self._embed(context, x)
        x, log_det_of_levels = self._centered(x)
        x, log_det = self.preprocessing(x, context)
        x = x if self.dequantize is None else x.to(self._layer_dtype())
        multiscale = self.bijection if isinstance(self.bijection, Multiscale) else None
        scales = [self.bijection(x, context)] if multiscale is None else multiscale.by_scale(x, context)
        parts = {"preprocessing": torch.zeros(len(x), device=x.device) + log_det + log_det_of_levels}
        for name, (z, log_det) in zip(self.latent_slices, scales, strict=True):
            if multiscale is None:
                base = self.base
            elif isinstance(self.base, Independent):
                base = type(self.base)(z.shape[1])
            else:
                raise OptionError(f"{type(self.base).__name__} is no density of independent dimensions: use log_prob")
            parts[name] = base.log_prob(z.flatten(1)) + log_det
        return parts

    def _centered(self, x: Tensor) -> tuple[Tensor, float]:
        """Return data with whole numbers at the middle of their interval, and the log-determinant of the levels."""
        self._check_batch(x, self.event_shape)
        if self.dequantize is None:
            return x, 0.0
        return self.dequantize.center(x), 0.0 if self.levels is None else -self.dims * math.log(self.levels)

    @torch.no_grad()
    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n data, without gradients; arguments as for `Density.sample`."""
        n, context, temperature = self._sampling_args(n, context, temperature)
        z = self.base.sample(n, temperature=temperature, generator=generator)
        with nullcontext() if torch.compiler.is_compiling() else without_log_det():
            x, _ = self._from_latent(z, context)
        return x

    @property
    def has_rsample(self) -> bool:
        """Whether samples can carry gradients: not if they are gray levels or hold whole numbers."""
        return self.dequantize is None

    def rsample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n data with gradients to parameters and context; arguments and errors as for `Density.rsample`."""
        if not self.has_rsample:
            return super().rsample(n, context)
        x, _ = self.sample_with_log_prob(n, context, temperature=temperature, generator=generator)
        return x

    def sample_with_log_prob(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw n data with their log density under the model, differentiable with respect to its parameters.

        With `levels` the log density belongs to the continuous point in units of gray levels, before it is rounded
        down: `log_prob` of the sample returns it if its noise happens to be the fraction that was cut off.

        Arguments and errors as for `Density.sample`; the log density is the model's, at temperature 1.
        """
        n, context, temperature = self._sampling_args(n, context, temperature)
        z = self.base.sample(n, temperature=temperature, generator=generator)
        x, log_det = self._from_latent(z, context)
        return x, self.base.log_prob(z) - log_det

    @property
    def given_order(self) -> Sequence[int] | None:
        """The order of the layers of a flow of vectors if all that mix elements are autoregressive in this one."""
        orders = {layer._places if isinstance(layer, Autoregressive) else None for layer in _mixing(self.bijection)}
        orders |= {None for _ in _mixing(self.preprocessing)}
        if len(self.event_shape) > 1 or not isinstance(self.base, Independent) or len(orders) != 1:
            return None
        return orders.pop()

    def _sample_given(
        self,
        n: int,
        first: list[int],
        values: Tensor,
        context: Tensor | None,
        temperature: float,
        generator: Generator | None,
    ) -> Tensor:
        if whole := {*first} & {*self.integer_columns}:
            raise ValueError(
                f"columns of whole numbers can't be given, got {sorted(whole)}; train with them as context"
            )
        x, _ = self.sample_with_log_prob(n, context, temperature=temperature, generator=generator)
        given = values.to(x)
        x[:, first] = given
        z = self.base.sample(n, temperature=temperature, generator=generator)
        z[:, first] = self._to_latent(x, context)[0][:, first]  # which the other elements of x don't change
        x, _ = self._from_latent(z, context)
        x[:, first] = given
        return x

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the latent of each datum, flat and of all scales, so that ``decode(encode(x)) == x``.

        Gray levels are placed at the middle of their interval instead of at a random point of it. The equality holds
        up to rounding: in float32 an ill-conditioned layer can lose the data. `round_trip_error` measures it; bound the
        layers (``max_row_sum``), train at a lower learning rate or compute in float64 if it is large.

        Returns:
            ``(B, D)``; `latent_slices` tells the scales apart.
        """
        return self._to_latent(self._centered(x)[0], context)[0]

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the data ``(B, *event_shape)`` that have these latents ``(B, D)``."""
        self._check_batch(z, (self.dims,))
        return self._from_latent(z, context)[0]

    @torch.no_grad()
    def round_trip_error(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the largest absolute difference ``(B,)`` of an element between each datum and ``decode(encode(x))``.

        It is rounding, which grows with the condition number of the layers, in the unit of x; infinite if a value is
        not finite. A flow trained at a high learning rate can lose its inverse altogether, and nothing else shows it.
        """
        z = self.encode(x, context)
        dtype = torch.promote_types(z.dtype, torch.float32)
        error = (self.decode(z, context).to(dtype) - x.to(dtype)).abs().flatten(1).amax(1)
        return torch.where(z.isfinite().all(1), error, torch.inf).nan_to_num(torch.inf, torch.inf)

    @property
    def latent_slices(self) -> dict[str, slice]:
        """The part of the flat latent that belongs to each scale, ``scale_1`` the finest."""
        if isinstance(self.bijection, Multiscale):
            return self.bijection.latent_slices
        return {"scale_1": slice(0, self.dims)}

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Let every ActNorm and Standardize that is not yet initialized whiten its part of this batch.

        Args:
            x: ``(B, *event_shape)``.
            context: the contexts of a conditional flow.

        Raises:
            ValueError: if a layer can't whiten its input: it is not finite, or an element is constant.
            RuntimeError: if the flow is in evaluation mode.
        """
        self._check_batch(x, self.event_shape)
        initialize_from_data(self, x, context)

    def condition(self, context: Tensor | None = None) -> DensityDistribution:
        """Return the flow with a context as a distribution of `torch.distributions`; see `DensityDistribution`."""
        return DensityDistribution(self, context)

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether steps recompute their activations in the backward pass: less memory for about a third more time."""
        return any(layer.gradient_checkpointing for layer in self._recomputing_layers())

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, enabled: bool) -> None:
        for layer in self._recomputing_layers():
            layer.gradient_checkpointing = enabled

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the flow into a folder; arguments and errors as for `inverseflow.densities.save`."""
        save(self, folder)

    @classmethod
    def from_pretrained(cls, folder_or_hub_id: str | Path) -> Self:
        """Load a saved flow of this class; argument and errors as for `inverseflow.densities.load`."""
        return load(folder_or_hub_id, cls)

    def _recomputing_layers(self) -> list[CheckpointedCompose]:
        return [module for module in self.bijection.modules() if isinstance(module, CheckpointedCompose)]

    def _log_density(self, x: Tensor, context: Tensor | None) -> Tensor:
        z, log_det = self._to_latent(x, context)
        return self.base.log_prob(z) + log_det

    def _to_latent(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        context = self._embed(context, x)
        x, log_det = self.preprocessing(x, context)
        if self.dequantize is not None:  # preprocessing takes gray levels in at least float32, layers may have less
            x = x.to(self._layer_dtype())
        z, log_det_of_bijection = self.bijection(x, context)
        return z.flatten(1), log_det + log_det_of_bijection

    def _from_latent(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        context = self._embed(context, z)
        try:
            x, log_det = self.bijection.inverse(z.reshape(z.shape[0], *self._latent_shape), context)
        except LayerError as error:
            _name_failing_layer(error, self)
            raise
        if self.levels is not None:
            x = x.to(torch.promote_types(x.dtype, torch.float32))
        x, log_det_of_preprocessing = self.preprocessing.inverse(x, context)
        log_det = log_det + log_det_of_preprocessing
        if self.dequantize is None:
            return x, log_det
        x, log_det_of_levels = self.dequantize.inverse(x)
        return x, log_det + log_det_of_levels

    def _dequantization(self) -> Dequantize | DequantizeColumns | None:
        if self.levels is not None:
            return Dequantize(self.levels)
        return DequantizeColumns(self.dims, self.integer_columns) if self.integer_columns else None

    def _embed(self, context: Tensor | None, x: Tensor) -> Tensor | None:
        """Return the contexts of a batch as the layers see them, in their dtype: labels may come as integers."""
        self._check_context(context, x)
        if context is None:
            return None
        if context.is_floating_point() or not self._embeds_labels:
            context = context.to(self._layer_dtype())
        if self.embedding is None:
            return context
        count, shared = context.shape[0], context.stride(0) == 0  # one observation for all samples is summarized once
        embedded: Tensor | tuple[Tensor, Tensor] = self.embedding(context[:1] if shared else context)
        summary = embedded[0] if isinstance(embedded, tuple) else embedded  # a bijection returns two
        return summary.expand(count, *summary.shape[1:]) if shared else summary

    def _layer_dtype(self) -> torch.dtype:
        # A loop, since torch 2.6 can't compile a `next` with a default.
        for tensor in chain(self.bijection.parameters(), self.bijection.buffers(), self.buffers()):
            if tensor.is_floating_point():
                return tensor.dtype
        return torch.get_default_dtype()


def _mixing(bijection: Bijection) -> Iterator[Bijection]:
    """Yield the layers in which an element depends on others."""
    if isinstance(bijection, Inverse):
        yield from _mixing(bijection.bijection)
    elif isinstance(bijection, Compose):
        for layer in bijection.layers:
            yield from _mixing(layer)
    elif not isinstance(bijection, (ActNorm, Standardize)):
        yield bijection


def _name_failing_layer(error: LayerError, model: nn.Module) -> None:
    """Put the path and the class of the layer that failed in front of an error's message."""
    path = {module: path for path, module in model.named_modules()}.get(error.layer)
    place = f"{path} ({type(error.layer).__name__})" if path else type(model).__name__
    error.args = (f"{place}: {error}", *error.args[1:])
