"""The learned Rosenblatt map of vectors."""

from collections.abc import Sequence

from typing_extensions import Unpack

from inverseflow.bijections import MixtureCDF
from inverseflow.densities import register
from inverseflow.flows.vector.autoregressive import alternating
from inverseflow.flows.vector.flow import VectorFlow, VectorKwargs


@register("rosenblatt")
class RosenblattFlow(VectorFlow):
    """Learned Rosenblatt map: each column is mapped by the distribution function of a mixture given those before it.

    With one step it is close to a product of conditional Gaussian mixtures, whose parameters a network predicts; see
    `MixtureCDF`. `RosenblattFlow` learns what `Rosenblatt` is for a known mixture.

    Args:
        event_shape: the shape ``(D,)`` of a vector.
        components: components of each mixture.
        options: as for `MAF`, but ``steps`` is 1.

    Raises:
        ValueError: if the event is no vector, or an argument is out of its range.

    Reference:
        Rosenblatt, Remarks on a multivariate transformation, 1952, https://doi.org/10.1214/aoms/1177729394.

    Example:
        >>> flow = RosenblattFlow((3,), components=4, context_channels=1)
        >>> x, context = torch.randn(100, 3), torch.rand(100, 1)
        >>> flow.initialize(x, context)
        >>> flow.log_prob(x, context).shape, flow.sample(5, context[0]).shape
        (torch.Size([100]), torch.Size([5, 3]))
    """

    def __init__(self, event_shape: Sequence[int], *, components: int = 8, **options: Unpack[VectorKwargs]) -> None:
        given: VectorKwargs = {"steps": 1, **options}
        super().__init__(event_shape, alternating(MixtureCDF(components, "gaussian")), mixing=False, **given)
