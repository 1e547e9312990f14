import math

import pytest

from experiments.arma import ALONE, EXPERIMENTS, OURS, TWO, difference, verdict
from experiments.experiment import Settings
from experiments.result import Row
from inverseflow.flows.image.layers import build_layer
from inverseflow.flows.image.options import StepOptions


def beside(*more, stderr=0.01):
    return [Row("", "", {}, {"more_bits": each, "stderr": stderr}) for each in more]


def test_the_interval_of_one_seed_is_that_of_its_images():
    assert difference(beside(0.05)) == (0.05, pytest.approx(1.959964 * 0.01))


def test_the_interval_of_several_seeds_adds_their_spread_by_students_t():
    mean, error = difference(beside(0.02, 0.05, 0.08))
    assert mean == pytest.approx(0.05)
    assert error == pytest.approx(4.302653 * math.sqrt(0.03**2 / 3 + 0.01**2))  # two degrees of freedom
    assert difference(beside(0.05, 0.05, 0.05))[1] == pytest.approx(4.302653 * 0.01)  # the same images thrice


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (
            (0.05, 0.04, 0.03),
            "fewer bits than a convolution alone, fewer bits than an inverse alone, and fewer bits than",
        ),
        (
            (0.05, 0.01, -0.03),
            "fewer bits than a convolution alone, as many within the error as an inverse alone, and MORE",
        ),
        (
            (-0.01, -0.05, 0.0),
            "as many within the error as a convolution alone, MORE bits than an inverse alone, and as",
        ),
    ],
)
def test_the_verdict_is_on_either_part_alone_and_on_two_convolutions(more, text):
    rows = {name: beside(each) for name, each in zip((*ALONE, TWO), more, strict=True)}
    said = verdict(rows)
    assert said.startswith(f"ARMA needs {text} ") and said.endswith(" two convolutions.")


def test_all_lines_are_trained_alike_but_for_their_layer(tmp_path):
    by_part = {}
    for task in EXPERIMENTS[0].tasks(Settings("quick", tmp_path, seeds=1)):
        if len(task.settings) == 1:
            ((name, settings),) = task.settings.items()
            own = ("out", "model.name", "model.layer", "model.kernel_size")
            flat = {**settings, **{f"model.{key}": value for key, value in settings["model"].items()}}
            by_part.setdefault(task.part, {})[name] = {key: flat[key] for key in flat if key not in (*own, "model")}
    assert len(by_part) == 3
    for lines in by_part.values():
        assert list(lines)[:2] == [*ALONE] and len(lines) == 6
        assert all(line == lines[OURS] for line in lines.values())


def test_two_convolutions_have_as_many_taps_as_an_arma_convolution():
    def taps(name, kernel_size):
        layer = build_layer(StepOptions(name, kernel_size=kernel_size), (4, 8, 8))
        return sorted(parameter.numel() for parameter in layer.parameters() if parameter.numel() > 4)

    assert taps("emerging", 5) == taps("arma", 3) == taps("arma-same", 3)


def test_arma_scales_its_channels_where_nothing_else_in_the_step_does():
    alone, mixed = (build_layer(StepOptions("arma", conv1x1=form), (4, 8, 8)) for form in ("none", "lu"))
    count = {layer: sum(parameter.numel() for parameter in layer.parameters()) for layer in (alone, mixed)}
    assert count[alone] == count[mixed] + 4
