import pytest
import torch
from torch.nn import functional as F

from applications.restoration.__main__ import main
from applications.restoration.invdn import InvDN, InvDNLoss
from applications.restoration.models import load_invdn
from inverseflow.data import Batch
from inverseflow.errors import OptionError


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def randomized(model):
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize("scales, size", [(1, (6, 4)), (2, (12, 20))])
def test_the_parts_give_the_picture_back_whatever_was_learned(scales, size, generator):
    model = randomized(InvDN(scales=scales, blocks=2, width=4)).double()
    noisy = torch.rand(2, 1, *size, generator=generator, dtype=torch.float64)
    sigma = torch.full((2, 1), 0.1, dtype=torch.float64)
    small, z = model.part(noisy, sigma)
    assert small.numel() + z.numel() == noisy.numel()
    assert (model.join(small, z, sigma) - noisy).abs().max() < 1e-10
    assert (small - InvDN(scales=scales).double().part(noisy, sigma)[0]).abs().max() > 1e-3


def test_without_training_the_small_picture_holds_the_means_of_blocks(generator):
    noisy = torch.rand(1, 1, 12, 20, generator=generator)
    small, _ = InvDN(blocks=1).part(noisy, torch.zeros(1, 1))
    torch.testing.assert_close(small, F.avg_pool2d(noisy, 4))


def test_what_is_not_in_the_small_picture_is_drawn_anew(generator):
    model = InvDN(blocks=1, width=4)
    noisy = torch.rand(1, 1, 16, 16, generator=generator)
    other = noisy.unfold(2, 4, 4).unfold(3, 4, 4).flip(-1, -2)  # every block turned: the same means
    other = other.permute(0, 1, 2, 4, 3, 5).reshape(1, 1, 16, 16)
    assert not torch.equal(noisy, other)
    torch.testing.assert_close(model(noisy), model(other))


def test_the_mean_of_draws_has_the_variance_of_one_divided_by_their_number():
    model, flat = InvDN(blocks=1, width=4), torch.full((1, 1, 128, 128), 0.5)
    one, many = (float(model(flat, draws=draws).detach().var()) for draws in (1, 16))
    assert many == pytest.approx(one / 16, rel=0.1)


def test_odd_sizes_keep_their_size():
    assert InvDN(blocks=1, width=4)(torch.rand(2, 1, 1, 7)).shape == (2, 1, 1, 7)


def test_learning_lowers_the_loss():
    torch.manual_seed(0)
    model = InvDN(16, scales=1, blocks=1, width=8)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    ramps = torch.linspace(0, 1, 16).expand(8, 1, 16, 16)
    losses = []
    for _ in range(40):
        loss = InvDNLoss()(model, Batch(ramps)).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


@pytest.mark.slow
def test_the_command_trains_it(tmp_path, capsys):
    path = tmp_path / "invdn.safetensors"
    assert main(["train", "invdn", "-o", str(path), "--steps", "1"]) == 0
    assert "of its objective in validation" in capsys.readouterr().out
    assert path.stat().st_size < 2**19
    assert load_invdn(path).part(torch.rand(1, 1, 8, 8), torch.zeros(1, 1))[0].shape == (1, 1, 2, 2)


def test_a_bad_number_of_scales_is_refused():
    with pytest.raises(ValueError, match="scales must be at least 1"):
        InvDN(scales=0)
    with pytest.raises(OptionError, match="has no density"):
        InvDN().log_prob(torch.zeros(1, 1, 40, 40))
