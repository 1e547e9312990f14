"""What turns the bands of a pixel into the numbers that are clustered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn

from inverseflow.bijections import Whiten, initialize_from_data
from inverseflow.densities import Autoencoder
from inverseflow.errors import OptionError
from inverseflow.flows.vector.nice import NICE
from inverseflow.training import ReconstructionLoss, fit
from inverseflow.utils.seeding import seeded

_CHUNK = 2**16
_PENALTY = 1e-4  # of the mean absolute activity of a code, as published


class Reducer(ABC):
    """Map between bands ``(N, B)``, scaled to [0, 1], and features ``(N, d)``."""

    @abstractmethod
    def fit(self, x: Tensor, seed: int) -> None:
        """Learn from a sample of the pixels."""

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Return the features of pixels."""

    def spectra(self, features: Tensor) -> Tensor | None:
        """Return the bands that belong to features, None if the reducer does not know."""
        return None

    def in_chunks(self, x: Tensor) -> Tensor:
        """Return the features of any number of pixels."""
        with torch.no_grad():
            return torch.cat([self.features(part) for part in x.split(_CHUNK)])


class Bands(Reducer):
    """The bands themselves."""

    def fit(self, x: Tensor, seed: int) -> None:
        """Learn nothing."""

    def features(self, x: Tensor) -> Tensor:
        """Return the bands."""
        return x

    def spectra(self, features: Tensor) -> Tensor:
        """Return the bands."""
        return features


class PrincipalComponents(Reducer):
    """As many principal components as hold 90 % of the variance."""

    def fit(self, x: Tensor, seed: int) -> None:
        """Find the components."""
        self.pca = PCA(n_components=0.9, svd_solver="full").fit(x.numpy())

    def features(self, x: Tensor) -> Tensor:
        """Return the scores."""
        return torch.from_numpy(np.asarray(self.pca.transform(x.numpy()), dtype=np.float32))

    def spectra(self, features: Tensor) -> Tensor:
        """Return the bands without the components that were left out."""
        return torch.from_numpy(np.asarray(self.pca.inverse_transform(features.numpy()), dtype=np.float32))


class Whitened(Reducer):
    """The bands, made uncorrelated with variance 1: faint differences between bands count as much as brightness."""

    def fit(self, x: Tensor, seed: int) -> None:
        """Find the covariance."""
        self.layer = Whiten.of(x)

    def features(self, x: Tensor) -> Tensor:
        """Return the whitened bands."""
        whitened: Tensor = self.layer(x)[0]
        return whitened

    def spectra(self, features: Tensor) -> Tensor:
        """Return the bands."""
        return self.layer.inverse(features)[0]


class Funnel(Autoencoder):
    """Autoencoder whose layers narrow to a code and widen again, with SELU, a sigmoid at the end and sparse codes.

    Args:
        sizes: numbers of units from the bands to the code.

    Example:
        >>> Funnel([10, 6, 4, 2]).encode(torch.rand(5, 10)).shape
        torch.Size([5, 2])
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__((sizes[0],), sizes[-1], width=1, depth=0)
        decoder = _layers(sizes[::-1])
        decoder[-1] = nn.Sigmoid()
        self.encoder = _layers(sizes)
        self.decoder = decoder

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the squared error and the penalty of each code."""
        error: Tensor = super().forward(x, context) / self.dims
        return error + _PENALTY * self.encode(x).abs().sum(1)


class Code(Reducer):
    """The code of an autoencoder.

    Args:
        build: builder of the autoencoder from the number of bands.
        epochs: passes over the pixels.
        batch_size: pixels in a step.
    """

    def __init__(self, build: Callable[[int], Autoencoder], epochs: int = 10, batch_size: int = 64) -> None:
        self.build, self.epochs, self.batch_size = build, epochs, batch_size

    def fit(self, x: Tensor, seed: int) -> None:
        """Train the autoencoder."""
        with seeded(seed, "weights"):
            self.net = self.build(x.shape[1])
        self.error = _train(self.net, x, self.epochs, self.batch_size, seed)

    def features(self, x: Tensor) -> Tensor:
        """Return the codes."""
        return self.net.encode(x)

    def spectra(self, features: Tensor) -> Tensor:
        """Return what the decoder makes of codes."""
        return self.net.decode(features)


class Stack(Reducer):
    """Three autoencoders, trained one after the other: each sees what the one before it learned, and its input.

    The first rebuilds the B bands from 2 numbers. The second sees its reconstruction and the bands, and is tapped at
    its second layer, of 5 units. The third sees these 5 units and the 2B inputs of the second; its code of 2 numbers is
    what is clustered. Nothing is trained through a tap.

    Reference:
        Nagar et al., Stacked autoencoders for geological mapping, 2024, https://arxiv.org/abs/2404.02180.
    """

    def fit(self, x: Tensor, seed: int) -> None:
        """Train all three; `errors` holds their mean squared errors."""
        bands = x.shape[1]
        shapes = ([bands, 6, 4, 2], [2 * bands, 10, 5, 2], [2 * bands + 5, 15, 10, 5, 2])
        with seeded(seed, "weights"):
            self.nets = [Funnel(sizes) for sizes in shapes]
        self.errors = []
        for stage, (net, epochs, batch_size) in enumerate(zip(self.nets, (10, 5, 5), (64, 32, 16), strict=True)):
            with torch.no_grad():
                seen = self._input(x, stage)
            self.errors.append(_train(net, seen, epochs, batch_size, seed + stage))

    def features(self, x: Tensor) -> Tensor:
        """Return the codes of the third autoencoder."""
        return self.nets[2].encode(self._input(x, 2))

    def _input(self, x: Tensor, stage: int) -> Tensor:
        if stage == 0:
            return x
        first = torch.cat([self.nets[0].decode(self.nets[0].encode(x)), x], 1)
        if stage == 1:
            return first
        return torch.cat([self.nets[1].encoder[:4](first), first], 1)


class Latent(Reducer):
    """The latent of a flow of additive couplings: as many numbers as bands, from which every spectrum comes back.

    Args:
        steps: training steps.
    """

    def __init__(self, steps: int = 1000) -> None:
        self.steps = steps

    def fit(self, x: Tensor, seed: int) -> None:
        """Train the flow by likelihood, with noise as wide as the 8-bit levels that pictures are made of."""
        with seeded(seed, "weights"):
            self.flow = NICE((x.shape[1],), base="normal", width=32, depth=1)
            noisy = x + torch.rand_like(x) / 256
        initialize_from_data(self.flow, noisy)
        fit(
            self.flow,
            noisy,
            max_steps=self.steps,
            batch_size=min(256, len(x) // 2),
            learning_rate=2e-3,
            seed=seed,
            progress=False,
        )

    def features(self, x: Tensor) -> Tensor:
        """Return the latents."""
        return self.flow.encode(x)

    def spectra(self, features: Tensor) -> Tensor:
        """Return the spectra of latents."""
        return self.flow.decode(features)


REDUCERS: dict[str, Callable[[], Reducer]] = {
    "bands": Bands,
    "pca": PrincipalComponents,
    "whitened": Whitened,
    "autoencoder": lambda: Code(lambda bands: Funnel([bands, 6, 4, 2])),
    "stacked": Stack,
    "invauto": lambda: Code(lambda bands: Autoencoder((bands,), 2, tied=True, width=8, depth=1)),
    "flow": Latent,
}


def reducer(name: str) -> Reducer:
    """Return a new reducer.

    Raises:
        OptionError: if there is none of that name.
    """
    if name not in REDUCERS:
        raise OptionError(f"there is no reducer {name!r}; there are {', '.join(REDUCERS)}")
    return REDUCERS[name]()


def _layers(sizes: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.SELU()]
    return nn.Sequential(*layers)


def _train(net: Autoencoder, x: Tensor, epochs: int, batch_size: int, seed: int) -> float:
    """Train an autoencoder and return its mean squared error for each band."""
    steps = max(1, epochs * len(x) // batch_size)
    fit(
        net,
        x,
        objective=ReconstructionLoss(),
        max_steps=steps,
        batch_size=min(batch_size, len(x) // 2),
        seed=seed,
        progress=False,
    )
    with torch.no_grad():
        return float((net.decode(net.encode(x)) - x).square().mean())
