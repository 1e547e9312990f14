import pytest
import torch

from applications.geology.reducers import REDUCERS, Latent, PrincipalComponents, Stack, reducer
from inverseflow.errors import OptionError


@pytest.fixture(scope="module")
def pixels():
    generator = torch.Generator().manual_seed(0)
    mixed = torch.rand(300, 2, generator=generator) @ torch.rand(2, 5, generator=generator)
    return (mixed / mixed.max() + 0.02 * torch.rand(300, 5, generator=generator)).clamp(0, 1)


def test_principal_components_hold_nine_tenths_of_the_variance_and_lead_back(pixels):
    found = PrincipalComponents()
    found.fit(pixels, 0)
    features = found.features(pixels)
    variances = torch.linalg.eigvalsh((pixels - pixels.mean(0)).T.cov()).flip(0)
    needed = int((variances.cumsum(0) / variances.sum() < 0.9).sum()) + 1
    assert features.shape == (300, needed)
    error = (found.spectra(features) - pixels).square().sum(1).mean()
    assert error == pytest.approx(variances[needed:].sum().item() * 299 / 300, rel=1e-3, abs=1e-9)


def test_each_autoencoder_of_the_stack_sees_what_the_one_before_it_learned_and_its_input(pixels):
    stack = Stack()
    stack.fit(pixels[:80], 0)
    first, second, third = stack.nets
    assert [net.event_shape for net in stack.nets] == [(5,), (10,), (15,)]
    with torch.no_grad():
        seen = torch.cat([first.decode(first.encode(pixels)), pixels], 1)
        tapped = second.encoder[3](second.encoder[2](second.encoder[1](second.encoder[0](seen))))
        assert tapped.shape == (300, 5)
        expected = third.encode(torch.cat([tapped, seen], 1))
        error = (second.decode(second.encode(seen[:80])) - seen[:80]).square().mean().item()
    assert torch.equal(stack.in_chunks(pixels), expected) and expected.shape == (300, 2)
    assert stack.errors[1] == pytest.approx(error)


def test_every_spectrum_comes_back_from_the_latent_of_the_flow(pixels):
    flow = Latent(steps=20)
    flow.fit(pixels, 0)
    latents = flow.in_chunks(pixels)
    assert latents.shape == pixels.shape
    with torch.no_grad():
        torch.testing.assert_close(flow.spectra(latents), pixels, rtol=0, atol=1e-4)


def test_the_same_seed_gives_the_same_features(pixels):
    first, second = reducer("invauto"), reducer("invauto")
    for found in (first, second):
        found.fit(pixels[:100], 3)
    assert torch.equal(first.in_chunks(pixels), second.in_chunks(pixels))


def test_an_unknown_reducer_is_refused():
    with pytest.raises(OptionError, match=rf"no reducer 'ica'; there are {', '.join(REDUCERS)}"):
        reducer("ica")
