import pytest
import torch

from inverseflow.bijections import ActNorm, Compose, Conv1x1, Multiscale, Permute, Scale, Squeeze


def numbered(*shape):
    return torch.arange(float(torch.Size(shape).numel())).view(1, *shape)


def test_every_level_but_the_last_leaves_the_second_half_of_its_channels():
    z, _ = Multiscale([Scale(1.0), Scale(10.0), Scale(100.0)], (8,))(numbered(8))
    assert z.tolist() == [[4, 5, 6, 7, 20, 30, 0, 1000]]


def test_of_an_odd_number_of_channels_the_smaller_half_goes_on():
    z, _ = Multiscale([Scale(1.0), Scale(10.0)], (5,))(numbered(5))
    assert z.tolist() == [[2, 3, 4, 0, 10]]


def test_the_slices_of_the_scales_follow_each_other_and_make_up_the_latent():
    flow = Multiscale([Squeeze(), Squeeze(), Scale(1.0)], (3, 4, 8))
    assert flow.latent_shapes == [(6, 2, 4), (12, 1, 2), (12, 1, 2)]
    assert flow.latent_slices == {"scale_1": slice(0, 48), "scale_2": slice(48, 72), "scale_3": slice(72, 96)}
    assert flow.dims == 96


def test_what_leaves_first_is_what_the_first_level_made_of_it():
    flow = Multiscale([Squeeze(), Scale(2.0)], (1, 2, 4))
    x = numbered(1, 2, 4)
    z, _ = flow(x)
    squeezed, _ = Squeeze()(x)
    assert torch.equal(z[:, flow.latent_slices["scale_1"]], squeezed[:, 2:].flatten(1))
    assert torch.equal(z[:, flow.latent_slices["scale_2"]], 2 * squeezed[:, :2].flatten(1))


def test_each_log_determinant_counts_once():
    flow = Multiscale([Scale(2.0), Scale(3.0)], (4,))
    _, log_det = flow(torch.zeros(1, 4))
    assert log_det.exp().item() == pytest.approx(2**4 * 3**2)


def test_a_single_level_only_flattens():
    x = numbered(2, 3, 4)
    z, _ = Multiscale([Scale(1.0)], (2, 3, 4))(x)
    assert torch.equal(z, x.flatten(1))


def test_a_change_of_one_latent_scale_leaves_the_other_latents_alone():
    flow = Multiscale([Compose(Squeeze(), Conv1x1(4)), Compose(Squeeze(), Conv1x1(8))], (1, 4, 8))
    z, _ = flow(torch.randn(1, 1, 4, 8))
    changed = z.clone()
    changed[:, flow.latent_slices["scale_1"]] += 1
    again, _ = flow(flow.inverse(changed)[0])
    torch.testing.assert_close(again, changed)


def test_one_module_may_stand_at_several_scales():
    shared = Scale(2.0, shift=1.0)
    flow, separate = (Multiscale(scales, (8,)) for scales in ([shared] * 3, [Scale(2.0, shift=1.0) for _ in range(3)]))
    x = torch.randn(2, 8)
    z, log_det = flow(x)
    torch.testing.assert_close((z, log_det), separate(x), rtol=0, atol=0)
    back, log_det_back = flow.inverse(z)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(log_det_back, -log_det)


def test_a_scale_that_is_no_bijection_is_refused():
    with pytest.raises(TypeError, match="scales must hold bijections, got 3"):
        Multiscale([Scale(1.0), 3], (4,))


BAD_SCALES = {
    "no level": ([], (4,), "at least one bijection"),
    "one channel to split": (
        [Permute([0]), Scale(1.0)],
        (1, 4),
        "scale 1 leaves 1 channel, nothing to split; use fewer",
    ),
    "an odd side": (
        [Squeeze(), Squeeze()],
        (1, 6, 4),
        r"height 3 of an event of shape \(2, 3, 2\) by 2: pad it to 4, or",
    ),
    "other channels": ([Squeeze(), ActNorm(3)], (1, 4, 4), r"ActNorm is built for 3 channels, .* \(2, 2, 2\)"),
}


@pytest.mark.parametrize("bad", BAD_SCALES)
def test_levels_that_do_not_fit_are_refused_when_they_are_put_together(bad):
    scales, shape, message = BAD_SCALES[bad]
    with pytest.raises(ValueError, match=message):
        Multiscale(scales, shape)


def test_events_and_latents_of_other_shapes_are_refused():
    flow = Multiscale([Squeeze()], (1, 4, 4))
    with pytest.raises(ValueError, match=r"events of shape \(1, 4, 4\), got \(1, 4, 6\)"):
        flow(torch.zeros(2, 1, 4, 6))
    with pytest.raises(ValueError, match=r"latents of shape \(16,\), got \(17,\)"):
        flow.inverse(torch.zeros(2, 17))


def test_the_event_shape_may_be_a_list_or_a_torch_size():
    x = torch.zeros(2, 1, 4, 4)
    for shape in ([1, 4, 4], x.shape[1:]):
        assert Multiscale([Squeeze()], shape)(x)[0].shape == (2, 16)
