"""The method that rebuilds x from [y, z] by a network whose reverse has the same parameters."""

from typing import Any

from torch import Tensor

from inverseflow.inference.methods.autoencoder import JointAutoencoder
from inverseflow.inference.methods.base import Training, method
from inverseflow.nets import InvAuto
from inverseflow.utils.arguments import finite_number


@method(
    "invauto",
    has_density=False,
    has_forward=True,
    training=Training(max_steps=3000, batch_size=200, learning_rate=3e-3),
)
class InvertibleAutoencoder(JointAutoencoder):
    r"""Invertible autoencoder: `JointAutoencoder` whose encoder and decoder are one `InvAuto`.

    .. math:: L = L_{\text{autoencoder}} + \omega \sum_l \lVert W_l^\top W_l - I \rVert_F^2

    Its layers expand and then compress, so no direction is exact by construction: the reconstruction makes it so as far
    as the data go. `orthogonality` measures how far the matrices are from orthonormal ones.

    Args:
        dims: number of parameters D.
        context_channels: number of observations M.
        orthogonality_weight: weight of the penalty, :math:`\omega`; 0 leaves it to the reconstruction.
        slope: slope of the leaky ReLU for negative numbers. The reverse divides by it in every layer: a small one makes
            samples blow up that are unlike the training data.
        width: hidden units in each layer.
        depth: hidden layers.
        options: ``latent``, ``latent_weight`` and ``reconstruction_weight`` of `JointAutoencoder`.

    Raises:
        ValueError: if a number is out of its range.

    Reference:
        Teng and Choromanska, `Invertible Autoencoder for Domain Adaptation <https://doi.org/10.3390/computation7020020>`_,
        2019; the loss: Kruse et al., `Benchmarking Invertible Architectures on Inverse Problems
        <https://arxiv.org/abs/2101.10763>`_, 2021, section 2.
    """

    def __init__(
        self,
        dims: int,
        context_channels: int,
        *,
        orthogonality_weight: float = 0.0,
        slope: float = 0.5,
        width: int = 150,
        depth: int = 4,
        **options: Any,
    ) -> None:
        self.slope = slope
        super().__init__(dims, context_channels, width=width, depth=depth, **options)
        self.orthogonality_weight = finite_number("orthogonality_weight", orthogonality_weight, at_least=0)

    def _build(self, code: int, width: int, depth: int) -> InvAuto:
        return InvAuto([self.dims, *[width] * depth, code], slope=self.slope)

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return the weighted terms of the loss."""
        terms = super().terms(x, y)
        if self.orthogonality_weight:
            terms["orthogonality"] = self.orthogonality_weight * self.orthogonality()
        return terms

    def orthogonality(self) -> Tensor:
        r"""Return :math:`\sum_l \lVert W_l^\top W_l - I \rVert_F^2`, as `InvAuto.orthogonality`."""
        assert isinstance(self.net, InvAuto)
        return self.net.orthogonality()
