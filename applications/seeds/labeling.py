"""Which objects to label next: BatchBALD, or at random."""

from __future__ import annotations

import torch
from torch import Tensor

from applications.seeds.classifier import train_classifier
from applications.seeds.sets import Labeled
from inverseflow.errors import OptionError
from inverseflow.utils.seeding import derived_seed, seeded

_LARGEST = 4**5
_DRAWS = 20


def entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy along the last axis, in nats."""
    terms: Tensor = torch.special.entr(probabilities)
    return terms.sum(-1)


def batch_bald(draws: Tensor, size: int, *, seed: int = 0, largest: int = _LARGEST) -> tuple[list[int], list[float]]:
    r"""Choose a batch whose labels together tell most about the classifier, greedily.

    .. math:: I(y_1, \dots, y_b; \omega) = H(y_1, \dots, y_b) - \sum_i \mathbb{E}_\omega H(y_i \mid \omega)

    The joint entropy is exact for as many configurations of labels as `largest`, and estimated from that many drawn
    ones above.

    Args:
        draws: class probabilities of each candidate under draws of the classifier ω, ``(N, draws, classes)``.
        size: number of candidates to choose, at most all.
        seed: of drawn configurations.
        largest: number of configurations.

    Returns:
        The chosen candidates in their order, and the information after each, in nats.

    Reference:
        Kirsch, van Amersfoort and Gal, BatchBALD, 2019, https://arxiv.org/abs/1906.08158.

    Example:
        >>> certain, torn = torch.tensor([[1.0, 0.0]] * 2), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> batch_bald(torch.stack([certain, torn, torn]), 1)
        ([1], [0.69...])
    """
    count, number, classes = draws.shape
    if not 1 <= size <= count:
        raise OptionError(f"the batch must have from 1 to {count} objects, got {size}")
    draws = draws.double()
    noise = entropy(draws).mean(1)
    joint = draws.new_ones(1, number)  # probabilities of configurations of the chosen labels under each draw
    weights = draws.new_ones(1)  # of configurations, divided by their probabilities
    chosen: list[int] = []
    information: list[float] = []
    spent = 0.0
    with seeded(seed, "configurations"):
        for _ in range(size):
            together = torch.einsum("mk,nkc->nmc", joint, draws) / number
            joints = (torch.special.entr(together) * weights[:, None]).sum((1, 2))
            gains = joints - spent - noise
            gains[chosen] = -torch.inf
            best = int(gains.argmax())
            spent += float(noise[best])
            chosen.append(best)
            information.append(float(joints[best] - spent))
            joint = torch.einsum("mk,kc->mck", joint, draws[best]).flatten(0, 1)
            weights = weights.repeat_interleave(classes)
            if len(joint) > largest:
                shares = weights * joint.mean(1)
                kept = torch.multinomial(shares, largest, replacement=True)
                joint, weights = joint[kept], shares.sum() / (largest * joint[kept].mean(1))
    return chosen, information


def label_in_batches(
    pool: Labeled, test: Labeled, strategy: str, *, start: int, batch: int, rounds: int, steps: int, seed: int = 0
) -> list[tuple[int, float]]:
    """Label a pool batch after batch, and train the classifier anew after each.

    Args:
        pool: objects whose labels are looked at only when they are chosen.
        test: what accuracy is measured on.
        strategy: "BatchBALD" or "random".
        start: number of random objects that are labeled first.
        batch: number of objects in a batch.
        rounds: number of batches.
        steps: training steps of each classifier.
        seed: of everything random; the first objects do not depend on the strategy.

    Returns:
        The number of labels and the test accuracy, for each training.
    """
    if strategy not in STRATEGIES:
        raise OptionError(f"there is no strategy {strategy!r}; there are {', '.join(STRATEGIES)}")
    if start + batch * rounds > len(pool):
        raise OptionError(f"{start + batch * rounds} labels are more than the pool of {len(pool)}: ask for fewer")
    generator = torch.Generator().manual_seed(derived_seed(seed, "pool"))
    order = torch.randperm(len(pool), generator=generator)
    labeled, rest = order[:start], order[start:]
    curve = []
    for number in range(rounds + 1):
        net = train_classifier(pool.select(labeled), steps=steps, seed=seed)
        right = net.predict(test.pictures) == test.labels
        curve.append((len(labeled), float(right.float().mean())))
        if number < rounds:
            places = torch.arange(batch)
            if strategy == "BatchBALD":
                draws = net.draws(pool.pictures[rest], _DRAWS, derived_seed(seed, number))
                places = torch.tensor(batch_bald(draws, batch, seed=seed)[0])
            labeled = torch.cat([labeled, rest[places]])
            kept = torch.ones(len(rest), dtype=torch.bool)
            kept[places] = False
            rest = rest[kept]
    return curve


STRATEGIES = ("random", "BatchBALD")


def labels_needed(curve: list[tuple[int, float]], accuracy: float) -> int | None:
    """Return the fewest labels with which a curve reaches an accuracy, None if it never does.

    Example:
        >>> labels_needed([(10, 0.5), (20, 0.8), (30, 0.7)], 0.75)
        20
    """
    return next((labels for labels, reached in curve if reached >= accuracy), None)
