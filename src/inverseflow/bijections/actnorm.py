"""Activation normalization and its data-dependent initialization."""

from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.events import at_least_single, per_channel, pixels


class ActNorm(Bijection):
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

    initialized: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels=channels)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.register_buffer("initialized", torch.tensor(False))

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
        self._check_forward(x, None)
        broken = int((~x.isfinite()).sum())
        if broken:
            raise ValueError(f"ActNorm can't whiten a batch in which {broken} of {x.numel()} values are not finite")
        mean, deviation = _moments(x)
        log_scale = -deviation.log()
        if not (mean.isfinite() & log_scale.exp().isfinite() & (-log_scale).exp().isfinite()).all():
            raise ValueError(
                f"ActNorm can't whiten channels whose deviations range from {deviation.min().item():g} to "
                f"{deviation.max().item():g} in {x.dtype}; change the unit of the data"
            )
        self.bias.copy_(-mean)
        self.log_scale.copy_(log_scale)
        self.initialized.fill_(True)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the deviation of each channel, 1 in place of the deviation of a constant one."""
    by_channel = at_least_single(x.transpose(0, 1).flatten(1))
    mean, deviation = by_channel.mean(1), by_channel.std(1, correction=0)
    largest = by_channel.abs().amax(1)
    rounding = 4 * torch.finfo(x.dtype).eps * largest
    doubtful = ~(deviation.isfinite() & mean.isfinite() & (deviation > rounding))
    if doubtful.any():  # the squares may have left the range of the dtype although the values are within it
        unit = largest.double().clamp_min(torch.finfo(torch.float64).tiny)
        scaled = by_channel.double() / unit[:, None]
        mean = torch.where(doubtful, (unit * scaled.mean(1)).to(mean.dtype), mean)
        deviation = torch.where(doubtful, (unit * scaled.std(1, correction=0)).to(mean.dtype), deviation)
    return mean, torch.where(deviation > rounding, deviation, torch.ones_like(deviation))


@torch.no_grad()
def initialize_from_data(bijection: nn.Module, x: Tensor, context: Tensor | None = None) -> None:
    """Pass a batch through once; every `ActNorm` that is not yet initialized whitens its input.

    After an error all layers are as they were before.

    Args:
        bijection: a layer, or a module made of layers, whose ``forward`` takes the batch.
        x: one batch of data, large enough for stable means and deviations.
        context: the batch's context, for a conditional bijection.

    Raises:
        ValueError: if the batch is empty, or an ActNorm, which the message names, can't whiten its input.
        RuntimeError: if the module is in evaluation mode, or the forward pass does not reach an ActNorm.

    Example:
        >>> initialize_from_data(Compose(ActNorm(2), ActNorm(2)), torch.randn(100, 2))
    """
    if x.shape[0] == 0:
        raise ValueError("data-dependent initialization needs data, got an empty batch")
    if not bijection.training:
        raise RuntimeError("data-dependent initialization in evaluation mode; call .train() first")
    waiting = {name: m for name, m in bijection.named_modules() if isinstance(m, ActNorm) and not m.initialized}
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
    if isinstance(layer, ActNorm) and not layer.initialized:
        try:
            layer.whiten(inputs[0])
        except ValueError as error:
            raise ValueError(f"{name}: {error}" if name else str(error)) from None
