"""A network and its reverse that share one set of parameters."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from inverseflow.utils.arguments import finite_number, whole_shape


class InvAuto(nn.Module):
    r"""Invertible autoencoder: a fully connected network and its reverse with the same parameters.

    .. math:: E(x) = \lambda(W x + b), \qquad D(h) = W^\top\bigl(\lambda^{-1}(h) - b\bigr)

    for each layer, with a leaky ReLU :math:`\lambda`; the last layer has none. The reverse is exact as far as
    the matrices are orthonormal. A layer that does not compress has :math:`W^\top W = I`, and then `decode` undoes
    `encode`: D(E(x)) = x. A layer that compresses can only have :math:`W W^\top = I`, and `encode` undoes `decode`:
    E(D(h)) = h. A network that first expands and then compresses therefore undoes neither by construction. Only its
    training can make it, as far as the data go.

    Args:
        sizes: length of the input vector, the widths of the hidden layers, and the length of the output.
        slope: slope of the leaky ReLU for negative numbers, at most 1.
        orthogonal: whether the matrices are orthonormal by construction. If not, they start so, and the penalty
            `orthogonality` or a reconstruction error has to keep them there.

    Shape:
        x: ``(B, sizes[0])``; h: ``(B, sizes[-1])``.

    Raises:
        ValueError: if there are fewer than two sizes, or the slope is not above 0 and at most 1.

    Reference:
        Teng and Choromanska, `Invertible Autoencoder for Domain Adaptation <https://doi.org/10.3390/computation7020020>`_,
        2019, sections 3.1 to 3.4.

    Example:
        >>> net, x = InvAuto([3, 3, 3], orthogonal=True), torch.randn(5, 3)
        >>> torch.allclose(net.decode(net.encode(x)), x, atol=1e-5)
        True
    """

    def __init__(self, sizes: Sequence[int], *, slope: float = 0.2, orthogonal: bool = False) -> None:
        super().__init__()
        sizes = whole_shape("sizes", sizes)
        if len(sizes) < 2:
            raise ValueError(f"sizes must be those of input and output at least, got {sizes}")
        self.slope = finite_number("slope", slope, above=0, at_most=1)
        layers = [nn.Linear(*pair) for pair in pairwise(sizes)]
        for layer in layers:
            nn.init.orthogonal_(layer.weight)
        self.layers = nn.ModuleList(map(parametrizations.orthogonal, layers) if orthogonal else layers)

    def encode(self, x: Tensor) -> Tensor:
        """Return the outputs ``(B, sizes[-1])`` of a batch of inputs."""
        for index, (weight, bias) in enumerate(self._affine_maps()):
            x = F.linear(x if index == 0 else F.leaky_relu(x, self.slope), weight, bias)
        return x

    def decode(self, h: Tensor) -> Tensor:
        """Return the inputs ``(B, sizes[0])`` that the reverse network gives for a batch of outputs."""
        for index, (weight, bias) in enumerate(reversed(self._affine_maps())):
            h = ((h if index == 0 else F.leaky_relu(h, 1 / self.slope)) - bias) @ weight
        return h

    forward = encode

    def orthogonality(self) -> Tensor:
        r"""Return :math:`\sum_l \lVert W_l^\top W_l - I \rVert_F^2`, of :math:`W_l W_l^\top` if a layer compresses.

        It is zero if the matrices are orthonormal, up to rounding.
        """
        weights = [weight if len(weight) >= weight.shape[1] else weight.T for weight, _ in self._affine_maps()]
        grams = [weight.T @ weight for weight in weights]
        return torch.stack([(gram - torch.eye(len(gram)).to(gram)).square().sum() for gram in grams]).sum()

    def _affine_maps(self) -> list[tuple[Tensor, Tensor]]:
        """Return weight and bias of each layer; a parametrization computes the weight."""
        return [(layer.weight, layer.bias) for layer in self.layers if isinstance(layer, nn.Linear)]
