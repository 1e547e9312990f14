import math

import pytest
import torch

from inverseflow import fit
from inverseflow.densities import Autoencoder
from inverseflow.errors import OptionError
from inverseflow.training import ReconstructionLoss


def test_a_linear_autoencoder_finds_the_principal_subspace():
    data = torch.randn(400, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64)
    data -= data.mean(0)
    model = Autoencoder((6,), 2, depth=0).double()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = model(data).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    values, vectors = torch.linalg.eigh(data.T @ data / len(data))
    assert model.reconstruction_error(data).mean().item() == pytest.approx(values[:-2].sum().item(), rel=1e-4)
    span, _ = torch.linalg.qr(model.decoder[-1].weight)
    cosines = torch.linalg.svdvals(span.T @ vectors[:, -2:])
    assert torch.acos(cosines.clamp(max=1)).max() < 1e-2


def test_the_cross_entropy_is_that_of_the_decoded_values():
    model, x = Autoencoder((1, 2, 3), 2, error="cross_entropy", width=8).double(), torch.rand(5, 1, 2, 3).double()
    rebuilt = model.decode(model.encode(x))
    expected = -(x * rebuilt.log() + (1 - x) * (1 - rebuilt).log()).sum((1, 2, 3))
    torch.testing.assert_close(model.reconstruction_error(x), expected)
    torch.autograd.gradcheck(model.reconstruction_error, x.clamp(0.1, 0.9).requires_grad_())


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_the_cross_entropy_refuses_data_outside_of_the_unit_interval(value):
    x = torch.rand(4, 3)
    x[1, 2] = value
    with pytest.raises(OptionError, match=r"takes data in \[0, 1\], got values from .*; scale them, or"):
        Autoencoder((3,), 1, error="cross_entropy").reconstruction_error(x)


def test_noise_is_for_the_encoder_alone():
    model, x = Autoencoder((3,), 2, noise=0.5, width=8), torch.randn(4000, 3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    torch.testing.assert_close(model(x), x.square().sum(1))  # the target has no noise
    with torch.no_grad():
        model.decoder[-1].bias.fill_(0.0)
    model.encode = lambda seen, context: seen[:, :2]
    model._decode = lambda h, context: torch.nn.functional.pad(h, (0, 1))
    kept = model(x) - x[:, 2].square()
    assert kept.mean().item() == pytest.approx(2 * 0.25, rel=0.1)


def test_fit_trains_an_autoencoder_and_a_tied_one_has_half_of_its_parameters():
    angle = 2 * math.pi * torch.rand(1000)
    x = torch.stack([angle.cos(), angle.sin(), 0.5 * angle.cos(), 0.5 * angle.sin()], 1)
    free, tied = Autoencoder((4,), 2, width=16), Autoencoder((4,), 2, width=16, tied=True)
    for model in (free, tied):
        before = model.reconstruction_error(x).mean()
        result = fit(model, x, objective=ReconstructionLoss(), max_steps=60, learning_rate=1e-2, progress=False)
        assert model.reconstruction_error(x).mean() < 0.4 * before
        assert "val_reconstruction_error" in result.history[-1]
    counts = [sum(parameter.numel() for parameter in model.parameters()) for model in (free, tied)]
    assert counts[0] == 2 * counts[1] + 4 - 2  # biases: a free decoder has those of the data, a tied one of the code


def test_contexts_reach_encoder_and_decoder():
    model, x, context = Autoencoder((3,), 2, width=8, context_channels=2), torch.randn(5, 3), torch.randn(5, 2)
    h = model.encode(x, context)
    assert not torch.allclose(h, model.encode(x, context.flip(0)))
    assert not torch.allclose(model.decode(h, context), model.decode(h, context.flip(0)))
    with pytest.raises(ValueError, match="Autoencoder is conditional: pass a context"):
        model.decode(h)


def test_densities_and_impossible_options_are_refused():
    model = Autoencoder((3,), 1)
    with pytest.raises(OptionError, match="neither a density nor samples, .*take a VAE"):
        model.log_prob(torch.randn(2, 3))
    with pytest.raises(OptionError, match="neither a density nor samples"):
        model.sample(2)
    with pytest.raises(ValueError, match="a tied autoencoder takes no context"):
        Autoencoder((3,), 1, tied=True, context_channels=2)
    with pytest.raises(ValueError, match="latent must be at least 1, got 0"):
        Autoencoder((3,), 0)
    with pytest.raises(ValueError, match="noise must be finite and at least 0, got -1"):
        Autoencoder((3,), 1, noise=-1)


def digits():
    """Real digits of 8×8 pixels in [0, 1], in a random order."""
    images = torch.from_numpy(pytest.importorskip("sklearn.datasets").load_digits().data).float() / 16
    return images[torch.randperm(len(images))].split([1400, 397])


@pytest.mark.slow
def test_a_code_of_digits_beats_as_many_principal_components():
    train, test = digits()
    centered = test - train.mean(0)
    axes = torch.linalg.svd(train - train.mean(0)).Vh[:16]
    model = Autoencoder((64,), 16, width=256, depth=1, noise=0.1)
    fit(model, train, objective=ReconstructionLoss(), max_steps=2000, batch_size=128, progress=False)
    of_components = (centered - centered @ axes.T @ axes).square().sum(1).mean()
    assert model.reconstruction_error(test).mean() < of_components


@pytest.mark.slow
def test_a_denoising_autoencoder_removes_noise_from_digits():
    train, test = digits()
    model = Autoencoder((64,), 32, width=256, depth=1, noise=0.3)
    fit(model, train, objective=ReconstructionLoss(), max_steps=1000, batch_size=128, progress=False)
    noisy = test + 0.3 * torch.randn_like(test)
    with torch.no_grad():
        left = (model.decode(model.encode(noisy)) - test).square().mean()
    assert 10 * math.log10((noisy - test).square().mean() / left) > 3
