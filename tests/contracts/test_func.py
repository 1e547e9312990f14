"""Layers and flows under `torch.func`: Jacobians whose determinants are those reported, and gradients per sample."""

import pytest
import torch
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vmap

from inverseflow.bijections import InverseConv2d
from inverseflow.flows import IAF, AutoregressiveNSF, Glow, InverseFlow, IResNet
from tests.contracts.registry import perturb

FLOWS = [
    lambda: InverseFlow((1, 4, 4), levels=None, scales=2, steps=1, width=3, spline_bins=3),
    lambda: Glow((2, 2, 2), levels=None, scales=1, steps=2, width=3),
    lambda: AutoregressiveNSF((3,), steps=2, width=4, spline_bins=3),
    lambda: IAF((3,), steps=2, width=4),
    lambda: IResNet((3,), steps=1, width=4, depth=1, max_lipschitz=0.5),
]
NAMES = ["InverseFlow", "Glow", "AutoregressiveNSF", "IAF", "IResNet"]


@pytest.mark.parametrize("transform", [jacrev, jacfwd])
def test_the_log_determinant_of_a_layer_is_that_of_its_jacobian(transform):
    layer = perturb(InverseConv2d(2, corner="top_right", diagonal="free", max_row_sum=0.9).double())
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64)
    jacobian, log_det = transform(layer, has_aux=True)(x)
    torch.testing.assert_close(torch.linalg.slogdet(jacobian.reshape(24, 24)).logabsdet, log_det[0])


@pytest.mark.parametrize("build", FLOWS, ids=NAMES)
@pytest.mark.parametrize("transform", [jacrev, jacfwd])
def test_the_log_determinant_of_a_flow_is_that_of_its_jacobian(build, transform):
    flow = perturb(build().double())
    x = torch.randn(1, *flow.event_shape, dtype=torch.float64)
    z = flow.encode(x)
    jacobian = transform(flow.encode)(x).reshape(flow.dims, flow.dims)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum() + torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(flow.log_prob(x)[0], expected)


@pytest.mark.parametrize("build", FLOWS, ids=NAMES)
def test_a_tangent_of_a_flow_goes_there_and_back(build):
    flow = perturb(build().double())
    x, along = torch.randn(2, 2, *flow.event_shape, dtype=torch.float64)
    z, tangent = jvp(flow.encode, (x,), (along,))
    assert tangent.abs().min() > 0
    torch.testing.assert_close(jvp(flow.decode, (z,), (tangent,)), (x, along))


def test_gradients_of_a_flow_of_grey_levels_for_each_image_add_up():
    flow = perturb(InverseFlow((1, 4, 4), levels=17, scales=1, steps=1, width=3, spline_bins=3).double())
    images = torch.randint(17, (2, 1, 4, 4), dtype=torch.uint8)
    parameters = {name: parameter.detach() for name, parameter in flow.named_parameters()}

    def bits(parameters, image):
        torch.manual_seed(0)  # one noise for all images
        return functional_call(flow, parameters, (image[None],)).sum()

    mapped = vmap(grad(bits), (None, 0), randomness="same")(parameters, images)
    for name in parameters:
        looped = torch.stack([grad(bits)(parameters, image)[name] for image in images])
        torch.testing.assert_close(mapped[name], looped)


@pytest.mark.parametrize("build", FLOWS, ids=NAMES)
def test_a_mapped_flow_gives_the_density_and_the_data_of_each_event(build):
    flow = perturb(build().double())
    x = torch.randn(3, *flow.event_shape, dtype=torch.float64)
    z = flow.encode(x)
    torch.testing.assert_close(vmap(lambda event: flow.log_prob(event[None])[0])(x), flow.log_prob(x))
    torch.testing.assert_close(vmap(lambda latent: flow.decode(latent[None])[0])(z), x)
