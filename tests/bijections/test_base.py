"""The base class checks the input of every layer and shapes its log-determinants."""

import math

import pytest
import torch

from inverseflow.bijections import ActNorm, Bijection
from inverseflow.bijections.events import elements, per_channel, pixels, sum_event


class Returning(Bijection):
    """A layer that returns its input and a given log-determinant."""

    def __init__(self, log_det):
        super().__init__()
        self.log_det = log_det

    def _forward(self, x, context):
        return x, self.log_det

    def _inverse(self, z, context):
        return z, self.log_det


@pytest.mark.parametrize("log_det", [0, 2.5, torch.tensor(2.5), torch.tensor([2.5]), torch.full((3,), 2.5)])
def test_a_log_determinant_may_be_a_number_a_scalar_or_one_for_each_event(log_det):
    layer, x = Returning(log_det), torch.zeros(3, 2)
    expected = torch.full((3,), float(log_det if isinstance(log_det, int | float) else log_det.flatten()[0]))
    torch.testing.assert_close(layer(x)[1], expected)
    torch.testing.assert_close(layer.inverse(x)[1], expected)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
@pytest.mark.parametrize("log_det", [1.0, torch.tensor(1.0)])
def test_log_determinants_are_never_below_single_precision(dtype, expected, log_det):
    x = torch.zeros(3, 2, dtype=dtype)
    assert Returning(log_det)(x)[1].dtype == expected
    assert Returning(log_det).inverse(x)[1].dtype == expected


def test_a_layer_of_half_precision_reports_its_log_determinant_in_single_precision():
    layer = ActNorm(3).to(torch.bfloat16)
    z, log_det = layer(torch.randn(2, 3, 4, 4, dtype=torch.bfloat16))
    assert z.dtype == torch.bfloat16
    assert log_det.dtype == torch.float32


def test_sums_over_an_event_do_not_overflow_in_half_precision():
    x = torch.full((2, 3, 100, 100), 10.0, dtype=torch.float16)
    assert sum_event(x).tolist() == [300_000.0, 300_000.0]


def test_counts_of_an_event():
    x = torch.zeros(7, 3, 4, 5)
    assert (pixels(x), elements(x)) == (20, 60)
    assert (pixels(x[:, :, 0, 0]), elements(x[:, :, 0, 0])) == (1, 3)
    assert torch.equal(per_channel(torch.arange(3.0), x).expand(7, 3, 4, 5)[0, :, 1, 2], torch.arange(3.0))


def test_a_layer_must_write_both_directions():
    class OneWay(Bijection):
        def _forward(self, x, context):
            return x, 0.0

    with pytest.raises(TypeError, match="abstract"):
        OneWay()


@pytest.mark.parametrize("channels", [0, -1])
def test_a_layer_needs_a_channel(channels):
    with pytest.raises(ValueError, match=f"channels must be at least 1, got {channels}"):
        ActNorm(channels)


def test_shapes_of_no_axes_are_refused():
    with pytest.raises(ValueError, match=r"\(\)"):
        ActNorm(2).output_shape(())


@pytest.mark.parametrize("shape", [(2, 0, 5), (2, 3, 0)])
def test_events_without_elements_are_harmless(shape):
    z, log_det = ActNorm(2)(torch.zeros(3, *shape))
    assert z.shape == (3, *shape)
    assert log_det.tolist() == [0.0] * 3


class Conditional(Bijection):
    """Shift by the context, which is given for each event or for each pixel."""

    def __init__(self):
        super().__init__(context_channels=2)

    def _shift(self, x, context):
        return context.sum(1).view(len(x), *[1] * (x.ndim - 1)) if context.ndim == 2 else context.sum(1, keepdim=True)

    def _forward(self, x, context):
        return x + self._shift(x, context), 0.0

    def _inverse(self, z, context):
        return z - self._shift(z, context), 0.0


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 4, 5)])
def test_a_context_is_given_for_each_event_or_for_each_pixel(shape):
    x = torch.randn(3, 1, 4, 5)
    context = torch.randn(shape)
    z, _ = Conditional()(x, context)
    torch.testing.assert_close(Conditional().inverse(z, context)[0], x)


def test_the_log_determinant_of_a_composition_of_numbers_is_their_sum():
    x = torch.zeros(2, 3)
    from_forward = Returning(math.log(2))(x)[1] + Returning(1)(x)[1]
    torch.testing.assert_close(from_forward, torch.full((2,), 1 + math.log(2)))
