"""Autoregressive layer of the patches of an event."""

import math
from functools import partial
from typing import Any

from torch import Tensor

from inverseflow.bijections.autoregressive import Autoregressive
from inverseflow.bijections.base import Bijection, LogDet, Shape
from inverseflow.bijections.maps import ElementwiseMap
from inverseflow.nets import CausalTransformer
from inverseflow.nets.conditioner import Builder, spread
from inverseflow.nets.masked import NamedOrder
from inverseflow.nets.patches import from_patches, patch_grid, to_patches
from inverseflow.utils.arguments import one_of


class PatchAutoregressive(Bijection):
    r"""Map each patch of an event elementwise, by parameters that depend on the patches before it.

    .. math:: z_n = \phi(x_n;\, \theta_n(x_{<n}, c)), \qquad \log|\det| = \sum_n \sum \log \phi'(x_n)

    for the patches :math:`x_n` in raster order, or in its reverse. It is `Autoregressive` on the event as a vector, one
    patch after another, whose network knows a whole patch at once: one evaluation from data to latent; back, as many
    steps as there are patches, which with `CausalTransformer` take together the products of one evaluation.

    Args:
        channels: number of channels C.
        conditioner: builder of the network, such as ``partial(CausalTransformer, width=64)``; None for that one. It is
            told the number of elements in a patch as ``block``.
        size: spatial shape of the only events that the layer takes, 1 to 3 sides, such as ``(H, W)``.
        patch_size: side p of a patch, a divisor of each side.
        order: ``"natural"``, or ``"reversed"`` from the last patch to the first.
        map: the map φ of every element; None for `Affine()`.
        context_channels: channels of the context c, None for an unconditional layer. The part of a spatial context at a
            patch is an input of its parameters, a vector is the same for all.

    Shape:
        x: ``(B, C, *size)``; z: the same; context: ``(B, K)`` or ``(B, K, *size)``.

    Raises:
        ValueError: if a number is out of its range, or the network sees what is not before its patch.

    Reference:
        Zhai et al., Normalizing Flows are Capable Generative Models (TarFlow), 2024, section 2.2,
        https://arxiv.org/abs/2412.06329.

    Example:
        >>> layer = PatchAutoregressive(2, partial(CausalTransformer, width=8), size=(4, 6), order="reversed")
        >>> z, log_det = layer(torch.randn(5, 2, 4, 6))
    """

    size: Shape

    def __init__(
        self,
        channels: int,
        conditioner: Builder | None = None,
        *,
        size: Shape,
        patch_size: int = 2,
        order: NamedOrder = "natural",
        map: ElementwiseMap | None = None,
        context_channels: int | None = None,
    ) -> None:
        super().__init__(channels=channels, context_channels=context_channels, size=size)
        _, patches, places = patch_grid(self.size, patch_size)
        self.patch_size = int(patch_size)
        self.order: NamedOrder = one_of("order", order, ("natural", "reversed"))
        channels, context = self.channels or 0, self.context_channels
        about: dict[str, Any] = {"map": map, "solver": "sequential"}
        self.vector = Autoregressive(
            channels * places * patches,
            partial(conditioner or partial(CausalTransformer, width=64), block=channels * places),
            context_channels=None if context is None else context * math.prod(self.size),
            **about,
        )

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        z, log_det = self.vector(self._as_vector(x), self._context_vector(context, x))
        return self._as_event(z), log_det

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        x, log_det = self.vector.inverse(self._as_vector(z), self._context_vector(context, z))
        return self._as_event(x), log_det

    def _as_vector(self, x: Tensor) -> Tensor:
        return self._in_order(to_patches(x, self.patch_size)).flatten(1)

    def _as_event(self, vector: Tensor) -> Tensor:
        patches = self._in_order(vector.unflatten(1, (-1, self.vector.net.block)))
        return from_patches(patches, self.patch_size, self.size)

    def _in_order(self, patches: Tensor) -> Tensor:
        return patches.flip(1) if self.order == "reversed" else patches

    def _context_vector(self, context: Tensor | None, x: Tensor) -> Tensor | None:
        if self.context_channels is None or context is None:
            return None
        return self._as_vector(spread(context, x).expand(-1, -1, *self.size))
