"""Gradients of a network by its inputs, written out (Williams; Linden and Kindermann)."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from inverseflow.errors import OptionError
from inverseflow.inference.inversion.misfit import Gradient

# The derivative of each activation as a function of its value.
_SLOPES: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.Tanh: lambda a: 1 - a.square(),
    nn.Sigmoid: lambda a: a * (1 - a),
    nn.ReLU: lambda a: (a > 0).to(a),
    nn.Identity: torch.ones_like,
}


def input_deltas(network: object) -> Gradient:
    r"""Return a function that computes the misfit of a sequential network and its gradient by the inputs.

    .. math::
        \delta^L = 2 (a^L - t) \odot \varphi'(a^L), \quad
        \delta^l = (W^{l+1})^\top \delta^{l+1} \odot \varphi'(a^l), \quad
        \frac{\partial L}{\partial x} = (W^1)^\top \delta^1

    The recursion that trains a network by backpropagation, carried one layer further, to the input: Williams 1986, and
    `Linden and Kindermann 1989 <https://doi.org/10.1109/IJCNN.1989.118277>`_.

    Args:
        network: a `torch.nn.Sequential` of `Linear`, `Tanh`, `Sigmoid`, `ReLU` and `Identity`.

    Raises:
        OptionError: if the network has anything else in it.

    Example:
        >>> gradient = input_deltas(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)))
        >>> error, slope = gradient(torch.zeros(4, 2), torch.ones(1), torch.tensor([True]))
        >>> error.shape, slope.shape
        (torch.Size([4]), torch.Size([4, 2]))
    """
    layers = list(_layers(network))

    @torch.no_grad()
    def gradient(x: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        values = [x]
        for layer in layers:
            values.append(layer(values[-1]))
        difference = (values[-1] - target).where(mask, 0.0)
        delta = 2 * difference
        for layer, value in zip(reversed(layers), reversed(values), strict=False):
            delta = delta @ layer.weight if isinstance(layer, nn.Linear) else delta * _SLOPES[type(layer)](value)
        return difference.square().sum(1), delta

    return gradient


def _layers(network: object) -> Iterator[nn.Module]:
    if isinstance(network, nn.Sequential):
        for layer in network:
            yield from _layers(layer)
    elif isinstance(network, nn.Linear) or type(network) in _SLOPES:
        assert isinstance(network, nn.Module)
        yield network
    else:
        raise OptionError(
            "wlk inverts a torch.nn.Sequential of Linear, Tanh, Sigmoid, ReLU and Identity, and this network has a "
            f"{type(network).__name__}; the method gradient takes any network"
        )
