import math

import numpy as np
import pytest
import scipy.stats
import torch

from inverseflow.data import load_images
from inverseflow.densities import MADE, AutoregressiveDensity, create
from inverseflow.densities.autoregressive import Choose
from inverseflow.distributions import Bernoulli, Categorical, Gaussian, GaussianMixture, LogisticMixture
from inverseflow.nets import MaskedMLP
from tests.contracts.registry import perturb
from tests.densities.autoregressive.fitting import fit

BINARY = torch.cartesian_prod(*[torch.tensor([0, 1], dtype=torch.uint8)] * 8)


@pytest.mark.parametrize(
    ("options", "head"),
    [
        ({"levels": 2}, Bernoulli()),
        ({"levels": 9}, Categorical(9)),
        ({"levels": 9, "components": 2}, LogisticMixture(9, 2)),
        ({}, Gaussian()),
        ({"components": 2}, GaussianMixture(2)),
    ],
)
def test_the_head_follows_from_the_options(options, head):
    assert MADE((3,), width=4, **options).head == head


def test_untrained_it_is_uniform():
    log_prob = MADE((2, 2), levels=4, width=8).log_prob(torch.randint(4, (5, 2, 2)))
    torch.testing.assert_close(log_prob, torch.full((5,), -4 * math.log(4)))


def test_masks_that_let_an_element_see_itself_are_noticed_by_the_sum_over_states():
    density = perturb(MADE((8,), levels=2, width=16).double())
    last = density.net.layers[-1]
    last.weight.data *= 10
    assert density.log_prob(BINARY).exp().sum().item() == pytest.approx(1, abs=1e-10)
    hidden, outputs = last._degrees
    last.mask = (outputs[:, None] + 1 >= hidden).double()  # the review's equation 6
    assert abs(density.log_prob(BINARY).exp().sum().item() - 1) > 1e-2


def test_with_a_gaussian_head_and_no_hidden_layer_it_is_any_multivariate_normal():
    generator = np.random.default_rng(1)
    root = generator.normal(size=(4, 4))
    covariance, mean = root @ root.T + 0.1 * np.eye(4), generator.normal(size=4)
    density = MADE((4,), depth=0, standardize=False).double()
    layer = density.net.layers[0]
    with torch.no_grad():  # the regression of each element on those before it
        for i in range(4):
            weights = np.linalg.solve(covariance[:i, :i], covariance[:i, i])
            layer.weight[i, :i] = torch.from_numpy(weights)
            layer.bias[i] = mean[i] - weights @ mean[:i]
            layer.bias[4 + i] = 0.5 * math.log(covariance[i, i] - weights @ covariance[:i, i])
    x = generator.normal(size=(20, 4))
    exact = scipy.stats.multivariate_normal(mean, covariance).logpdf(x)
    torch.testing.assert_close(density.log_prob(torch.from_numpy(x)), torch.from_numpy(exact), rtol=1e-8, atol=1e-8)


def test_a_mixture_is_the_mean_of_the_probabilities_of_its_networks():
    density = perturb(MADE((8,), levels=2, width=16, orders=3, connectivities=2).double()).eval()
    each = torch.stack(
        [
            density.head.log_prob(BINARY, density.parameters_of(BINARY, network=i)).sum(1)  # one after another
            for i in range(3)
        ]
    )
    assert not torch.allclose(each[0], each[1])
    torch.testing.assert_close(each.exp().sum(1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(density.log_prob(BINARY), each.exp().mean(0).log())
    assert (density.log_prob(BINARY) >= each.mean(0)).all()


def test_levels_reach_the_network_standardized_and_it_still_sums_to_one_and_is_sampled():
    x = (torch.rand(500, 8) < torch.linspace(0, 0.5, 8)).to(torch.uint8)  # the first element is constant
    density = perturb(MADE((8,), levels=2, width=16).double())
    density.initialize(x)
    seen = density._network_input(x)
    torch.testing.assert_close(seen.mean(0), torch.zeros(8, dtype=torch.float64))
    torch.testing.assert_close(seen[:, 3:].std(0, correction=0), torch.ones(5, dtype=torch.float64))
    assert density.log_prob(BINARY).exp().sum().item() == pytest.approx(1, abs=1e-10)
    choose = (Choose(density.head, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    with torch.no_grad():
        cached, naive = (
            density._draw(50, None, next(choose)),
            AutoregressiveDensity._draw(density, 50, None, next(choose)),
        )
    assert torch.equal(cached, naive)


def test_training_draws_one_network_for_a_batch_and_reaches_all_of_them():
    density = perturb(MADE((8,), levels=2, width=16, orders=4).double()).train()
    x = BINARY[:40]
    single = [density.head.log_prob(x, density.parameters_of(x, network=i)).sum(1) for i in range(4)]
    drawn = [
        next(i for i, one in enumerate(single) if torch.equal(one, log_prob))
        for log_prob in (density.log_prob(x) for _ in range(60))
    ]
    assert set(drawn) == {0, 1, 2, 3}


@pytest.mark.parametrize(("orders", "connectivities"), [(5, 1), (1, 5), (5, 3)])
def test_the_networks_of_a_mixture_differ_and_are_the_same_every_time(orders, connectivities):
    one, two = (MADE((6,), levels=2, width=8, orders=orders, connectivities=connectivities) for _ in range(2))
    masks = [torch.cat([layer.mask.flatten() for layer in one._network(i).layers]) for i in range(5)]
    again = [torch.cat([layer.mask.flatten() for layer in two._network(i).layers]) for i in range(5)]
    assert all(map(torch.equal, masks, again))
    assert len({tuple(mask.tolist()) for mask in masks}) == 5
    assert len({one._network(i).order for i in range(5)}) == orders
    assert one._network(3).layers[0].weight is one.net.layers[0].weight


def test_the_natural_order_of_an_image_takes_all_channels_of_a_pixel_before_the_next():
    assert MADE((2, 1, 3), levels=2, width=8).element_order == [0, 3, 1, 4, 2, 5]
    assert MADE((2, 1, 3), levels=2, width=8, order="reversed").element_order == [5, 2, 4, 1, 3, 0]
    assert MADE((3,), order=[2, 0, 1]).element_order == [2, 0, 1]


def test_sampling_evaluates_each_unit_once(monkeypatch):
    density = MADE((1, 28, 28), levels=2, width=64)
    monkeypatch.setattr(type(density.net), "forward", None)
    assert density.sample(3).shape == (3, 1, 28, 28)


def test_it_goes_by_its_name():
    assert isinstance(create("made", (3,), width=4), MADE)
    with pytest.raises(ValueError, match="'made' has no option steps; it has levels, width, depth, components, order"):
        create("made", (3,), steps=4)


@pytest.mark.parametrize("name", ["orders", "connectivities", "components", "context_channels", "width"])
def test_a_number_below_one_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        MADE((3,), **{name: 0})


def test_an_order_that_is_no_permutation_is_refused():
    with pytest.raises(ValueError, match=r"order must hold each of 0 … 2 once, got \[0, 1, 1\]"):
        MADE((3,), order=[0, 1, 1])


@pytest.mark.slow
def test_it_learns_a_markov_chain_to_its_entropy():
    stay, generator = 0.85, torch.Generator().manual_seed(0)
    flips = torch.rand(20_000, 6, generator=generator) > stay
    flips[:, 0] = torch.rand(20_000, generator=generator) > 0.5
    x = flips.cumsum(1).remainder(2).to(torch.uint8)
    entropy = math.log(2) + 5 * scipy.stats.bernoulli(stay).entropy()
    density = fit(MADE((6,), levels=2, width=32), x[:10_000], 600)
    assert abs(-density.log_prob(x[10_000:]).mean().item() - entropy) < 0.02


@pytest.mark.slow
def test_it_beats_independent_pixels_on_binary_digits_and_a_mixture_of_orders_beats_its_mean():
    splits = load_images("digits")
    train, test = ((images.tensor() > 7).to(torch.uint8) for images in (splits.train, splits.test))
    rate = ((train.double().sum(0) + 1) / (len(train) + 2)).clamp(1e-6, 1 - 1e-6)
    independent = -(torch.where(test.bool(), rate, 1 - rate).log().flatten(1).sum(1)).mean().item()
    density = fit(MADE((1, 8, 8), levels=2, width=128, orders=8), train, 600, learning_rate=3e-3)
    with torch.no_grad():
        mixture = -density.log_prob(test).mean().item()
        each = [
            -density.head.log_prob(test, density.parameters_of(test, network=i)).flatten(1).sum(1).mean().item()
            for i in range(8)
        ]
    assert mixture < independent - 2
    assert mixture <= np.mean(each)


def test_a_mixture_refuses_to_complete_data():
    density, x = MADE((3,), levels=2, width=4, orders=2), torch.zeros(1, 3, dtype=torch.uint8)
    with pytest.raises(NotImplementedError, match="a mixture of orders or connectivities can't complete data"):
        density.complete(x, torch.tensor([True, False, False]))


def test_with_many_levels_sampling_shows_the_network_what_the_likelihood_shows_it(monkeypatch):
    density, seen = MADE((3,), levels=2**16, components=2, width=8), []
    density.scaling = None
    unroll = MaskedMLP.unroll
    monkeypatch.setattr(MaskedMLP, "unroll", lambda *args: seen.append(unroll(*args)))
    x = density.sample(50)
    torch.testing.assert_close(seen[0], density._network_input(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("levels", [None, 4])
def test_samples_are_drawn_under_autocast(levels):
    density = perturb(MADE((3,), levels=levels, width=8)).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = density.sample(200, generator=torch.Generator().manual_seed(0))
    exact = density.sample(200, generator=torch.Generator().manual_seed(0))
    assert x.dtype == exact.dtype and (x.float() - exact.float()).abs().mean() < 0.1
