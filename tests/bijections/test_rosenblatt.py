import pytest
import torch
from scipy import stats

from inverseflow.bijections import Rosenblatt
from inverseflow.densities import GaussianMixture
from inverseflow.errors import ConvergenceError
from inverseflow.ops.mixture import gaussian_mixture

WEIGHTS = [0.2, 0.5, 0.3]
MEANS = torch.tensor([[-1.5, 1.0], [0.5, -0.5], [2.0, 1.5]], dtype=torch.float64)
COVARIANCES = torch.tensor(
    [[[1.0, 0.6], [0.6, 0.5]], [[0.4, -0.2], [-0.2, 0.9]], [[0.3, 0.0], [0.0, 0.2]]], dtype=torch.float64
)


def mixture():
    return GaussianMixture(torch.tensor(WEIGHTS, dtype=torch.float64), MEANS, COVARIANCES)


def test_the_density_is_that_of_scipy():
    x = 2 * torch.randn(50, 2, dtype=torch.float64)
    parts = zip(WEIGHTS, MEANS.numpy(), COVARIANCES.numpy(), strict=True)
    expected = sum(weight * stats.multivariate_normal(mean, covariance).pdf(x) for weight, mean, covariance in parts)
    torch.testing.assert_close(mixture().log_prob(x), torch.from_numpy(expected).log())


def test_the_log_determinant_and_a_normal_are_the_density():
    density, x = mixture(), 3 * torch.randn(50, 2, dtype=torch.float64)
    z, log_det = density.rosenblatt(x)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(normal + log_det, density.log_prob(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("distance", [10.0, 40.0, 1e3])
def test_the_log_determinant_of_a_wide_gap_is_that_of_the_density(distance):
    means = torch.tensor([[-distance, 0.0], [distance, 1.0]], dtype=torch.float64)
    density = GaussianMixture([1e-3, 0.999], means, COVARIANCES[:2])
    x = torch.tensor([[0.0, 0.5], [-0.9 * distance, 3.0], [0.1, -2.0]], dtype=torch.float64, requires_grad=True)
    z, log_det = density.rosenblatt(x)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(normal + log_det, density.log_prob(x), rtol=1e-8, atol=1e-7)
    assert torch.autograd.grad(log_det.sum(), x)[0].isfinite().all()


def test_no_rows_are_drawn_and_weights_that_were_rounded_add_up_to_one():
    density = GaussianMixture([0.33333, 0.33333, 0.33333], MEANS, COVARIANCES)
    assert density.sample(0).shape == (0, 2)
    x = MEANS.float()
    z, log_det = density.rosenblatt(x)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(normal + log_det, density.log_prob(x), rtol=0, atol=2e-6)


def test_the_map_is_the_integral_of_the_conditional_density():
    density, x = mixture(), torch.tensor([[-2.0, 0.5], [0.3, -1.0], [1.8, 2.0]], dtype=torch.float64)
    u = torch.special.ndtr(density.rosenblatt(x)[0])
    fine = torch.linspace(-12, 12, 24_001, dtype=torch.float64)

    def integral(values, upper):
        """Integrate by the rule of Simpson's error, to a point of the grid and over all of it."""
        cells = (fine[1] - fine[0]) * (values[1:] + values[:-1]) / 2
        return cells[: round(float(upper + 12) * 1000)].sum() / cells.sum()

    marginal = sum(
        weight * torch.distributions.Normal(mean[0], covariance[0, 0].sqrt()).log_prob(fine).exp()
        for weight, mean, covariance in zip(WEIGHTS, MEANS, COVARIANCES, strict=True)
    )
    for row in range(3):
        joint = density.log_prob(torch.stack([x[row, 0].expand_as(fine), fine], 1)).exp()
        assert u[row, 0].item() == pytest.approx(integral(marginal, x[row, 0]).item(), abs=1e-6)
        assert u[row, 1].item() == pytest.approx(integral(joint, x[row, 1]).item(), abs=1e-6)


def test_samples_become_independent_normals():
    generator = torch.Generator().manual_seed(0)
    u = torch.special.ndtr(mixture().rosenblatt(mixture().sample(5000, generator=generator))[0]).numpy()
    assert min(stats.kstest(u[:, column], "uniform").pvalue for column in (0, 1)) > 0.01
    assert abs(stats.spearmanr(u[:, 0], u[:, 1]).statistic) < 0.05


def test_single_precision_comes_back_from_far_out_or_raises():
    layer = mixture().rosenblatt.float()
    raised = 0
    for x in torch.cat([torch.randn(20, 2), 1e4 * (2 * torch.rand(40, 2) - 1)]).split(1):
        try:
            back, _ = layer.inverse(layer(x)[0])
        except ConvergenceError:
            raised += 1
        else:
            assert ((back - x).abs() <= 1e-4 * x.abs().clamp_min(1)).all()
    assert raised < 40
    apart = Rosenblatt([0.5, 0.5], [[-9.0], [9.0]], torch.full((2, 1, 1), 0.01))
    with pytest.raises(
        ConvergenceError,
        match=r"rounding in torch.float32 leaves 1 of the coord.*compute in float64",
    ):
        apart.inverse(apart(torch.ones(1, 1))[0])


def test_the_inverse_has_the_gradients_of_the_implicit_function():
    layer, z = mixture().rosenblatt, torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer.inverse, (z,))


def test_samples_of_a_colder_mixture_lie_closer_to_its_means():
    assert (torch.cdist(mixture().sample(100, temperature=0.0), MEANS).amin(1) < 1e-12).all()


def test_discrete_data_are_refused():
    with pytest.raises(TypeError, match="density of real numbers, got torch.int64; dequantize"):
        mixture().log_prob(torch.ones(3, 2, dtype=torch.int64))


def test_parameters_of_no_mixture_are_refused():
    identity = torch.eye(2).expand(2, 2, 2)
    for weights, means, covariances, message in (
        ([0.5, 0.6], torch.zeros(2, 2), identity, r"positive with sum 1, got \[0.5, 0.6.*divide"),
        ([1.5, -0.5], torch.zeros(2, 2), identity, "weights must be positive"),
        ([0.5, 0.5], torch.zeros(2, 3), identity, r"means \(K, D\).*got \(2,\), \(2, 3\), \(2, 2, 2\)"),
        ([0.5, 0.5], torch.zeros(2, 2), -identity, r"positive definite, those of the components \[0, 1\] of 2"),
        ([1.0], torch.zeros(1, 2), [[[1.0, 0.5], [0.2, 1.0]]], "must be symmetric"),
    ):
        with pytest.raises(ValueError, match=message):
            GaussianMixture(weights, means, covariances)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_whose_squares_overflow_follow_the_nearest_component(dtype):
    weights = torch.tensor([[0.3], [0.7]], dtype=dtype).log()
    means, scales = (torch.tensor([[a], [b]], dtype=dtype) for a, b in ((-1.0, 2.0), (0.5, 2.0)))
    x = torch.tensor([-1e38, -1e25, -1e19, 1e19, 1e25, 1e38], dtype=dtype)
    z, slope = gaussian_mixture(x, weights, means, scales)
    torch.testing.assert_close(z, x / 2)  # of the wider component, which is the nearest in deviations
    torch.testing.assert_close(slope, torch.full_like(x, 0.5))
