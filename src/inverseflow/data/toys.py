"""Synthetic data sets in the plane.

Their definitions are those of Grathwohl et al., FFJORD, 2019, https://arxiv.org/abs/1810.01367; two moons and the
swiss roll come from scikit-learn.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inverseflow.data.examples import Splits, TensorExamples
from inverseflow.data.splitting import check_seed
from inverseflow.errors import DataError
from inverseflow.utils.arguments import whole_number
from inverseflow.utils.packages import packages_for

Array = npt.NDArray[np.float64]
Draw = tuple[Array, npt.NDArray[np.int64] | None]

_EIGHT_RADIUS, _EIGHT_SCALE = 4 / math.sqrt(2), 0.5 / math.sqrt(2)
_RING_RADII, _RING_SCALE = (0.75, 1.5, 2.25, 3.0), 0.08


@dataclass(frozen=True)
class Toy:
    """A distribution of points in the plane."""

    draw: Callable[[int, int], Draw]
    """Draw a number of points ``(N, 2)`` with a seed, and the number ``(N,)`` of the class of each."""
    classes: tuple[str, ...] = ()
    """Names of the classes, equally likely."""
    log_prob: Callable[[Tensor], Tensor] | None = None
    """Exact log density ``(N,)`` of points ``(N, 2)``, where it has a simple formula."""


def _two_moons(count: int, seed: int) -> Draw:
    with packages_for("the data set 'two-moons'"):
        from sklearn.datasets import make_moons
    points, moon = make_moons(count, noise=0.1, random_state=seed)
    return points * 2 - [1, 0.2], moon


def _swiss_roll(count: int, seed: int) -> Draw:
    with packages_for("the data set 'swiss-roll'"):
        from sklearn.datasets import make_swiss_roll
    return make_swiss_roll(count, noise=1, random_state=seed)[0][:, [0, 2]] / 5, None


def _pinwheel(count: int, seed: int) -> Draw:
    random = np.random.RandomState(seed)
    arm = random.randint(5, size=count)
    radial, tangential = 1 + 0.3 * random.randn(count), 0.1 * random.randn(count)
    angle = 2 * np.pi / 5 * arm + 0.25 * np.exp(radial)
    return 2 * np.stack([radial, tangential], 1)[:, None] @ _rotations(angle), arm


def _rotations(angle: Array) -> Array:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([cosine, sine, -sine, cosine], 1).reshape(-1, 2, 2)  # transposed: from the right


def _eight_gaussians(count: int, seed: int) -> Draw:
    random = np.random.RandomState(seed)
    component = random.randint(8, size=count)
    return _circle(component * np.pi / 4) * _EIGHT_RADIUS + random.randn(count, 2) * _EIGHT_SCALE, component


def _eight_gaussians_log_prob(x: Tensor) -> Tensor:
    centers = _EIGHT_RADIUS * torch.from_numpy(_circle(np.arange(8) * np.pi / 4)).to(x)
    squared = (x[:, None] - centers).square().sum(-1) / _EIGHT_SCALE**2  # (N, 8)
    return (-squared / 2).logsumexp(1) - math.log(8 * 2 * math.pi * _EIGHT_SCALE**2)


def _checkerboard(count: int, seed: int) -> Draw:
    random = np.random.RandomState(seed)
    x = 4 * random.rand(count) - 2
    y = random.rand(count) - 2 * random.randint(2, size=count) + np.floor(x) % 2
    return 2 * np.stack([x, y], 1), None


def _checkerboard_log_prob(x: Tensor) -> Tensor:
    square = (x / 2).floor()
    inside = ((square >= -2) & (square < 2)).all(1) & (square.sum(1) % 2 == 0)
    return torch.where(inside, -math.log(32), -math.inf).to(x.dtype)


def _two_spirals(count: int, seed: int) -> Draw:
    random = np.random.RandomState(seed)
    arm = random.randint(2, size=count)
    turn = 3 * np.pi * np.sqrt(random.rand(count))
    curve = np.stack([-np.cos(turn), np.sin(turn)], 1) * turn[:, None] + random.rand(count, 2) / 2
    return (1 - 2 * arm)[:, None] * curve / 3 + 0.1 * random.randn(count, 2), arm


def _rings(count: int, seed: int) -> Draw:
    random = np.random.RandomState(seed)
    ring = random.randint(4, size=count)
    circle = _circle(2 * np.pi * random.rand(count)) * np.array(_RING_RADII)[ring, None]
    return circle + _RING_SCALE * random.randn(count, 2), ring


def _rings_log_prob(x: Tensor) -> Tensor:
    # A point on a circle of radius ρ plus normal noise: the angle integrates to a Bessel function of the first kind.
    variance, radii = _RING_SCALE**2, torch.tensor(_RING_RADII).to(x)
    distance = x.norm(dim=1, keepdim=True)
    log_bessel: Tensor = torch.special.i0e(
        distance * radii / variance
    ).log()  # (N, 4), without exp(distance·ρ / variance)
    terms: Tensor = log_bessel - (distance - radii).square() / (2 * variance)
    return terms.logsumexp(1) - math.log(4 * 2 * math.pi * variance)


def _circle(angle: npt.NDArray[np.floating]) -> Array:
    return np.stack([np.cos(angle), np.sin(angle)], 1)


TOYS = MappingProxyType(
    {
        "two-moons": Toy(_two_moons, ("upper", "lower")),
        "pinwheel": Toy(_pinwheel, tuple("01234")),
        "eight-gaussians": Toy(_eight_gaussians, tuple("01234567"), _eight_gaussians_log_prob),
        "swiss-roll": Toy(_swiss_roll),
        "checkerboard": Toy(_checkerboard, (), _checkerboard_log_prob),
        "two-spirals": Toy(_two_spirals, ("0", "1")),
        "rings": Toy(_rings, tuple("0123"), _rings_log_prob),
    }
)
"""The distributions by name."""


def load_toy(name: str, *, count: int = 50_000, split_seed: int = 0) -> Splits[TensorExamples]:
    """Draw points of a distribution in the plane: 80 : 10 : 10 for training, validation and test.

    Args:
        name: one of `TOYS`.
        count: number of points, at least 10.
        split_seed: seed of the points.

    Returns:
        ``float32`` points ``(N, 2)``, with labels where the distribution has classes.

    Raises:
        ValueError: if `count` is below 10.
        DataError: if the seed is out of range.

    Example:
        >>> splits = load_toy("rings", count=1000)
        >>> splits.title, splits.train
        ('rings (synthetic)', TensorExamples(800 × (2,)))
        >>> -TOYS["rings"].log_prob(splits.train.tensor()).mean()  # an estimate of the entropy, in nats
        tensor(2.58...)
    """
    count = whole_number("count", count, at_least=10)
    check_seed(split_seed)
    if name not in TOYS:
        raise DataError(f"unknown distribution {name!r}: choose one of {', '.join(TOYS)}")
    toy = TOYS[name]
    points, labels = toy.draw(count, split_seed)
    x = torch.from_numpy(points.reshape(count, 2)).float()
    examples = TensorExamples(x, labels=None if labels is None else torch.from_numpy(labels))
    held_out = count // 10
    order = torch.arange(count)
    train, validation, test = (
        examples.select(part) for part in order.split([count - 2 * held_out, held_out, held_out])
    )
    return Splits(
        name=name,
        title=f"{name.replace('-', ' ')} (synthetic)",
        levels=None,
        event_shape=(2,),
        train=train,
        validation=validation,
        test=test,
        notes=(f"{count} points were drawn with seed {split_seed}: the data are synthetic",),
        columns=("x", "y"),
        classes=toy.classes,
    )
