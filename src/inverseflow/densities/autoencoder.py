"""The autoencoder: a code of fewer numbers, from which a network rebuilds the datum."""

from collections.abc import Sequence
from typing import Literal, NoReturn, get_args

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from inverseflow.densities.density import Density
from inverseflow.errors import OptionError
from inverseflow.nets import MLP, InvAuto
from inverseflow.utils.arguments import finite_number, one_of, whole_number

ErrorName = Literal["squared", "cross_entropy"]


class Autoencoder(Density):
    r"""Autoencoder: an encoder to a code of a few numbers, and a decoder that rebuilds the datum from it.

    .. math:: h = E(x), \qquad \hat x = D(h), \qquad \text{error} = \lVert x - \hat x \rVert^2
        \quad \text{or} \quad -\sum_i x_i \log \hat x_i + (1 - x_i) \log (1 - \hat x_i)

    It has no density of x: `fit` takes it with the objective `ReconstructionLoss`, and `log_prob` and `sample` are
    refused. `VAE` has a bound on one. Scale the data to about unit variance, unless they lie in [0, 1].

    Args:
        event_shape: the shape of one datum.
        latent: length of the code. With as many numbers as the datum it can copy.
        error: ``"squared"``, or ``"cross_entropy"`` for data in [0, 1], whose decoder ends in a sigmoid.
        noise: deviation of the noise that is added to what the encoder sees in training (denoising autoencoder).
        tied: whether encoder and decoder are one `InvAuto`, that is, share their parameters.
        width: hidden units in each layer of a network.
        depth: hidden layers of a network. With 0 both are linear.
        context_channels: length of a context vector that encoder and decoder see, None for none.

    Shape:
        x: ``(B, *event_shape)``; h: ``(B, latent)``; context: ``(B, context_channels)``.

    Raises:
        ValueError: if an argument is out of its range, or a tied one is asked for contexts.

    Reference:
        Baldi and Hornik, Neural Networks and Principal Component Analysis, 1989,
        https://doi.org/10.1016/0893-6080(89)90014-2; noise: Vincent et al., Extracting and Composing Robust Features
        with Denoising Autoencoders, 2008, https://doi.org/10.1145/1390156.1390294.

    Example:
        >>> model, x = Autoencoder((1, 8, 8), 16), torch.rand(5, 1, 8, 8)
        >>> model.encode(x).shape, model.decode(model.encode(x)).shape, model.reconstruction_error(x).shape
        (torch.Size([5, 16]), torch.Size([5, 1, 8, 8]), torch.Size([5]))
    """

    _numbers_per_code = 1

    def __init__(
        self,
        event_shape: Sequence[int],
        latent: int,
        *,
        error: ErrorName = "squared",
        noise: float = 0.0,
        tied: bool = False,
        width: int = 128,
        depth: int = 2,
        context_channels: int | None = None,
    ) -> None:
        super().__init__(event_shape, context_shape=None if context_channels is None else (context_channels,))
        self.latent = whole_number("latent", latent, at_least=1)
        self.error = one_of("error", error, get_args(ErrorName))
        self.noise = finite_number("noise", noise, at_least=0)
        if tied and context_channels is not None:
            raise ValueError("a tied autoencoder takes no context: its decoder would rebuild it; leave one of them out")
        self.net = InvAuto([self.dims, *[width] * depth, latent]) if tied else None
        if not tied:
            context = context_channels or 0
            self.encoder: nn.Sequential = _network(self.dims + context, self._numbers_per_code * latent, width, depth)
            self.decoder: nn.Sequential = _network(latent + context, self.dims, width, depth)

    @property
    def continuous(self) -> bool:
        """False: there is no density that numbers in equal steps could spoil."""
        return False

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the codes ``(B, latent)`` of a batch."""
        self._check(x, context)
        return self._encode(x, context)

    def decode(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the data ``(B, *event_shape)`` that the decoder makes of codes ``(B, latent)``."""
        self._check_batch(h, (self.latent,))
        self._check_context(context, h)
        x = self._decode(h, context)
        return x.sigmoid() if self.error == "cross_entropy" else x

    def reconstruction_error(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        r"""Return the error ``(B,)`` of rebuilding each datum, summed over its elements.

        Raises:
            OptionError: if the error is the cross-entropy, and an element is outside of [0, 1].
        """
        return self._error(x, x, context)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return `reconstruction_error` with noise in what the encoder sees: what training minimizes."""
        return self._error(x, x + self.noise * torch.randn_like(x) if self.noise else x, context)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Refuse: an autoencoder has no density.

        Raises:
            OptionError: always.
        """
        self._refuse()

    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Refuse: the codes of an autoencoder have no density to draw from.

        Raises:
            OptionError: always.
        """
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise OptionError(
            "an Autoencoder has neither a density nor samples, only codes and reconstruction_error(x), and is trained "
            "by fit(..., objective=ReconstructionLoss()); take a VAE for a bound on the density, or a flow"
        )

    def _check(self, x: Tensor, context: Tensor | None) -> None:
        self._check_batch(x, self.event_shape)
        self._check_context(context, x)

    def _encode(self, x: Tensor, context: Tensor | None) -> Tensor:
        x = x.flatten(1)
        code: Tensor = self.encoder(_joined(x, context)) if self.net is None else self.net.encode(x)
        return code

    def _decode(self, h: Tensor, context: Tensor | None) -> Tensor:
        x: Tensor = self.decoder(_joined(h, context)) if self.net is None else self.net.decode(h)
        return x.unflatten(1, self.event_shape)  # type: ignore[no-any-return]

    def _error(self, x: Tensor, seen: Tensor, context: Tensor | None) -> Tensor:
        self._check(x, context)
        rebuilt = self._decode(self.encode(seen, context), context)
        if self.error == "squared":
            return (x - rebuilt).square().flatten(1).sum(1)
        if x.numel() and not (x.min() >= 0 and x.max() <= 1):
            raise OptionError(
                f"the cross-entropy takes data in [0, 1], got values from {x.min():g} to {x.max():g}; scale them, or "
                'take error="squared"'
            )
        return F.binary_cross_entropy_with_logits(rebuilt, x, reduction="none").flatten(1).sum(1)


def _joined(x: Tensor, context: Tensor | None) -> Tensor:
    return x if context is None else torch.cat([x, context.to(x.dtype)], 1)


def _network(in_features: int, out_features: int, width: int, depth: int) -> MLP:
    net = MLP(in_features, out_features, width=width, depth=depth)
    last = net[-1]
    assert isinstance(last, nn.Linear)
    last.reset_parameters()  # from zero, a linear autoencoder would never move
    return net
