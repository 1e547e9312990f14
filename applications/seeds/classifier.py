"""A small residual network that sees all views of an object."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from applications.seeds.sets import Labeled
from inverseflow import fit
from inverseflow.data import Batch
from inverseflow.densities import Density
from inverseflow.training import Loss
from inverseflow.utils.seeding import seeded

_CHUNK = 256


class ViewsNet(Density):
    """Class scores of an object: features of each view by the same residual network, concatenated, then two layers.

    Args:
        shape: ``(views, channels, H, W)``.
        classes: number of classes.
        width: channels of the first block.
        dropout: share of features that are dropped, in training and in `draws`.

    Example:
        >>> ViewsNet((2, 3, 32, 32), 4)(torch.rand(5, 2, 3, 32, 32)).shape
        torch.Size([5, 4])
    """

    def __init__(self, shape: tuple[int, ...], classes: int, *, width: int = 8, dropout: float = 0.3) -> None:
        super().__init__(shape, context_shape=(classes,))
        views, channels = shape[:2]
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            _Block(width, width, 1),
            _Block(width, 2 * width, 2),
            _Block(2 * width, 4 * width, 2),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(views * 4 * width, 64),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(64, classes),
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the scores ``(B, classes)``."""
        return self.scores(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """Return the features of all views, ``(B, views · 4 · width)``."""
        return torch.cat([self.body(view) for view in x.unbind(1)], 1)

    def scores(self, features: Tensor) -> Tensor:
        """Return the scores of features."""
        scores: Tensor = self.head(features)
        return scores

    @torch.no_grad()
    def predict(self, pictures: Tensor) -> Tensor:
        """Return the class of each object."""
        self.eval()
        return torch.cat([self(part).argmax(1) for part in pictures.split(_CHUNK)])

    @torch.no_grad()
    def draws(self, pictures: Tensor, count: int, seed: int = 0) -> Tensor:
        """Return class probabilities ``(N, count, classes)`` under random dropout, the same for all objects.

        Reference:
            Gal and Ghahramani, Dropout as a Bayesian approximation, 2016, https://arxiv.org/abs/1506.02142.
        """
        self.eval()
        features = torch.cat([self.features(part) for part in pictures.split(_CHUNK)])
        found = []
        with seeded(seed, "dropout"):
            for _ in range(count):
                hidden = features
                for layer in self.head:
                    if isinstance(layer, nn.Dropout):
                        kept = (torch.rand(hidden.shape[1]) >= layer.p).to(hidden)
                        hidden = hidden * kept / (1 - layer.p)
                    else:
                        hidden = layer(hidden)
                found.append(hidden.softmax(1))
        return torch.stack(found, 1)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Refuse: a classifier is no density of pictures."""
        raise NotImplementedError("a classifier has no density of pictures")

    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Refuse: a classifier draws no pictures."""
        raise NotImplementedError("a classifier draws no pictures")


class AugmentedCrossEntropy:
    """Cross-entropy, in training of changed pictures: mirrored, shifted, with salt and pepper, and cut together.

    Args:
        cutmix: probability that a batch is cut together with its own permutation.
        salt: probability that a pixel becomes black or white, in one of ten objects.
        shift: largest shift in pixels.

    Reference:
        Yun et al., CutMix, 2019, https://arxiv.org/abs/1905.04899.
    """

    def __init__(self, *, cutmix: float = 0.5, salt: float = 0.02, shift: int = 2) -> None:
        self.cutmix, self.salt, self.shift = cutmix, salt, shift

    def __call__(self, model: Density, batch: Batch, /) -> Loss:
        """Return the mean over a batch; its contexts are shares of the classes."""
        assert batch.context is not None
        x, shares = batch.x, batch.context
        if model.training:
            x, shares = self._changed(x, shares)
        cost = F.cross_entropy(model(x), shares)
        return Loss(cost, {"cross_entropy": cost})

    def _changed(self, x: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.where(torch.rand(len(x), 1, 1, 1, 1) < 0.5, x.flip(-1), x)
        moved = torch.randint(-self.shift, self.shift + 1, (2,)).tolist()
        x = x.roll(moved, (-2, -1))
        salted = torch.rand((*x.shape[:2], 1, *x.shape[3:])) < self.salt * (torch.rand(len(x), 1, 1, 1, 1) < 0.1)
        x = torch.where(salted, torch.randint(2, salted.shape).to(x), x)
        return cut_together(x, shares) if torch.rand(()) < self.cutmix else (x, shares)


def cut_together(x: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Paste a random box of each object's neighbor in a permutation; the shares are those of the areas.

    Args:
        x: ``(B, views, channels, H, W)``.
        shares: of the classes, ``(B, classes)``.
    """
    height, width = x.shape[-2:]
    cut = (1 - float(torch.rand(()))) ** 0.5
    (top, bottom), (left, right) = (_within(cut * size, size) for size in (height, width))
    other = torch.randperm(len(x))
    mixed = x.clone()
    mixed[..., top:bottom, left:right] = x[other][..., top:bottom, left:right]
    pasted = (bottom - top) * (right - left) / (height * width)
    return mixed, (1 - pasted) * shares + pasted * shares[other]


def _within(length: float, size: int) -> tuple[int, int]:
    """Return the ends of a stretch around a random place, cut off at the borders."""
    centre = size * float(torch.rand(()))
    return round(max(0.0, centre - length / 2)), round(min(float(size), centre + length / 2))


def train_classifier(data: Labeled, *, steps: int, seed: int = 0, progress: bool = False) -> ViewsNet:
    """Train a `ViewsNet` from random weights and keep the last ones.

    Args:
        data: what is trained on.
        steps: training steps.
        seed: of weights, order and changes.
        progress: whether to show a progress bar.
    """
    with seeded(seed, "classifier"):
        net = ViewsNet(tuple(data.pictures.shape[1:]), len(data.names))
    fit(
        net,
        data.pictures,
        F.one_hot(data.labels, len(data.names)).to(data.pictures),
        objective=AugmentedCrossEntropy(),
        validation=1 / len(data),
        max_steps=steps,
        validate_every=steps,
        batch_size=min(32, len(data) - 1),
        learning_rate=5e-3,
        clip_norm=5.0,
        seed=seed,
        progress=progress,
    )
    return net


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.past = nn.Identity() if stride == 1 and before == after else nn.Conv2d(before, after, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.past(x) + self.change(x))
