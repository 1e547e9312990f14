import pytest
import torch
from torch import nn

from inverseflow.nets import MLP


def test_it_starts_at_zero():
    assert torch.equal(MLP(3, 5, width=4)(torch.randn(2, 3)), torch.zeros(2, 5))
    assert (MLP(3, 5, width=4, zero_start=False)(torch.randn(2, 3)) != 0).any(0).all()


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_it_has_as_many_hidden_layers_as_asked(depth):
    net = MLP(3, 5, width=4, depth=depth)
    sizes = [(layer.in_features, layer.out_features) for layer in net if isinstance(layer, nn.Linear)]
    assert sizes == list(zip([3, *[4] * depth], [*[4] * depth, 5], strict=True))
    assert sum(isinstance(layer, nn.ReLU) for layer in net) == depth


@pytest.mark.parametrize("width", [0, -1])
def test_a_network_without_hidden_units_is_refused(width):
    with pytest.raises(ValueError, match=f"width.* at least 1, got {width}"):
        MLP(3, 5, width=width)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (2, 3, 8, 8),
            r"takes vectors \(B, 3\), got shape \(2, 3, 8, 8\); take a ConvNet for events with spatial axes",
        ),
        ((2, 4), r"takes vectors \(B, 3\), got shape \(2, 4\); build it for this length"),
    ],
)
def test_what_is_no_batch_of_its_vectors_is_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        MLP(3, 5, width=4)(torch.randn(shape))
