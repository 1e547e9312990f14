import numpy as np
import pytest
import torch
from scipy import special, stats

from inverseflow.bijections import CDFTransform
from inverseflow.bijections.maps.mixture import mixture_parameters
from inverseflow.errors import ConvergenceError


def drawn(kind, components=3, channels=2, **options):
    layer = CDFTransform(channels, components=components, kind=kind, **options).double()
    torch.nn.init.normal_(layer.mixture)
    return layer


@pytest.mark.parametrize(("kind", "scipy"), [("gaussian", stats.norm), ("logistic", stats.logistic)])
def test_probabilities_and_densities_are_those_of_scipy(kind, scipy):
    layer, x = drawn(kind), torch.linspace(-4, 4, 41, dtype=torch.float64)[:, None].expand(-1, 2)
    log_weights, means, scales = (tensor.detach().numpy() for tensor in mixture_parameters(layer.mixture, kind))
    arguments = (x.numpy() - means[:, None]) / scales[:, None]
    weights = special.softmax(log_weights, 0)[:, None]
    u, log_density = layer(x)
    torch.testing.assert_close(u, torch.from_numpy((weights * scipy.cdf(arguments)).sum(0)), rtol=0, atol=1e-12)
    density = (weights * scipy.pdf(arguments) / scales[:, None]).sum(0)
    torch.testing.assert_close(log_density, torch.from_numpy(density).log().sum(1), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", ["gaussian", "logistic"])
def test_the_quantile_function_inverts_the_distribution_function(kind):
    layer, u = drawn(kind, epsilon=1e-9), torch.logspace(-8, -1e-4, 40, dtype=torch.float64)[:, None].expand(-1, 2)
    torch.testing.assert_close(layer(layer.inverse(u)[0])[0], u, rtol=1e-12, atol=0)
    torch.testing.assert_close(layer(layer.inverse(1 - u)[0])[0], 1 - u, rtol=1e-12, atol=0)


def test_what_is_clamped_is_said():
    layer = CDFTransform(1, components=1)
    with pytest.warns(UserWarning, match=r"1 of 2 probabilities are clamped to \[0.0003, 1 - 0.0003\]"):
        u, _ = layer(torch.tensor([[30.0], [0.0]]))
    assert u.flatten().tolist() == pytest.approx([1 - 2**-11.5, 0.5])
    ends, _ = layer.inverse(torch.tensor([[0.0], [1.0]]))
    assert ends.isfinite().all()


@pytest.mark.parametrize(("kind", "scipy"), [("gaussian", stats.norm), ("logistic", stats.logistic)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_density_of_a_wide_gap_is_as_small_as_it_is(kind, scipy, dtype):
    layer = CDFTransform(1, components=2, kind=kind)
    with torch.no_grad():
        layer.mixture[2:4] = torch.tensor([[-300.0], [300.0]])
    log_weights, means, scales = (value.flatten() for value in layer._mixture(torch.zeros(1, 1)))
    x = torch.tensor([[0.0], [40.0]])
    log_density = layer.to(dtype)(x.to(dtype))[1]
    of_components = scipy(means.detach().double(), scales.detach().double()).logpdf(x.double())
    expected = np.logaddexp(*(of_components + log_weights.detach().double().numpy()).T)
    torch.testing.assert_close(log_density.double(), torch.from_numpy(expected), rtol=1e-5, atol=0)
    log_density.sum().backward()
    assert layer.mixture.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["gaussian", "logistic"])
def test_an_epsilon_below_the_resolution_still_keeps_quantiles_finite(kind):
    x, log_det = CDFTransform(1, kind=kind, epsilon=1e-9).inverse(torch.tensor([[0.0], [1.0]]))
    assert x.isfinite().all() and log_det.isfinite().all()
    torch.testing.assert_close(x[0], -x[1])


def test_numbers_that_are_no_probabilities_are_refused():
    with pytest.raises(ValueError, match="probabilities lie between 0 and 1, got 2 others of 3"):
        CDFTransform(1).inverse(torch.tensor([[-0.1], [0.5], [1.1]]))


def test_a_gap_too_flat_for_the_dtype_raises_and_double_precision_finds_it():
    layer = CDFTransform(1, components=2)
    with torch.no_grad():
        layer.mixture[2:4, 0] += torch.tensor([-6.0, 6.0])
        layer.mixture[4:] = 0.5
    x = torch.tensor([[0.3]])
    with pytest.raises(ConvergenceError, match=r"rounding z in torch.float32.*CDFTransform.*compute in float64"):
        layer.inverse(layer(x)[0])
    layer = layer.double()
    torch.testing.assert_close(layer.inverse(layer(x.double())[0])[0], x.double(), rtol=0, atol=1e-4)


def test_discrete_data_are_refused():
    with pytest.raises(TypeError, match="expects floating-point input, got torch.int64; .*Dequantize"):
        CDFTransform(2)(torch.ones(3, 2, dtype=torch.int64))


def test_impossible_arguments_are_refused():
    for options, message in (
        ({"components": 0}, "components must be at least 1, got 0"),
        ({"kind": "cauchy"}, "unknown kind 'cauchy'"),
        ({"epsilon": 0.5}, "epsilon must lie strictly between 0 and 0.5, got 0.5"),
    ):
        with pytest.raises(ValueError, match=message):
            CDFTransform(2, **options)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* are clamped")
def test_a_mixture_of_three_is_learned_and_its_transform_is_uniform():
    torch.manual_seed(0)
    means, scales = torch.tensor([-3.0, 0.0, 2.0]), torch.tensor([0.5, 0.3, 0.8])

    def draw(count):
        k = torch.multinomial(torch.tensor([0.3, 0.3, 0.4]), count, replacement=True)
        return (means[k] + scales[k] * torch.randn(count))[:, None]

    layer = CDFTransform(1, components=3)
    optimizer = torch.optim.Adam(layer.parameters(), 0.03)
    data = draw(20_000)
    for _ in range(400):
        optimizer.zero_grad()
        (-layer(data[torch.randint(len(data), (1000,))])[1].mean()).backward()
        optimizer.step()
    learned = mixture_parameters(layer.mixture.detach().double(), "gaussian")[1].flatten().sort().values
    torch.testing.assert_close(learned.float(), means, rtol=0, atol=0.15)
    u, _ = layer.double()(draw(5000).double())
    assert stats.kstest(u.detach().flatten().numpy(), "uniform").pvalue > 0.01
