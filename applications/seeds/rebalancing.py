"""Fill rare classes up to the size of the largest: by copies, by a conditional flow, by a conditional GAN."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise

import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from applications.seeds.sets import Labeled
from inverseflow import fit, flows
from inverseflow.errors import OptionError
from inverseflow.utils.seeding import seeded

Generate = Callable[[Tensor], Tensor]
"""Draws a picture for each label."""

_COMPONENTS = 32
_SPREAD = 0.5
_CODE = 32
_DECAY = 0.99


def rebalance(method: str, data: Labeled, *, steps: int, seed: int = 0) -> Labeled:
    """Add objects to each class until all are as large as the largest.

    Args:
        method: one of `METHODS`.
        data: what is trained on, and what a generator learns from; nothing else.
        steps: training steps of a generator.
        seed: of everything random.

    Raises:
        OptionError: if there is no such method.
    """
    if method not in METHODS:
        raise OptionError(f"there is no rebalancing {method!r}; there are {', '.join(METHODS)}")
    counts = data.counts
    labels = torch.repeat_interleave(torch.arange(len(counts)), max(counts) - torch.tensor(counts))
    make = METHODS[method]
    if make is None or not len(labels):
        return data
    with seeded(seed, "rebalance", method):
        return data.joined(make(data, steps, seed)(labels), labels)


def copies(data: Labeled, steps: int, seed: int) -> Generate:
    """Return a function that draws pictures of the data again."""
    return lambda labels: data.pictures[_drawn(data, labels)]


def flow(data: Labeled, steps: int, seed: int) -> Generate:
    r"""Return a function that changes pictures of the data in the latent space of a flow, given their class.

    The flow learns principal components of all views together, so that views agree. A picture is encoded, its latent
    :math:`z` becomes :math:`\sqrt{1 - t^2} z + t \epsilon`, which has the distribution of the base again, and is
    decoded; what the components leave out stays that of the picture. With t = 1 samples would be new, but smoother than
    real pictures, and a classifier would tell classes by their smoothness.
    """
    rows = data.pictures.flatten(1)
    pca = PCA(min(_COMPONENTS, *(size - 1 for size in rows.shape)), svd_solver="full").fit(rows.numpy())
    scale = torch.from_numpy(pca.explained_variance_**0.5).float()
    axes = scale[:, None] * torch.from_numpy(pca.components_).float()
    scores = torch.from_numpy(pca.transform(rows.numpy())).float() / scale
    given = F.one_hot(data.labels, len(data.names)).float()
    density = flows.create("realnvp", (scores.shape[1],), context_channels=len(data.names), width=32, zero_start=True)
    fit(
        density,
        scores,
        given,
        max_steps=steps,
        batch_size=min(128, len(data) // 2),
        weight_decay=1e-2,
        seed=seed,
        progress=False,
    )

    @torch.no_grad()
    def draw(labels: Tensor) -> Tensor:
        places = _drawn(data, labels)
        latents = density.encode(scores[places], given[places])
        moved = (1 - _SPREAD**2) ** 0.5 * latents + _SPREAD * torch.randn_like(latents)
        change = (density.decode(moved, given[places]) - scores[places]) @ axes
        return (rows[places] + change).reshape(-1, *data.pictures.shape[1:]).clamp(0, 1)

    return draw


def gan(data: Labeled, steps: int, seed: int) -> Generate:
    """Return a function that draws pictures by the generator of a conditional GAN: hinge loss, projection of the class.

    `fit` has one optimizer and one loss; this game has two, so its loop is here. The average of the generator's weights
    draws the pictures.

    Reference:
        Miyato and Koyama, cGANs with projection discriminator, 2018, https://arxiv.org/abs/1802.05637.
    """
    views, channels, side, width = data.pictures.shape[1:]
    if side != width or side % 8:
        raise OptionError(
            f"the GAN draws squares whose side is a multiple of 8, got {side}×{width}: scale the pictures"
        )
    maker, judge = Generator(views * channels, side, len(data.names)), Discriminator(views * channels, len(data.names))
    average = deepcopy(maker)
    real = 2 * data.pictures.flatten(1, 2) - 1
    optimizers = [torch.optim.Adam(net.parameters(), 4e-4, betas=(0.0, 0.99)) for net in (maker, judge)]
    for _ in range(steps):
        places = torch.randint(len(data), (32,))
        labels = data.labels[places]
        fake = maker(torch.randn(32, _CODE), labels)
        loss_of_judge = judge_loss(judge(real[places], labels), judge(fake.detach(), labels))
        optimizers[1].zero_grad()
        loss_of_judge.backward()
        optimizers[1].step()
        optimizers[0].zero_grad()
        (-judge(fake, labels).mean()).backward()
        optimizers[0].step()
        with torch.no_grad():
            for mean, value in zip(average.state_dict().values(), maker.state_dict().values(), strict=True):
                mean.copy_(value if mean.dtype == torch.long else _DECAY * mean + (1 - _DECAY) * value)

    @torch.no_grad()
    def draw(labels: Tensor) -> Tensor:
        average.eval()
        drawn = torch.cat([average(torch.randn(len(part), _CODE), part) for part in labels.split(256)])
        return ((drawn + 1) / 2).reshape(-1, *data.pictures.shape[1:])

    return draw


METHODS: dict[str, Callable[[Labeled, int, int], Generate] | None] = {
    "none": None,
    "oversampling": copies,
    "flow": flow,
    "GAN": gan,
}
"""Ways to rebalance."""


def judge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return the hinge loss of a discriminator: no gradient from what is judged right by a margin of 1.

    Example:
        >>> judge_loss(torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 1.0]))
        tensor(1.5000)
    """
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


class Generator(nn.Module):
    """A picture from a code and a class, by convolutions whose batch norms depend on the class.

    Example:
        >>> Generator(3, 16, 4)(torch.randn(5, 32), torch.tensor([0, 1, 2, 3, 0])).shape
        torch.Size([5, 3, 16, 16])
    """

    def __init__(self, channels: int, side: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.side = side // 8
        self.start = nn.Linear(_CODE, 2 * width * self.side**2)
        widths = (2 * width, 2 * width, width, width)
        self.norms = nn.ModuleList([_ClassNorm(before, classes) for before in widths])
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths)]
        )
        self.end = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, code: Tensor, labels: Tensor) -> Tensor:
        """Return pictures with values from -1 to 1."""
        h = self.start(code).unflatten(1, (-1, self.side, self.side))
        for norm, convolution in zip(self.norms, self.convolutions, strict=False):
            h = convolution(F.interpolate(F.relu(norm(h, labels)), scale_factor=2))
        return torch.tanh(self.end(F.relu(self.norms[-1](h, labels))))


class Discriminator(nn.Module):
    r"""How real a picture of a class looks: :math:`D(x, y) = \psi(\varphi(x)) + v_y^\top \varphi(x)`.

    Example:
        >>> Discriminator(3, 4)(torch.randn(5, 3, 16, 16), torch.tensor([0, 1, 2, 3, 0])).shape
        torch.Size([5])
    """

    def __init__(self, channels: int, classes: int, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((channels, width), (width, 2 * width), (2 * width, 2 * width)):
            layers += [spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1)), nn.LeakyReLU(0.1)]
        self.features = nn.Sequential(*layers)
        self.plain = spectral_norm(nn.Linear(2 * width, 1))
        self.classes = spectral_norm(nn.Embedding(classes, 2 * width))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Return one number for each picture."""
        features = self.features(x).sum((2, 3))
        judged: Tensor = self.plain(features)[:, 0] + (self.classes(labels) * features).sum(1)
        return judged


def _drawn(data: Labeled, labels: Tensor) -> Tensor:
    """Return the place of a random object of each label."""
    own = [(data.labels == label).nonzero()[:, 0] for label in range(len(data.names))]
    return torch.stack([own[label][torch.randint(len(own[label]), ())] for label in labels.tolist()])


class _ClassNorm(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale = nn.Embedding(classes, channels)
        self.shift = nn.Embedding(classes, channels)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        scaled: Tensor = self.norm(x) * self.scale(labels)[..., None, None] + self.shift(labels)[..., None, None]
        return scaled
