import pytest
import torch

from inverseflow.inference import build_method
from inverseflow.training import Loss


def test_the_loss_of_the_conditional_one_is_the_negative_bound_and_shows_the_divergence():
    model = build_method("cvae", 3, 2, width=8, depth=1)
    x, y = torch.randn(20, 3), torch.randn(20, 2)
    torch.manual_seed(1)
    loss = model.loss(x, y)
    torch.manual_seed(1)
    assert isinstance(loss, Loss)
    torch.testing.assert_close(loss.total, -model.vae.elbo(x, y).mean())
    torch.testing.assert_close(loss.terms["divergence"], model.vae.kl(x, y).sum(1).mean())
    assert model.likelihood == "bound" and model.bound(x, y, samples=3).shape == (20,)


@pytest.fixture
def joint():
    """A joint model of linear networks, and mean and covariance of x and y under it."""
    model = build_method("vae", 3, 1, latent=2, depth=0, draws=200_000).double()
    weight, bias = torch.randn(4, 2).double(), torch.randn(4).double()
    with torch.no_grad():
        model.vae.decoder[-1].weight.copy_(weight)
        model.vae.decoder[-1].bias.copy_(bias)
        model.vae.log_variance.fill_(-1.0)
    return model, bias, weight @ weight.T + torch.diag(model.vae.deviation.detach() ** 2)


def test_samples_of_the_joint_model_given_y_are_those_of_the_conditional_normal(joint):
    model, mean, covariance = joint
    for y in (-1.0, 2.0):
        gain = covariance[:3, 3:] / covariance[3, 3]
        expected = mean[:3] + gain[:, 0] * (y - mean[3])
        spread = covariance[:3, :3] - gain @ covariance[3:, :3]
        samples = model.sample(20_000, torch.tensor([y]).double(), generator=torch.Generator().manual_seed(0))
        assert (samples.mean(0) - expected).abs().max() < 0.05
        assert (samples.T.cov() - spread).abs().max() < 0.06 * spread.abs().max()


def test_samples_of_several_observations_stay_in_their_rows(joint):
    model, *_ = joint
    y = torch.tensor([[-1.0], [1.0]]).double()
    apart = model.sample_each(2000, y).mean(1)
    mixed = model.sample(4000, y.repeat(2000, 1)).reshape(2000, 2, 3).mean(0)
    assert (apart - mixed).abs().max() < 0.15 < (apart[0] - apart[1]).abs().max()


def test_the_effective_draws_are_all_where_y_tells_nothing_and_few_far_from_all(joint):
    model, *_ = joint
    near, far = model.effective_draws(torch.tensor([[0.0], [30.0]]).double())
    assert 1 <= far < 1000 < near < 200_000
    with torch.no_grad():
        model.vae.decoder[-1].weight[3] = 0
    assert model.effective_draws(torch.zeros(1, 1).double()).item() == pytest.approx(200_000)
