"""A classifier of two one-channel k×k layers and one fully connected layer, and its training."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inverseflow.bijections import Shape
from inverseflow.data import Images
from inverseflow.errors import NonFiniteError
from inverseflow.ops import Corner, causal_conv2d, inv_conv2d
from inverseflow.utils.seeding import derived_seed, seeded

LayerKind = Literal["none", "inverse", "convolution"]

_SIDE = 3
_BATCH = 200
_LEARNING_RATES = {"taps": 4e-2, "fully_connected": 1e-2}
_AT_ONCE = 2000

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": torch.positive,
    "ReLU": F.relu,
    "SiLU": F.silu,
    "abs": torch.abs,
    "square": torch.square,
    "sin": torch.sin,
    "tanh": torch.tanh,
}
"""Elementwise functions without parameters."""

FITTING = {"batch_size": _BATCH, "learning_rates": _LEARNING_RATES, "optimizer": "Adam, one cycle"}
"""Training settings of all classifiers, as recorded with a row."""


class Activation(nn.Module):
    r"""An elementwise function without parameters, applied to its scaled argument.

    .. math:: z_i = \phi(s\,x_i)

    Args:
        name: name of φ in `FUNCTIONS`.
        scale: scale s.

    Example:
        >>> Activation("tanh", 4)(torch.tensor([0.0, 0.5]))
        tensor([0.0000, 0.9640])
    """

    def __init__(self, name: str, scale: float = 1.0) -> None:
        super().__init__()
        self.name = name
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Return the function of every element."""
        return FUNCTIONS[self.name](x * self.scale)

    def extra_repr(self) -> str:
        """Show the function."""
        return f"{self.name}, scale={self.scale:g}"


@dataclass(frozen=True)
class ClassifierArchitecture:
    """Options of a classifier."""

    layer: LayerKind
    """Kind of the two k×k layers: inverse convolutions, causal convolutions, or none."""
    between: tuple[str, float] = ("none", 1.0)
    """Arguments of the `Activation` between the two."""
    after: tuple[str, float] = ("none", 1.0)
    """Arguments of the activation between the second and the fully connected layer."""
    corners: tuple[Corner, Corner] = ("top_left", "top_left")
    """Corners at which the two layers start."""


class SmallClassifier(nn.Module):
    r"""Two unitriangular 3×3 layers of one channel, each followed by an activation, and a fully connected layer.

    .. math:: f(x) = W\,\phi_2(A_2^{-1}\,\phi_1(A_1^{-1} x)) + b

    The tap on the pixel itself is 1, so each layer has 8 parameters. They start at zero, which is the identity. Without
    activations f is affine.

    Args:
        architecture: options of the layers.
        shape: ``(1, H, W)`` of an image.
        classes: number of classes K.

    Shape:
        x: ``(B, 1, H, W)``; f(x): ``(B, K)``, logits.

    Example:
        >>> classifier = SmallClassifier(ClassifierArchitecture("inverse"), (1, 28, 28), 10)
        >>> classifier.taps.numel(), classifier(torch.randn(5, 1, 28, 28)).shape
        (16, torch.Size([5, 10]))
    """

    def __init__(self, architecture: ClassifierArchitecture, shape: Shape, classes: int) -> None:
        super().__init__()
        _, height, width = shape
        self.layer = architecture.layer
        self.corners = architecture.corners
        self.taps = nn.Parameter(torch.zeros(0 if self.layer == "none" else 2, _SIDE**2 - 1))
        self.activations = nn.ModuleList(Activation(*each) for each in (architecture.between, architecture.after))
        self.fully_connected = nn.Linear(height * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        convolve = inv_conv2d if self.layer == "inverse" else causal_conv2d
        between, after = self.activations
        if self.layer == "none":
            x = after(between(x))
        else:
            first, second = self.kernels()
            x = between(convolve(x, first, corner=self.corners[0], unitriangular=True))
            x = after(convolve(x, second, corner=self.corners[1], unitriangular=True))
        logits: Tensor = self.fully_connected(x.flatten(1))
        return logits

    def kernels(self) -> list[Tensor]:
        """Return the kernels of the layers, each ``(1, 1, 3, 3)``, in top-left orientation."""
        return [F.pad(taps, (0, 1), value=1.0).view(1, 1, _SIDE, _SIDE) for taps in self.taps]


def fit(
    architecture: ClassifierArchitecture, images: Images, levels: int, *, epochs: int, seed: int, device: str = "cpu"
) -> SmallClassifier:
    """Fit a classifier to labelled images by cross-entropy, with Adam and one cycle of the learning rates.

    Args:
        architecture: options of the classifier.
        images: images with one channel and labels.
        levels: number of gray levels; pixels are scaled to [0, 1].
        epochs: number of passes over the images.
        seed: determines weights and order.
        device: device to train on.

    Raises:
        NonFiniteError: if the loss is not a finite number; the message names the step.

    Example:
        >>> from inverseflow.data import load_images
        >>> digits = load_images("digits")
        >>> classifier = fit(ClassifierArchitecture("inverse"), digits.train, digits.levels, epochs=10, seed=0)
        >>> accuracy(classifier, digits.validation, digits.levels) > 0.8
        True
    """
    pixels, labels = _tensors(images, device)
    with seeded(seed, "weights"):
        classifier = SmallClassifier(architecture, images.shape, int(labels.max()) + 1).to(device)
    groups = [
        {"params": [classifier.taps], "lr": _LEARNING_RATES["taps"]},
        {"params": classifier.fully_connected.parameters(), "lr": _LEARNING_RATES["fully_connected"]},
    ]
    optimizer = torch.optim.Adam(groups)
    steps = epochs * -(-len(pixels) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, list(_LEARNING_RATES.values()), steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(derived_seed(seed, "order"))
    for epoch in range(epochs):
        for batch in torch.randperm(len(pixels), generator=generator).to(device).split(_BATCH):
            loss = F.cross_entropy(classifier(_scaled(pixels[batch], levels)), labels[batch])
            if not loss.isfinite():
                raise NonFiniteError(f"the loss is {loss.item()} in epoch {epoch}: the solve grew too large")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return classifier


@torch.no_grad()
def accuracy(classifier: SmallClassifier, images: Images, levels: int) -> float:
    """Return the fraction of images whose largest logit belongs to their label.

    Args:
        classifier: the classifier.
        images: with labels.
        levels: number of gray levels.
    """
    pixels, labels = _tensors(images, str(classifier.fully_connected.weight.device))
    right = [
        classifier(_scaled(some, levels)).argmax(1) == of_some
        for some, of_some in zip(pixels.split(_AT_ONCE), labels.split(_AT_ONCE), strict=True)
    ]
    return float(torch.cat(right).double().mean())


@torch.no_grad()
def distance_from_affine(classifier: SmallClassifier, images: Images, levels: int) -> float:
    r"""Return the relative distance of a classifier from an affine map, in float64.

    .. math:: \max|f(x) - (Mx + f(0))| \;/\; \max|f(x) - f(0)|, \qquad M e_i = f(e_i) - f(0)

    Args:
        classifier: f.
        images: x.
        levels: number of gray levels.

    Example:
        >>> from inverseflow.data import load_images
        >>> digits = load_images("digits")
        >>> def distance(after):
        ...     architecture = ClassifierArchitecture("inverse", after=after)
        ...     return distance_from_affine(SmallClassifier(architecture, (1, 8, 8), 10), digits.test, 17)
        >>> distance(("none", 1)) < 1e-12, distance(("tanh", 1)) < 1e-12
        (True, False)
    """
    double = copy.deepcopy(classifier).double()
    pixels, _ = _tensors(images, str(classifier.fully_connected.weight.device))
    x = _scaled(pixels[:_AT_ONCE], levels).double()
    dims = x[0].numel()
    at_zero = double(torch.zeros_like(x[:1]))
    matrix = double(torch.eye(dims, dtype=x.dtype, device=x.device).view(dims, *x.shape[1:])) - at_zero  # (D, K)
    moved = double(x) - at_zero
    return float((moved - x.flatten(1) @ matrix).abs().max() / moved.abs().max())


def _tensors(images: Images, device: str) -> tuple[Tensor, Tensor]:
    assert images.labels is not None
    return images.tensor().to(device), images.labels.to(device)


def _scaled(pixels: Tensor, levels: int) -> Tensor:
    return pixels.float() / (levels - 1)
