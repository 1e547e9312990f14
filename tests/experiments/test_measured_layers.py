import inspect

import pytest

from experiments.measured_layers import MEASURED_LAYERS
from inverseflow import bijections
from inverseflow.bijections import (
    Autoregressive,
    Bijection,
    CDFTransform,
    CheckpointedCompose,
    ContextAffine,
    Coupling,
    Dequantize,
    DequantizeColumns,
    PatchAutoregressive,
    Planar,
    Radial,
    ReversibleCompose,
    Rosenblatt,
    Standardize,
    VariationalDequantize,
)

EXPORTED = [
    member
    for member in map(bijections.__dict__.get, bijections.__all__)
    if inspect.isclass(member) and issubclass(member, Bijection) and not inspect.isabstract(member)
]


NOT_MEASURED = {
    "noise": [Dequantize, DequantizeColumns, VariationalDequantize],
    "measured by another name": [CheckpointedCompose, Coupling, ReversibleCompose],
    "of networks": [PatchAutoregressive],
    "context": [ContextAffine],
    "vectors and tables": [Autoregressive, CDFTransform, Planar, Radial, Rosenblatt, Standardize],
    "sequences and volumes": [layer for layer in EXPORTED if layer.__name__.endswith(("1d", "3d"))],
}


@pytest.mark.parametrize("layer", [layer for layer in EXPORTED if layer not in sum(NOT_MEASURED.values(), [])])
def test_every_exported_layer_is_listed(layer):
    assert any(type(listed.build((4, 4, 6))) is layer for listed in MEASURED_LAYERS)


@pytest.mark.parametrize("layer", MEASURED_LAYERS, ids=lambda layer: layer.name)
def test_a_layer_is_named_for_its_class_and_takes_the_images_it_was_built_for(layer):
    built = layer.build((8, 6, 4))
    assert layer.name.partition(",")[0] == type(built).__name__
    built.output_shape((8, 6, 4))


def test_no_two_layers_share_a_name():
    assert len({layer.name for layer in MEASURED_LAYERS}) == len(MEASURED_LAYERS)
