"""The method that rebuilds x from [y, z] by an autoencoder."""

import torch
from torch import Generator, Tensor

from inverseflow.densities import Autoencoder
from inverseflow.errors import OptionError
from inverseflow.inference.methods.base import Conditional, Training, method
from inverseflow.inference.methods.inn import WIDTHS
from inverseflow.nets import InvAuto
from inverseflow.ops import mmd
from inverseflow.training.objective import Loss
from inverseflow.utils.arguments import finite_number, whole_number


@method(
    "autoencoder",
    has_density=False,
    has_forward=True,
    training=Training(max_steps=3000, batch_size=200, learning_rate=3e-3),
)
class JointAutoencoder(Conditional):
    r"""Autoencoder x → [y, z] → x, whose decoder draws from p(x | y) with a normal z.

    .. math:: L = \lVert E_y(x) - y \rVert^2 + \alpha\, \mathrm{MMD}^2\big([y, E_z(x)], [y, z]\big)
        + \beta \lVert x - D(E(x)) \rVert^2

    The second term makes z normal and independent of y. The samples have no density: nothing ties their spread to one.

    Args:
        dims: number of parameters D.
        context_channels: number of observations M.
        latent: length K of z; None for D - M, the dimensions that y leaves open, or for D if M is not smaller: several
            observations then tell about the same, or are noisy.
        latent_weight: weight of the discrepancy, :math:`\alpha`.
        reconstruction_weight: weight of the reconstruction, :math:`\beta`.
        width: hidden units in each layer of a network.
        depth: hidden layers of a network.

    Raises:
        ValueError: if a number is out of its range.

    Reference:
        Kruse et al., `Benchmarking Invertible Architectures on Inverse Problems <https://arxiv.org/abs/2101.10763>`_,
        2021, section 2.
    """

    has_density = False

    def __init__(
        self,
        dims: int,
        context_channels: int,
        *,
        latent: int | None = None,
        latent_weight: float = 5.0,
        reconstruction_weight: float = 1.0,
        width: int = 128,
        depth: int = 3,
    ) -> None:
        super().__init__(dims, context_channels)
        left = dims - context_channels
        self.latent = whole_number("latent", (left if left > 0 else dims) if latent is None else latent, at_least=1)
        self.latent_weight = finite_number("latent_weight", latent_weight, at_least=0)
        self.reconstruction_weight = finite_number("reconstruction_weight", reconstruction_weight, at_least=0)
        self.net = self._build(context_channels + self.latent, width, depth)

    def _build(self, code: int, width: int, depth: int) -> Autoencoder | InvAuto:
        return Autoencoder((self.dims,), code, width=width, depth=depth)

    def loss(self, x: Tensor, context: Tensor) -> Loss:
        """Return the sum of the weighted terms.

        Raises:
            OptionError: if the context is a summary with parameters.
        """
        if context.requires_grad:
            raise OptionError(
                f"{type(self).__name__} can't train a summary of the observations: a constant one has the smallest "
                "loss; take cinn or cvae, or a summary without parameters"
            )
        terms = self.terms(x, context)
        return Loss(torch.stack(list(terms.values())).sum(), terms)

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return the weighted terms of the loss."""
        code = self.net.encode(x)
        found, z = code.tensor_split([y.shape[1]], dim=1)
        drawn = torch.randn_like(z)
        return {
            "fit": _mean_square(found - y),
            "latent": self.latent_weight * mmd(torch.cat([y, z], 1), torch.cat([y, drawn], 1), widths=WIDTHS),
            "reconstruction": self.reconstruction_weight * _mean_square(x - self.net.decode(code)),
        }

    def predict(self, x: Tensor) -> Tensor:
        """Return the observations ``(B, M)`` in the code of x."""
        assert self.context_shape is not None
        return self.net.encode(x)[:, : self.context_shape[0]]

    @torch.no_grad()
    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n rows, without gradients; arguments and errors as for `Density.sample`."""
        n, context, temperature = self._sampling_args(n, context, temperature)
        if context is None:
            raise ValueError(f"{type(self).__name__} is conditional: pass a context")
        z = torch.randn(n, self.latent, generator=generator, dtype=context.dtype, device=context.device)
        return self.net.decode(torch.cat([context, temperature * z], 1))


def _mean_square(x: Tensor) -> Tensor:
    """Return the mean over rows of the squared norm."""
    return x.square().sum(1).mean()
