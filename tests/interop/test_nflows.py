import pytest
import torch

nflows = pytest.importorskip("nflows", reason="nflows is not installed: make test-interop")

from nflows import transforms  # noqa: E402
from nflows.distributions import StandardNormal  # noqa: E402
from nflows.flows import Flow as TheirFlow  # noqa: E402

from inverseflow.bijections import Compose  # noqa: E402
from inverseflow.flows import Flow  # noqa: E402
from inverseflow.interop import nflows as interop  # noqa: E402
from tests.interop.checks import check_bijection, our_bijection  # noqa: E402


def autoregressive(context_channels=None):
    return transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
        3, 8, context_channels, tails="linear", tail_bound=3.0, num_bins=4, num_blocks=1
    ).double()


@pytest.mark.parametrize("context_channels", [None, 2])
def test_their_transform_is_a_bijection_of_the_same_density(context_channels):
    transform = transforms.CompositeTransform([autoregressive(context_channels), transforms.ReversePermutation(3)])
    bijection = interop.as_bijection(transform, context_channels=context_channels)
    x = torch.randn(4, 3).double()
    context = None if context_channels is None else torch.randn(4, 2).double()
    check_bijection(bijection, x, context)
    theirs = TheirFlow(transform, StandardNormal([3]).double())
    torch.testing.assert_close(Flow(bijection, (3,)).double().log_prob(x, context), theirs.log_prob(x, context))


@pytest.mark.parametrize("context_channels", [None, 2])
def test_our_bijection_makes_the_same_density_in_their_flow(context_channels):
    bijection = our_bijection(3, context_channels)
    theirs = TheirFlow(interop.from_bijection(bijection), StandardNormal([3]).double())
    x = torch.randn(4, 3).double()
    context = None if context_channels is None else torch.randn(4, 2).double()
    torch.testing.assert_close(theirs.log_prob(x, context), Flow(bijection, (3,)).double().log_prob(x, context))
    theirs, context = theirs.float(), None if context is None else context.float()  # their normal has no double samples
    drawn, log_prob = theirs.sample_and_log_prob(5, context)
    assert drawn.shape == ((5, 3) if context is None else (4, 5, 3))
    flat = None if context is None else context.repeat_interleave(5, 0)
    torch.testing.assert_close(theirs.log_prob(drawn.reshape(-1, 3), flat), log_prob.flatten())


def test_ours_stands_between_theirs():
    composite = transforms.CompositeTransform([autoregressive(), interop.from_bijection(our_bijection())])
    check_bijection(interop.as_bijection(composite), torch.randn(4, 3).double())


def test_their_layers_of_images_keep_their_shapes():
    bijection = interop.as_bijection(transforms.SqueezeTransform())
    assert bijection.output_shape((2, 4, 4)) == (8, 2, 2)
    assert bijection.input_shape((8, 2, 2)) == (2, 4, 4)
    check_bijection(bijection, torch.randn(2, 2, 4, 4).double())


def test_building_a_flow_leaves_their_data_dependent_initialization_to_the_first_batch():
    norm = transforms.ActNorm(3)
    flow = Flow(Compose(interop.as_bijection(norm)), (3,))
    assert not norm.initialized
    x = 5 + 2 * torch.randn(100, 3)
    z = flow.encode(x)
    torch.testing.assert_close((z.mean(0), z.std(0)), (torch.zeros(3), torch.ones(3)), atol=1e-3, rtol=0)


def test_a_transform_of_other_events_is_refused_when_the_flow_is_built():
    with pytest.raises(ValueError, match=r"can't take an event of shape \(2,\) and no context .*; give the shape"):
        Flow(interop.as_bijection(autoregressive()), (2,))
    with pytest.raises(ValueError, match="and context_channels if it needs a context|and 5 context channels"):
        Flow(interop.as_bijection(autoregressive(2), context_channels=5), (3,))


def test_a_missing_context_is_refused():
    flow = Flow(interop.as_bijection(autoregressive(2), context_channels=2), (3,))
    with pytest.raises(ValueError, match=r"is conditional: pass a context of shape \(4, 2\)"):
        flow.log_prob(torch.zeros(4, 3).double())


def test_an_unconditional_transform_ignores_a_context():
    bijection = interop.as_bijection(autoregressive())
    x = torch.randn(4, 3).double()
    torch.testing.assert_close(bijection(x, torch.randn(4, 2).double()), bijection(x))


def test_what_is_no_transform_is_refused():
    with pytest.raises(TypeError, match="the transform must be an object of the class Transform of nflows"):
        interop.as_bijection(torch.nn.Linear(2, 2))
    with pytest.raises(TypeError, match="the bijection must be an object of the class Bijection of inverseflow"):
        interop.from_bijection(torch.nn.Linear(2, 2))
