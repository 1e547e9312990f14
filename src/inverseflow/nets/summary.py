"""Summary networks: from an observation that is a set, a series, an image or a graph to a vector."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from inverseflow.utils.arguments import one_of, whole_number, whole_shape


class Summary(nn.Module, ABC):
    """Base class of summary networks: observations ``(B, *shape)`` become vectors ``(B, features)``.

    A subclass sets `kind` and `axes`, and MUST implement `forward` and `moments`.

    Args:
        shape: shape of one observation.
        features: length of the vector.
        width: hidden units or channels.
        depth: hidden layers.

    Raises:
        TypeError: if a number is not whole.
        ValueError: if a number is below 1, or the observation has another number of axes than `axes`.
    """

    kind: ClassVar[str]
    axes: ClassVar[str]
    """The axes of an observation, for messages."""

    def __init__(self, shape: Sequence[int], *, features: int = 16, width: int = 64, depth: int = 2) -> None:
        super().__init__()
        self.shape = whole_shape("shape", shape)
        self.features = whole_number("features", features, at_least=1)
        self.width = whole_number("width", width, at_least=1)
        self.depth = whole_number("depth", depth, at_least=1)
        if len(self.shape) != 1 + self.axes.count(","):
            article = "an" if self.kind == "image" else "a"
            raise ValueError(f"{article} {self.kind} is an observation ({self.axes}), got the shape {self.shape}")

    @abstractmethod
    def moments(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of observations, of shapes that broadcast to one and keep its symmetries."""


class SetSummary(Summary):
    r"""Deep set: the same network for each element, their mean, and a network of it. The order is ignored.

    .. math:: s(y) = \rho\Big(\frac 1n \sum_i \phi(y_i)\Big)

    Args:
        shape: ``(n, C)``, n elements of C numbers. Other numbers of elements are taken, too.
        features: as for `Summary`, and so are ``width`` and ``depth``.

    Reference:
        Zaheer et al., `Deep Sets <https://arxiv.org/abs/1703.06114>`_, 2017.

    Example:
        >>> SetSummary((10, 2))(torch.randn(5, 10, 2)).shape
        torch.Size([5, 16])
    """

    kind, axes = "set", "n, C"

    def __init__(self, shape: Sequence[int], **options: Any) -> None:
        super().__init__(shape, **options)
        self.elements = _mlp(self.shape[1], self.width, self.width, self.depth)
        self.pooled = _mlp(self.width, self.features, self.width, self.depth)

    def moments(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return one mean and deviation for each of the C numbers."""
        return _over(y, (0, 1))

    def forward(self, y: Tensor) -> Tensor:
        """Return the vectors of sets."""
        summary: Tensor = self.pooled(self.elements(y).mean(1))
        return summary


class SeriesSummary(Summary):
    """Convolutions over time with strides of 2, the mean and the maximum, and a linear layer.

    Args:
        shape: ``(C, T)``, C channels at T times.
        features: as for `Summary`, and so are ``width`` and ``depth``.

    Example:
        >>> SeriesSummary((1, 100))(torch.randn(5, 1, 100)).shape
        torch.Size([5, 16])
    """

    kind, axes = "series", "C, T"

    def __init__(self, shape: Sequence[int], **options: Any) -> None:
        super().__init__(shape, **options)
        self.network = _convolutions(nn.Conv1d, self.shape[0], self.width, self.depth)
        self.last = nn.Linear(2 * self.width, self.features)

    def moments(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return one mean and deviation for each channel."""
        return _over(y, (0, 2))

    def forward(self, y: Tensor) -> Tensor:
        """Return the vectors of series."""
        return _pooled(self.last, self.network(y))


class ImageSummary(Summary):
    """Convolutions with strides of 2, the mean and the maximum over the pixels, and a linear layer.

    Args:
        shape: ``(C, H, W)``.
        features: as for `Summary`, and so are ``width`` and ``depth``.

    Example:
        >>> ImageSummary((1, 28, 28))(torch.randn(5, 1, 28, 28)).shape
        torch.Size([5, 16])
    """

    kind, axes = "image", "C, H, W"

    def __init__(self, shape: Sequence[int], **options: Any) -> None:
        super().__init__(shape, **options)
        self.network = _convolutions(nn.Conv2d, self.shape[0], self.width, self.depth)
        self.last = nn.Linear(2 * self.width, self.features)

    def moments(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return one mean and deviation for each channel."""
        return _over(y, (0, 2, 3))

    def forward(self, y: Tensor) -> Tensor:
        """Return the vectors of images."""
        return _pooled(self.last, self.network(y))


class GraphSummary(Summary):
    r"""Message passing on a dense graph, and the mean over its vertices. The numbering of the vertices is ignored.

    .. math:: h_v \leftarrow \mathrm{relu}\Big(U h_v + W \sum_w A_{vw} h_w\Big)

    Args:
        shape: ``(V, C + V)``: for each of V vertices its C features and its row of the adjacency matrix. With
            ``C = 0`` the degrees are the features.
        features: as for `Summary`, and so are ``width`` and ``depth``, the rounds of messages.

    Reference:
        Gilmer et al., `Neural Message Passing <https://arxiv.org/abs/1704.01212>`_, 2017.

    Example:
        >>> GraphSummary((4, 2 + 4))(torch.randn(5, 4, 6)).shape
        torch.Size([5, 16])
    """

    kind, axes = "graph", "V, C + V"

    def __init__(self, shape: Sequence[int], **options: Any) -> None:
        super().__init__(shape, **options)
        vertices, columns = self.shape
        if columns < vertices:
            raise ValueError(f"a graph of {vertices} vertices needs at least as many columns, got {columns}")
        self.channels = columns - vertices
        sizes = [self.channels + 1, *[self.width] * self.depth]
        self.own = nn.ModuleList(nn.Linear(size, following) for size, following in pairwise(sizes))
        self.others = nn.ModuleList(nn.Linear(size, following, bias=False) for size, following in pairwise(sizes))
        self.pooled = _mlp(self.width, self.features, self.width, 1)

    def moments(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return one mean and deviation for each feature; the adjacency stays as it is."""
        mean, deviation = _over(y, (0, 1))
        mean[..., self.channels :], deviation[..., self.channels :] = 0, 1
        return mean, deviation

    def forward(self, y: Tensor) -> Tensor:
        """Return the vectors of graphs."""
        features, adjacency = y.split([self.channels, self.shape[0]], 2)
        h = torch.cat([features, adjacency.sum(2, keepdim=True) / self.shape[0]], 2)
        for own, others in zip(self.own, self.others, strict=True):
            h = torch.relu(own(h) + others(adjacency @ h))
        summary: Tensor = self.pooled(h.mean(1))
        return summary


SUMMARIES: dict[str, type[Summary]] = {cls.kind: cls for cls in (SetSummary, SeriesSummary, ImageSummary, GraphSummary)}


def create_summary(kind: str, shape: Sequence[int], **options: Any) -> Summary:
    """Build the summary network of a kind of observation: ``"set"``, ``"series"``, ``"image"`` or ``"graph"``.

    Args:
        kind: the kind.
        shape: shape of one observation.
        options: of the network.

    Raises:
        ValueError: if the kind is unknown, or the shape is of another.

    Example:
        >>> create_summary("set", (10, 2), features=3)(torch.randn(5, 10, 2)).shape
        torch.Size([5, 3])
    """
    return SUMMARIES[one_of("summary", kind, SUMMARIES)](shape, **options)


def _mlp(inputs: int, outputs: int, width: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size, following in pairwise([inputs, *[width] * depth]):
        layers += [nn.Linear(size, following), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def _convolutions(layer: type[nn.Conv1d] | type[nn.Conv2d], inputs: int, width: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = [layer(inputs, width, 5, padding=2), nn.ReLU()]
    for _ in range(depth):
        layers += [layer(width, width, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


def _pooled(last: nn.Linear, h: Tensor) -> Tensor:
    """Return the linear layer of means and maxima over all positions."""
    h = h.flatten(2)
    summary: Tensor = last(torch.cat([h.mean(2), h.amax(2)], 1))
    return summary


def _over(y: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return mean and deviation over the batch and other axes, without the axis of the batch."""
    return y.mean(axes, keepdim=True)[0], y.std(axes, correction=0, keepdim=True)[0]
