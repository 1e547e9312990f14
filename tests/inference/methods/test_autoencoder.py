import pytest
import torch

from inverseflow.inference import build_method
from inverseflow.ops import mmd


@pytest.mark.parametrize("name", ["autoencoder", "invauto"])
def test_the_loss_is_the_sum_of_its_weighted_terms(name):
    model = build_method(name, 3, 2, width=8, depth=1, latent_weight=2.0, reconstruction_weight=3.0)
    x, y = torch.randn(20, 3), torch.randn(20, 2)
    torch.manual_seed(1)
    loss = model.loss(x, y)
    torch.manual_seed(1)
    code = model.net.encode(x)
    fit = (code[:, :2] - y).square().sum(1).mean()
    latent = mmd(torch.cat([y, code[:, 2:]], 1), torch.cat([y, torch.randn(20, 1)], 1), widths=(0.04, 0.8, 4.0))
    reconstruction = (x - model.net.decode(code)).square().sum(1).mean()
    torch.testing.assert_close(loss.total, fit + 2 * latent + 3 * reconstruction)
    assert list(loss.terms) == ["fit", "latent", "reconstruction"]


def test_samples_decode_the_observation_and_a_normal_latent():
    model = build_method("autoencoder", 3, 2, width=8, depth=1)
    model.net.decode = lambda code: code
    y = torch.tensor([0.5, -1.0])
    samples = model.sample(5000, y)
    assert torch.equal(samples[:, :2], y.expand(5000, 2))
    assert samples[:, 2].mean().abs() < 0.05 and (samples[:, 2].std() - 1).abs() < 0.05


def test_the_latent_has_the_dimensions_that_the_observation_leaves_open():
    assert build_method("autoencoder", 4, 1).latent == 3
    assert build_method("autoencoder", 4, 6).latent == 4
    assert build_method("autoencoder", 4, 6, latent=2).latent == 2
