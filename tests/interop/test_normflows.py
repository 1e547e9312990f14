import pytest
import torch

normflows = pytest.importorskip("normflows", reason="normflows is not installed: make test-interop")

from normflows import flows  # noqa: E402

from inverseflow.flows import Flow  # noqa: E402
from inverseflow.interop import normflows as interop  # noqa: E402
from tests.contracts.registry import perturb  # noqa: E402
from tests.interop.checks import check_bijection, our_bijection  # noqa: E402


def layers(context_channels=None):
    if context_channels is not None:
        return [
            flows.MaskedAffineAutoregressive(3, 8, context_channels, num_blocks=1),
            flows.AutoregressiveRationalQuadraticSpline(3, 1, 8, context_channels, num_bins=4),
        ]
    return [
        flows.AutoregressiveRationalQuadraticSpline(3, 1, 8, num_bins=4),
        flows.LULinearPermute(3),
        flows.AffineConstFlow(3),
    ]


def their_normal():
    return normflows.distributions.DiagGaussian(3, trainable=False)


@pytest.mark.filterwarnings("ignore:torch.triangular_solve is deprecated")
@pytest.mark.parametrize("context_channels", [None, 2])
def test_their_model_is_a_bijection_from_data_to_latent_of_the_same_density(context_channels):
    kind = normflows.NormalizingFlow if context_channels is None else normflows.ConditionalNormalizingFlow
    theirs = perturb(kind(their_normal(), layers(context_channels)).double())
    bijection = interop.as_bijection(theirs, context_channels=context_channels)
    x = torch.randn(4, 3).double()
    context = None if context_channels is None else torch.randn(4, 2).double()
    check_bijection(bijection, x, context)
    if context is None:
        torch.testing.assert_close(Flow(bijection, (3,)).log_prob(x), theirs.log_prob(x))
    else:  # their normal takes no context, and their sum is in single precision
        z, log_det = theirs.inverse_and_log_det(x, context)
        torch.testing.assert_close(
            bijection(x, context), (z, log_det.double()), atol=1e-6, rtol=1e-6
        )  # theirs is single


@pytest.mark.parametrize("context_channels", [None, 2])
def test_our_bijection_makes_the_same_density_in_their_model(context_channels):
    bijection = our_bijection(3, context_channels)
    x = torch.randn(4, 3).double()
    context = None if context_channels is None else torch.randn(4, 2).double()
    layer = interop.from_bijection(bijection)
    torch.testing.assert_close(layer.inverse(x, context), bijection(x, context))
    torch.testing.assert_close(layer(x, context), bijection.inverse(x, context))
    if context is None:
        theirs = normflows.NormalizingFlow(their_normal(), [layer]).double()
        torch.testing.assert_close(theirs.log_prob(x), Flow(bijection, (3,)).double().log_prob(x))
        drawn, log_prob = theirs.float().sample(5)
        torch.testing.assert_close(theirs.log_prob(drawn), log_prob)


def test_our_conditional_bijection_trains_in_their_model():
    bijection = our_bijection(3, 2).float()

    class Normal(normflows.distributions.DiagGaussian):
        def log_prob(self, z, context=None):
            return super().log_prob(z)

    theirs = normflows.ConditionalNormalizingFlow(Normal(3), [interop.from_bijection(bijection)])
    x, context = torch.randn(4, 3), torch.randn(4, 2)
    torch.testing.assert_close(-theirs.forward_kld(x, context), Flow(bijection, (3,)).log_prob(x, context).mean())
    theirs.forward_kld(x, context).backward()
    assert all(parameter.grad is not None for parameter in bijection.parameters())


def test_building_a_flow_leaves_their_data_dependent_initialization_to_the_first_batch():
    norm = flows.ActNorm(3)
    flow = Flow(interop.as_bijection(norm), (3,))
    assert not norm.data_dep_init_done
    z = flow.encode(5 + 2 * torch.randn(100, 3))
    torch.testing.assert_close((z.mean(0), z.std(0)), (torch.zeros(3), torch.ones(3)), atol=1e-3, rtol=0)


def test_a_layer_with_a_parameter_in_another_precision_is_taken():
    layer = flows.Residual(normflows.nets.LipschitzMLP([3, 8, 3]), reduce_memory=False)
    assert layer.iresblock.geom_p.dtype == torch.float64
    x = torch.randn(4, 3)
    z, _ = (bijection := interop.as_bijection(layer).eval())(x)
    torch.testing.assert_close(bijection.inverse(z)[0], x, atol=1e-4, rtol=0)


def test_a_layer_without_an_inverse_is_refused_when_the_flow_is_built():
    with pytest.raises(ValueError, match=r"Planar can't take an event of shape \(3,\) .*no algebraic inverse"):
        Flow(interop.as_bijection(flows.Planar((3,))), (3,))


def test_a_layer_of_other_events_or_contexts_is_refused_when_the_flow_is_built():
    with pytest.raises(ValueError, match=r"can't take an event of shape \(2,\)"):
        Flow(interop.as_bijection(layers()[0]), (2,))
    with pytest.raises(ValueError, match="and 5 context channels"):
        Flow(interop.as_bijection(layers(2)[0], context_channels=5), (3,))
    flow = Flow(interop.as_bijection(layers(2)[0], context_channels=2), (3,))
    with pytest.raises(ValueError, match=r"is conditional: pass a context of shape \(4, 2\)"):
        flow.log_prob(torch.zeros(4, 3))


def test_what_is_no_flow_is_refused():
    with pytest.raises(TypeError, match="the transform must be an object of the class Flow of normflows"):
        interop.as_bijection(torch.nn.Linear(2, 2))
    with pytest.raises(TypeError, match="the bijection must be an object of the class Bijection of inverseflow"):
        interop.from_bijection(torch.nn.Linear(2, 2))
