"""A volume-preserving flow of vectors behind one scale for every column."""

from collections.abc import Sequence
from typing import Literal, get_args

from typing_extensions import Unpack

from inverseflow.bijections import ActNorm, Additive, Bijection, Compose
from inverseflow.densities import register
from inverseflow.distributions import StandardLogistic, StandardNormal
from inverseflow.flows.vector.coupling import MaskName, alternating
from inverseflow.flows.vector.flow import VectorFlow, VectorKwargs, VectorOptions
from inverseflow.utils.arguments import one_of, whole_shape

BaseName = Literal["logistic", "normal"]


@register("nice")
class NICE(VectorFlow):
    r"""Flow of additive couplings, which shift every other column given the others, and one last scale of each.

    .. math:: z = e^s \odot (h_K(\dots h_1(x)) + b), \qquad \log|\det| = \sum_d s_d

    No coupling changes a volume, so that the log-determinant does not depend on x, and without the last layer, an
    `ActNorm`, no variance could be fitted. Every column can depend on every other from three steps on.

    Args:
        event_shape: the shape ``(D,)`` of a vector of at least 2 columns.
        base: ``"logistic"`` or ``"normal"``, the density of every latent.
        mask: ``"alternating"`` or ``"halves"``; see `NSF`.
        scale: whether there is the last scale. Without it and ``standardize`` every flow preserves volume, so that the
            densities of several can be told by the norm of the latent.
        options: as for `NSF`, but with 4 ``steps``, no ``linear`` map unless there is one given, and ``zero_start``
            False.

    Raises:
        ValueError: if the event is no vector of at least 2 columns, or an argument is out of its range.

    Reference:
        Dinh et al., `NICE <https://arxiv.org/abs/1410.8516>`_, 2015, sections 3.2 to 3.4.

    Example:
        >>> flow, x = NICE((3,), width=16), torch.randn(100, 3)
        >>> flow.initialize(x)
        >>> flow.log_prob(x).shape, flow.sample(5).shape
        (torch.Size([100]), torch.Size([5, 3]))
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        base: BaseName = "logistic",
        mask: MaskName = "alternating",
        scale: bool = True,
        **options: Unpack[VectorKwargs],
    ) -> None:
        build_coupling = alternating(Additive(), mask)

        def build(channels: int, index: int, options: VectorOptions) -> Bijection:
            coupling = build_coupling(channels, index, options)
            return coupling if index < options.steps - 1 or not scale else Compose(coupling, ActNorm(channels))

        one_of("base", base, get_args(BaseName))
        dims = whole_shape("event_shape", event_shape)[0]
        latent = StandardLogistic(dims) if base == "logistic" else StandardNormal(dims)
        given: VectorKwargs = {"steps": 4, "zero_start": False, **options}
        super().__init__(event_shape, build, mixing=False, base=latent, **given)
