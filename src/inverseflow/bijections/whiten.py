"""Whitening of the channels by the covariance of data."""

import torch
from torch import Tensor

from inverseflow.bijections.actnorm import Whitening
from inverseflow.bijections.base import LogDet
from inverseflow.bijections.events import at_least_single, per_channel, pixels
from inverseflow.bijections.linear import mix
from inverseflow.ops.dense_solve import dense_solve
from inverseflow.utils.arguments import finite_number


class Whiten(Whitening):
    r"""Make the channels of data uncorrelated with variance 1, by a symmetric matrix; the identity before it is set.

    .. math:: z = \Sigma^{-1/2} (x - \mu), \qquad \log|\det| = -\tfrac{1}{2} HW \log\det\Sigma

    with the mean μ and the covariance Σ over the batch and all pixels. `initialize_from_data` sets both once, `of`
    builds the layer from data; they are no parameters. ``Compose(Whiten.of(a), Inverse(Whiten.of(b)))`` gives a the
    mean and the covariance of b: the whitening-and-coloring transform. Computed in at least single precision.

    Args:
        channels: number of channels C.
        min_deviation: the least deviation along an eigenvector of Σ, as a fraction of the largest. It keeps the
            matrix regular where channels depend on each other, or data has fewer pixels than channels.

    Shape:
        x: ``(B, C, *spatial)``; z: the same.

    Reference:
        Li et al., Universal Style Transfer via Feature Transforms, 2017, section 3.2, https://arxiv.org/abs/1705.08086.

    Example:
        >>> x = torch.randn(2, 3, 16, 16) @ torch.randn(16, 16)
        >>> z, _ = Whiten.of(x)(x)
        >>> torch.allclose(z.transpose(0, 1).flatten(1).cov(correction=0), torch.eye(3), atol=1e-4)
        True
    """

    full_precision = True
    mean: Tensor
    matrix: Tensor

    def __init__(self, channels: int, *, min_deviation: float = 1e-4) -> None:
        super().__init__(channels=channels)
        self.min_deviation = finite_number("min_deviation", min_deviation, above=0, at_most=1)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("matrix", torch.eye(channels))

    @classmethod
    def of(cls, x: Tensor, *, min_deviation: float = 1e-4) -> "Whiten":
        """Return the layer that whitens data, in its dtype and on its device.

        Raises:
            ValueError: as `whiten` does.
        """
        layer = cls(x.shape[1], min_deviation=min_deviation).to(x)
        layer.whiten(x)
        return layer

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        matrix = at_least_single(self.matrix)
        return mix(matrix, x - per_channel(self.mean, x)), pixels(x) * torch.linalg.slogdet(matrix).logabsdet

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        matrix = at_least_single(self.matrix)
        inverse, log_det = dense_solve(matrix, torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device))
        return mix(inverse, z) + per_channel(self.mean, z), -pixels(z) * log_det

    @torch.no_grad()
    def whiten(self, x: Tensor) -> None:
        """Set mean and covariance to those of a batch.

        Args:
            x: ``(B, C, *spatial)``, in any unit.

        Raises:
            ValueError: if a value is not finite, or all channels are constant.
        """
        self._check_whitening(x)
        rows = x.transpose(0, 1).flatten(1).double()
        mean = rows.mean(1)
        centered = rows - mean[:, None]
        variances, vectors = torch.linalg.eigh(centered @ centered.T / rows.shape[1])
        largest = variances[-1].clamp_min(0).sqrt()
        if not largest > 4 * torch.finfo(x.dtype).eps * rows.abs().max():
            raise ValueError(f"every channel is constant in the {rows.shape[1]} pixels, so there is nothing to whiten")
        deviations = variances.clamp_min(0).sqrt().clamp_min(self.min_deviation * largest)
        self.mean.copy_(mean)
        self.matrix.copy_(vectors / deviations @ vectors.T)
        self.initialized.fill_(True)

    def extra_repr(self) -> str:
        """Show the number of channels."""
        return f"channels={self.channels}, min_deviation={self.min_deviation:g}"
