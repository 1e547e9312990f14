"""Activation normalization and its data-dependent initialization."""

from abc import abstractmethod
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet, Shape
from inverseflow.bijections.events import at_least_single, per_channel, pixels


class Whitening(Bijection):
    """Base class of layers that `initialize_from_data` sets to whiten their first batch."""

    initialized: Tensor

    def __init__(self, *, channels: int, size: Shape | None = None) -> None:
        super().__init__(channels=channels, size=size)
        self.register_buffer("initialized", torch.tensor(False))

    @abstractmethod
    def whiten(self, x: Tensor) -> None:
        """Set the layer from a batch, or raise a ValueError and leave it as it is."""

    def _check_whitening(self, x: Tensor) -> None:
        """Raise unless a batch fits and is finite."""
        self._check_forward(x, None)
        broken = int((~x.isfinite()).sum())
        if broken:
            name = type(self).__name__
            raise ValueError(f"{name} can't whiten a batch in which {broken} of {x.numel()} values are not finite")


class ActNorm(Whitening):
    r"""Per-channel affine layer that `initialize_from_data` sets to whiten its first batch; the identity before.

    .. math:: z = (x + b) \odot \exp(s), \qquad \log|\det| = HW \sum_c s_c

    Args:
        channels: number of channels C.

    Shape:
        x: ``(B, C, *spatial)``; z: the same.

    Reference:
        Kingma and Dhariwal, Glow, 2018, section 3.1, https://arxiv.org/abs/1807.03039.

    Example:
        >>> layer, x = ActNorm(3), 5 + 2 * torch.randn(64, 3, 8, 8)
        >>> initialize_from_data(layer, x)
        >>> layer(x)[0].std().item()
        1.0
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels=channels)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        z = (x + per_channel(self.bias, x)) * per_channel(self.log_scale.exp(), x)
        return z, pixels(x) * at_least_single(self.log_scale).sum()

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        x = z * per_channel((-self.log_scale).exp(), z) - per_channel(self.bias, z)
        return x, -pixels(z) * at_least_single(self.log_scale).sum()

    @torch.no_grad()
    def whiten(self, x: Tensor) -> None:
        """Set the mean of each channel to 0 and its deviation to 1 on this batch.

        A channel that is constant on the batch, up to rounding, keeps scale 1; only its mean is set to 0.

        Args:
            x: ``(B, C, *spatial)``, in any unit.

        Raises:
            ValueError: if a value is not finite, or so large or small that the scale has no finite value.
        """
        self._check_whitening(x)
        mean, deviation, _ = moments(x.transpose(0, 1).flatten(1))
        log_scale = -deviation.log()
        if not (mean.isfinite() & log_scale.exp().isfinite() & (-log_scale).exp().isfinite()).all():
            raise ValueError(
                f"ActNorm can't whiten channels whose deviations range from {deviation.min().item():g} to "
                f"{deviation.max().item():g} in {x.dtype}; change the unit of the data"
            )
        self.bias.copy_(-mean)
        self.log_scale.copy_(log_scale)
        self.initialized.fill_(True)


def moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean of each row, its deviation, 1 in place of that of a constant row, and which rows are constant."""
    rows = at_least_single(x)
    mean, deviation = rows.mean(1), rows.std(1, correction=0)
    largest = rows.abs().amax(1)
    rounding = 4 * torch.finfo(x.dtype).eps * largest
    doubtful = ~(deviation.isfinite() & mean.isfinite() & (deviation > rounding))
    if doubtful.any():  # the squares may have left the range of the dtype although the values are within it
        unit = largest.double().clamp_min(torch.finfo(torch.float64).tiny)
        scaled = rows.double() / unit[:, None]
        mean = torch.where(doubtful, (unit * scaled.mean(1)).to(mean.dtype), mean)
        deviation = torch.where(doubtful, (unit * scaled.std(1, correction=0)).to(mean.dtype), deviation)
    constant = deviation <= rounding
    return mean, torch.where(constant, torch.ones_like(deviation), deviation), constant


@torch.no_grad()
def initialize_from_data(bijection: nn.Module, x: Tensor, context: Tensor | None = None) -> None:
    """Pass a batch through once; every `ActNorm` and `Standardize` that is not yet initialized whitens its input.

    After an error all layers are as they were before.

    Args:
        bijection: a layer, or a module made of layers, whose ``forward`` takes the batch.
        x: one batch of data, large enough for stable means and deviations.
        context: the batch's context, for a conditional bijection.

    Raises:
        ValueError: if the batch is empty, or a layer, which the message names, can't whiten its input.
        RuntimeError: if the module is in evaluation mode, or the forward pass does not reach a layer.

    Example:
        >>> initialize_from_data(Compose(ActNorm(2), ActNorm(2)), torch.randn(100, 2))
    """
    if x.shape[0] == 0:
        raise ValueError("data-dependent initialization needs data, got an empty batch")
    if not bijection.training:
        raise RuntimeError("data-dependent initialization in evaluation mode; call .train() first")
    waiting = {name: m for name, m in bijection.named_modules() if isinstance(m, Whitening) and not m.initialized}
    if not waiting:
        return
    before = {name: {key: value.clone() for key, value in m.state_dict().items()} for name, m in waiting.items()}
    try:
        with ExitStack() as hooks:
            for name, layer in waiting.items():
                hooks.enter_context(layer.register_forward_pre_hook(partial(_whiten_first, name)))
            bijection(x) if context is None else bijection(x, context)
        missed = [name for name, layer in waiting.items() if not layer.initialized]
        if missed:
            raise RuntimeError(
                f"the forward pass does not reach {', '.join(missed)}; initialize them with .whiten(batch)"
            )
    except Exception:
        for name, layer in waiting.items():
            layer.load_state_dict(before[name])
        raise


def _whiten_first(name: str, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Whiten the first input of a layer, and name the layer if that fails."""
    if isinstance(layer, Whitening) and not layer.initialized:
        try:
            layer.whiten(inputs[0])
        except ValueError as error:
            raise ValueError(f"{name}: {error}" if name else str(error)) from None
