import pytest
import torch

from experiments.classifier.model import (
    FUNCTIONS,
    Activation,
    ClassifierArchitecture,
    SmallClassifier,
    accuracy,
    distance_from_affine,
    fit,
)
from inverseflow.data import TensorImages, load_images
from inverseflow.errors import NonFiniteError
from inverseflow.ops import causal_conv2d, inv_conv2d

SHAPE = (1, 5, 6)
CORNERS = ("bottom_left", "top_right")


def classifier(architecture):
    torch.manual_seed(0)
    network = SmallClassifier(architecture, SHAPE, 3)
    with torch.no_grad():
        network.taps.normal_(0, 0.3)
    return network


@pytest.mark.parametrize(("layer", "convolve"), [("inverse", inv_conv2d), ("convolution", causal_conv2d)])
def test_it_is_two_layers_with_activations_and_a_fully_connected_one(layer, convolve):
    network = classifier(ClassifierArchitecture(layer, ("tanh", 2.0), ("abs", 1.0), CORNERS))
    x = torch.randn(4, *SHAPE)
    first, second = (torch.cat([taps, torch.ones(1)]).view(1, 1, 3, 3) for taps in network.taps.detach())
    hidden = torch.tanh(2 * convolve(x, first, corner=CORNERS[0], unitriangular=True))
    hidden = convolve(hidden, second, corner=CORNERS[1], unitriangular=True).abs()
    torch.testing.assert_close(network(x), network.fully_connected(hidden.flatten(1)))


def test_without_layers_the_activations_stay():
    network = classifier(ClassifierArchitecture("none", ("tanh", 2.0), ("abs", 1.0)))
    x = torch.randn(4, *SHAPE)
    torch.testing.assert_close(network(x), network.fully_connected(torch.tanh(2 * x).abs().flatten(1)))
    assert network.taps.numel() == 0


@pytest.mark.parametrize("layer", ["inverse", "convolution"])
def test_every_parameter_receives_a_gradient(layer):
    network = classifier(ClassifierArchitecture(layer, ("tanh", 2.0), ("SiLU", 1.0), CORNERS))
    network(torch.randn(4, *SHAPE)).square().sum().backward()
    assert all(bool((parameter.grad != 0).all()) for parameter in network.parameters())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_only_a_network_without_non_linearity_is_affine(name):
    images = TensorImages(torch.randint(256, (9, *SHAPE), dtype=torch.uint8), torch.zeros(9, dtype=torch.long))
    distance = distance_from_affine(
        classifier(ClassifierArchitecture("inverse", (name, 2.0), corners=CORNERS)), images, 256
    )
    assert (distance < 1e-12) == (name == "none")


def test_the_same_seed_gives_the_same_classifier_and_another_seed_another():
    digits = load_images("digits")
    fitted = [fit(ClassifierArchitecture("inverse"), digits.validation, 17, epochs=2, seed=seed) for seed in (0, 0, 1)]
    kernels = [torch.stack(network.kernels()) for network in fitted]
    assert torch.equal(kernels[0], kernels[1]) and not torch.equal(kernels[0], kernels[2])


def test_accuracy_is_the_fraction_of_right_images():
    network = classifier(ClassifierArchitecture("none"))
    with torch.no_grad():
        network.fully_connected.weight.zero_()
        network.fully_connected.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
    images = TensorImages(torch.zeros(4, *SHAPE, dtype=torch.uint8), torch.tensor([1, 1, 2, 1]))
    assert accuracy(network, images, 256) == 0.75


def test_fitting_does_not_touch_the_global_generator():
    digits = load_images("digits")
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    fit(ClassifierArchitecture("inverse"), digits.validation, 17, epochs=1, seed=5)
    assert torch.equal(torch.rand(1), expected)


def test_a_loss_that_is_not_finite_stops_and_names_the_epoch(monkeypatch):
    digits = load_images("digits")
    monkeypatch.setitem(FUNCTIONS, "square", lambda x: x / 0)
    with pytest.raises(NonFiniteError, match="in epoch 0"):
        fit(ClassifierArchitecture("inverse", ("square", 1.0)), digits.validation, 17, epochs=1, seed=0)


def test_an_activation_is_shown_with_its_scale():
    assert repr(Activation("tanh", 2)) == "Activation(tanh, scale=2)"
