"""Names of the k×k layers of the image flows.

This module imports nothing, so that the command line can print its help without PyTorch. The table of layers in
`inverseflow.flows.image.layers` has an entry for each name.
"""

from typing import Literal

LayerName = Literal[
    "none",
    "inverse",
    "cinc",
    "finc",
    "emerging",
    "arma",
    "arma-adjacent",
    "arma-same",
    "periodic",
    "exponential",
    "exact",
    "self-normalizing",
    "woodbury",
    "memory-efficient-woodbury",
    "butterfly",
    "macow",
    "mintnet",
]
