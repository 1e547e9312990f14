"""Linear layers as dense matrices, to compare them with the matrices of their definition."""

import math

import torch


def matrix_of(function, shape):
    """Return the dense matrix of a linear map of events, columns being the images of the unit vectors."""
    size = math.prod(shape)
    return function(torch.eye(size, dtype=torch.float64).view(size, *shape))[0].detach().view(size, size).T


def scrambled(layer, std=1.0):
    """Draw every parameter anew, far from its initial value, in double precision."""
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return layer.double()
