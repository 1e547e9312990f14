import copy
import itertools
import math
import time

import pytest
import torch

from inverseflow import densities
from inverseflow.densities import WaveNet
from inverseflow.densities.autoregressive import AutoregressiveDensity
from tests.contracts.registry import perturb

TINY = {"width": 4, "depth": 3}


def prepared(event_shape=(1, 30), **options):
    torch.manual_seed(0)
    return perturb(WaveNet(event_shape, **{**TINY, **options}).double()).eval()


def drawn(density, n, context=None, *, naive=False, **options):
    """Draw with a seed: with the cache, or by the base class, which evaluates the network anew for each element."""
    generator = torch.Generator().manual_seed(1)
    if naive:
        density = copy.copy(density)
        density._draw = lambda *args: AutoregressiveDensity._draw(density, *args)  # as if it had no cache
    return density.sample(n, context, generator=generator, **options)


@pytest.mark.parametrize("options", [{}, {"kernel_size": 3, "depth": 2}, {"stacks": 2, "depth": 2}, {"components": 2}])
def test_an_element_depends_on_exactly_the_elements_of_its_receptive_field(options):
    density = prepared(**options)
    kernel_size = options.get("kernel_size", 2)
    reach = 1 + (kernel_size - 1) * options.get("stacks", 1) * sum(2**i for i in range(options.get("depth", 3)))
    assert density.receptive_field == reach
    x = 255 * torch.rand(2, 1, 30, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: density.parameters_of(x)[..., 0, :].sum((0, 1)), x)
    seen = (jacobian != 0).any(1).any(1)  # (T, T)
    t = torch.arange(30)
    lag = t[:, None] - t
    assert torch.equal(seen, (lag >= 1) & (lag <= reach))


@pytest.mark.parametrize(
    "options", [{}, {"kernel_size": 3, "stacks": 2}, {"levels": 2**16, "components": 3}, {"levels": 2}]
)
def test_samples_with_the_cache_are_those_of_recomputing_to_the_bit(options):
    density = prepared((1, 60), **options)
    assert torch.equal(drawn(density, 3), drawn(density, 3, naive=True))


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 60)])
def test_they_are_so_with_a_context_for_all_elements_or_for_each(shape):
    density = prepared((1, 60), context_channels=2)
    context = torch.randn(shape)
    samples = drawn(density, 3, context)
    assert torch.equal(samples, drawn(density, 3, context, naive=True))
    assert not torch.equal(samples, drawn(density, 3, -context))


def test_in_single_precision_the_cache_gives_the_parameters_of_the_network():
    density = prepared((1, 300), width=32, depth=6).float()
    found = []

    def choose(parameters):
        found.append(parameters)
        return density.head.sample(parameters, generator=generator)

    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        x = density._draw(2, None, choose)
        expected = density.parameters_of(x).squeeze(2)
    assert (torch.stack(found, 2) - expected).abs().max() < 1e-5 * expected.abs().max()


def test_samples_of_any_length_continue_each_other_and_have_a_likelihood():
    density = prepared((1, 20))
    longer = density.with_length(70)
    samples = drawn(longer, 2)
    assert torch.equal(samples[..., :20], drawn(density, 2))
    first = density.log_prob(samples[..., :20])
    rest = longer.log_prob(samples) - first
    assert bool((rest < 0).all())
    assert density.event_shape == (1, 20)
    assert all(mine is theirs for mine, theirs in zip(longer.parameters(), density.parameters(), strict=True))


@pytest.mark.parametrize("options", [{}, {"components": 2}, {"kernel_size": 3}])
def test_the_probabilities_of_all_sequences_sum_to_one(options):
    density = prepared((1, 5), levels=4, **options)
    every = torch.tensor([*itertools.product(range(4), repeat=5)], dtype=torch.uint8).unsqueeze(1)
    assert density.log_prob(every).exp().sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("context_channels", [None, 2])
def test_many_rows_without_gradients_are_evaluated_part_by_part(context_channels, monkeypatch):
    density = prepared(context_channels=context_channels)
    x, context = torch.randint(256, (7, 1, 30)), None if context_channels is None else torch.randn(7, 2)
    expected = density.log_prob(x, context)
    sizes = []
    density.first.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    monkeypatch.setattr("inverseflow.densities.autoregressive.wavenet._ELEMENTS", 100)
    with torch.no_grad():
        torch.testing.assert_close(density.log_prob(x, context), expected)
    assert sizes == [3, 3, 1]


def test_a_new_density_is_the_distribution_of_its_head():
    x = torch.randint(256, (3, 1, 50), dtype=torch.uint8)
    torch.testing.assert_close(WaveNet((1, 50), **TINY).bits_per_dim(x), torch.full((3,), 8.0))


def test_every_parameter_receives_a_gradient():
    density = prepared(context_channels=2)
    density.log_prob(torch.randint(256, (2, 1, 30)), torch.randn(2, 2)).sum().backward()
    assert all(bool((parameter.grad != 0).any()) for parameter in density.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_sees_16_bit_levels_on_their_scale(dtype):
    density = prepared(levels=2**16, components=3).to(dtype)
    x = torch.tensor([0, 32769, 65535]).expand(1, 1, 3)
    seen = density._network_input(x)
    assert seen.dtype == dtype
    torch.testing.assert_close(seen[0, 0].float(), torch.tensor([-1, 3 / 65535, 1]), rtol=0.01, atol=0)


def test_it_is_saved_and_loaded_by_its_name(tmp_path):
    density = prepared(levels=2**16, components=3).float()
    densities.save(density, tmp_path)
    x = torch.randint(2**16, (2, 1, 30))
    loaded = densities.load(tmp_path, WaveNet)
    assert torch.equal(loaded.log_prob(x), density.log_prob(x))
    densities.save(loaded.with_length(99), tmp_path / "longer")
    assert densities.load(tmp_path / "longer", WaveNet).sample(1).shape == (1, 1, 99)
    assert loaded.config == density.config


def test_other_shapes_and_contexts_are_refused():
    for shape in [(2, 30), (1, 4, 4), (30,)]:
        with pytest.raises(ValueError, match=r"sequences of one channel, event_shape \(1, T\), got"):
            WaveNet(shape)
    for option in ({"kernel_size": 1}, {"depth": 0}, {"depth": 25}, {"stacks": 0}, {"width": 0}, {"levels": 1}):
        with pytest.raises(ValueError, match=f"{next(iter(option))} must be .*, got"):
            WaveNet((1, 30), **option)
    density = prepared(context_channels=2)
    x = torch.randint(256, (2, 1, 30))
    with pytest.raises(ValueError, match="is conditional: pass a context"):
        density.log_prob(x)
    with pytest.raises(ValueError, match=r"expects a context of shape \(2, 2\) or \(2, 2, 30\), got \(2, 2, 15\)"):
        density.log_prob(x, torch.randn(2, 2, 15))
    with pytest.raises(ValueError, match="run from 0 to 255, got values from"):
        density.log_prob(x + 1 - x.min() + 255, torch.randn(2, 2))
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        density.with_length(0)


# Learning


def trained(density, x, *, steps, learning_rate=3e-3):
    """Train on all segments of a sequence of levels, batches of 8 in a seeded order."""
    optimizer = torch.optim.Adam(density.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    segments = x.reshape(-1, *density.event_shape)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        batch = segments[torch.randint(len(segments), (8,), generator=generator)]
        optimizer.zero_grad()
        density.bits_per_dim(batch).mean().backward()
        optimizer.step()
        schedule.step()
    return density.eval()


@pytest.mark.slow
@pytest.mark.parametrize("components", [None, 2])
def test_an_autoregressive_process_of_order_two_is_learned_to_its_entropy(components):
    torch.manual_seed(0)
    deviation, width, levels = 1.0, 0.25, 128  # of the noise; of a level
    noise = deviation * torch.randn(220_000)
    x = torch.zeros(len(noise) + 2)
    for t in range(len(noise)):
        x[t + 2] = 1.4 * x[t + 1] - 0.7 * x[t] + noise[t]
    x = (x[202:] / width + levels / 2).floor()
    assert bool(((x >= 0) & (x < levels)).float().mean() > 0.999)
    x = x.clamp(0, levels - 1).to(torch.uint8)[: 500 * (len(x) // 500)]
    train, test = x[:200_000], x[200_000:].reshape(-1, 1, 500)
    density = WaveNet((1, 500), levels=levels, components=components, width=32, depth=4)
    density = trained(density, train, steps=600)
    entropy = 0.5 * math.log(2 * math.pi * math.e * deviation**2) - math.log(width)
    with torch.no_grad():
        nats = -float(density.log_prob(test).mean()) / 500
    assert entropy - 0.02 < nats < entropy + 0.1


@pytest.mark.slow
def test_generated_audio_keeps_both_peaks_of_two_tones():
    torch.manual_seed(0)
    t = torch.arange(200_000)
    signal = 0.4 * torch.sin(2 * math.pi * t / 40) + 0.4 * torch.sin(2 * math.pi * t / 12.5 + 1)
    x = as_levels(signal + 0.02 * torch.randn(len(t)))
    density = trained(WaveNet((1, 1000), width=32, depth=6), x, steps=400)
    generated = density.with_length(4000).sample(1, generator=torch.Generator().manual_seed(0))
    spectrum = torch.fft.rfft((generated.flatten().float() - 128) * torch.hann_window(4000)).abs()
    peaks = [int(spectrum[place - 20 : place + 20].argmax()) + place - 20 for place in (100, 320)]
    assert peaks == [pytest.approx(100, abs=5), pytest.approx(320, abs=5)]
    assert min(spectrum[peaks]) > 10 * spectrum.median()


def as_levels(amplitude):
    """Return amplitudes as 256 even levels."""
    return ((amplitude + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


@pytest.mark.slow
def test_an_element_costs_the_same_at_any_length_and_a_twentieth_of_the_network_at_most():
    density = WaveNet((1, 16_000), width=32)
    began = [time.perf_counter()]

    def choose(parameters):
        began.append(time.perf_counter())
        return density.head.sample(parameters)

    with torch.no_grad():
        x = density._draw(1, None, choose)
        whole = []  # what the last element costs without a cache
        for _ in range(5):
            start = time.perf_counter()
            density.parameters_of(x)
            whole.append(time.perf_counter() - start)
    each = torch.tensor(began, dtype=torch.float64).diff()
    early, late = each[1000:4000].quantile(0.25), each[-3000:].quantile(0.25)
    print(f"{1e6 * early:.0f} and {1e6 * late:.0f} µs, the network {1e6 * min(whole):.0f} µs")
    assert late < 1.5 * early
    assert min(whole) > 20 * late
