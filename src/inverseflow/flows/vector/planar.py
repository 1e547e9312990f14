"""Flows of vectors made of planar and of radial layers."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, get_args

from typing_extensions import Unpack

from inverseflow.bijections import Bijection, Inverse, Planar, Radial
from inverseflow.densities import register
from inverseflow.flows.vector.flow import VectorFlow, VectorKwargs, VectorOptions
from inverseflow.nets import MLP
from inverseflow.utils.arguments import one_of

Explicit = Literal["log_prob", "sample"]


@register("planar-flow")
class VectorPlanarFlow(VectorFlow):
    """Flow of planar layers, each of which moves vectors along one direction; not the `PlanarFlow` of images.

    Args:
        event_shape: the shape ``(D,)`` of a vector. One column is enough.
        explicit: ``"log_prob"`` to fit data; ``"sample"`` for variational inference, as published: samples and their
            log densities are then computed without root finding.
        options: `VectorFlow` explains them, but there are 16 ``steps``, and ``width`` and ``depth`` are those of the
            networks that predict the parameters of the layers from a context.

    Raises:
        ValueError: if the event is no vector, or an argument is out of its range.

    Reference:
        Rezende and Mohamed, `Variational Inference with Normalizing Flows <https://arxiv.org/abs/1505.05770>`_, 2015,
        section 4.1.

    Example:
        >>> x, log_prob = VectorPlanarFlow((2,), explicit="sample", standardize=False).sample_with_log_prob(5)
        >>> x.shape, log_prob.shape
        (torch.Size([5, 2]), torch.Size([5]))
    """

    def __init__(
        self, event_shape: Sequence[int], *, explicit: Explicit = "log_prob", **options: Unpack[VectorKwargs]
    ) -> None:
        given: VectorKwargs = {"steps": 16, **options}
        super().__init__(event_shape, _layers(Planar, explicit), mixing=False, **given)


@register("radial-flow")
class VectorRadialFlow(VectorFlow):
    """Flow of radial layers, each of which moves vectors towards a point or away; see `VectorPlanarFlow`.

    Its arguments and errors apply. Neither direction needs root finding; ``explicit`` says which has the layers as
    they were published, and which their inverses.

    Example:
        >>> VectorRadialFlow((2,)).sample(5).shape
        torch.Size([5, 2])
    """

    def __init__(
        self, event_shape: Sequence[int], *, explicit: Explicit = "log_prob", **options: Unpack[VectorKwargs]
    ) -> None:
        given: VectorKwargs = {"steps": 16, **options}
        super().__init__(event_shape, _layers(Radial, explicit), mixing=False, **given)


def _layers(kind: type[Planar | Radial], explicit: Explicit) -> Callable[[int, int, VectorOptions], Bijection]:
    """Return the builder of planar or radial layers in one of their directions."""
    one_of("explicit", explicit, get_args(Explicit))

    def build(channels: int, index: int, options: VectorOptions) -> Bijection:
        net = partial(MLP, width=options.width, depth=options.depth)
        layer = kind(channels, context_channels=options.context_channels, conditioner=net)
        return layer if explicit == "log_prob" else Inverse(layer)

    return build
