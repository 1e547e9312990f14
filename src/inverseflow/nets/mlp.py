"""Fully connected network, the conditioner of couplings on vectors."""

from itertools import pairwise

from torch import Tensor, nn

from inverseflow.utils.arguments import whole_number


class MLP(nn.Sequential):
    """Fully connected network with ReLU between its layers. By default its output starts at zero.

    Args:
        in_features: length of the input vector.
        out_features: length of the output vector.
        width: number of units in each hidden layer.
        depth: number of hidden layers.
        zero_start: whether the last layer starts at zero; if not, it starts as a linear layer does.

    Shape:
        x: ``(B, in_features)``; y: ``(B, out_features)``.

    Raises:
        ValueError: if x is no batch of such vectors.

    Example:
        >>> MLP(2, 4, width=16)(torch.randn(3, 2)).shape
        torch.Size([3, 4])
    """

    def __init__(
        self, in_features: int, out_features: int, width: int, depth: int = 2, *, zero_start: bool = True
    ) -> None:
        width = whole_number("width", width, at_least=1)
        depth = whole_number("depth", depth, at_least=0)
        sizes = [whole_number("in_features", in_features, at_least=1), *[width] * depth]
        out_features = whole_number("out_features", out_features, at_least=1)
        hidden: list[nn.Module] = []
        for size, following in pairwise(sizes):
            hidden += [nn.Linear(size, following), nn.ReLU()]
        last = nn.Linear(sizes[-1], out_features)
        if zero_start:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        super().__init__(*hidden, last)
        self.in_features = sizes[0]

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of a batch of vectors."""
        if x.ndim > 2 or x.shape[-1] != self.in_features:
            remedy = "take a ConvNet for events with spatial axes" if x.ndim > 2 else "build it for this length"
            raise ValueError(f"an MLP takes vectors (B, {self.in_features}), got shape {tuple(x.shape)}; {remedy}")
        for layer in self:
            x = layer(x)
        return x
