import pytest

from inverseflow.experiments import Row, Settings
from inverseflow.experiments.arma import ALONE, ARMA, EXPERIMENT, TWO, verdict
from inverseflow.flows.layers import build_layer


def rows(name, *bits, stderr=0.01):
    return [Row(name, "", {}, {"bits_per_dim": value, "bits_per_dim_stderr": stderr}) for value in bits]


def every(arma, alone, two):
    """Lines of one seed: ARMA from opposed corners and the inverse are the best of their kind by 0.1 bits."""
    bits = {ARMA[0]: arma, ARMA[1]: arma + 0.1, ARMA[2]: arma + 0.1, ALONE[0]: alone + 0.1, ALONE[1]: alone, TWO: two}
    return {name: rows(name, value) for name, value in bits.items()}


@pytest.mark.parametrize(
    ("arma", "ending"),
    [
        (3.90, "ARMA pays."),
        (3.98, "Within the error, ARMA pays nothing."),
        (4.02, "Within the error, ARMA pays nothing."),
        (4.10, "ARMA does NOT pay."),
    ],
)
def test_a_difference_counts_from_two_standard_errors_on(arma, ending):
    assert verdict("here", every(arma, 4.0, 4.0)).endswith(ending)


def test_the_verdict_names_the_best_of_each_kind_and_how_far_they_are_apart():
    assert verdict("here", every(3.9, 4.0, 3.85)).startswith(
        "here: the best of the three, ARMA, opposed corners, is 0.100 ± 0.014 below the better one alone, inverse, and "
        "0.050 ± 0.014 ABOVE two convolutions, opposed corners."
    )


def test_the_spread_of_the_seeds_is_the_error_where_it_is_the_larger_one():
    lines = every(3.9, 4.0, 4.0)
    two_seeds = {name: [*those, *those] for name, those in lines.items()}
    assert "0.100 ± 0.010 below the better one alone" in verdict("here", two_seeds)
    two_seeds[ARMA[0]] = rows(ARMA[0], 3.8, 4.0)  # 0.2 and 0.0 below: 0.1 ± 0.1
    assert "0.100 ± 0.100 below the better one alone" in verdict("here", two_seeds)


def test_all_lines_are_trained_alike_but_for_their_layer(tmp_path):
    by_part = {}
    for task in EXPERIMENT.tasks(Settings("quick", tmp_path, seeds=1)):
        ((name, settings),) = task.settings.items()
        own = ("out", "model.name", "model.layer", "model.kernel_size")
        flat = {**settings, **{f"model.{key}": value for key, value in settings["model"].items()}}
        by_part.setdefault(task.part, {})[name] = {key: flat[key] for key in flat if key not in (*own, "model")}
    assert len(by_part) == 4
    for lines in by_part.values():
        assert list(lines) == [*ALONE, TWO, *ARMA]
        assert all(line == lines[TWO] for line in lines.values())


def test_two_convolutions_have_as_many_taps_as_an_arma_convolution():
    def taps(name, kernel_size):
        layer = build_layer(name, (4, 8, 8), kernel_size=kernel_size, mixed=True)
        return sorted(parameter.numel() for parameter in layer.parameters() if parameter.numel() > 4)

    assert taps("emerging", 5) == taps("arma", 3) == taps("arma-same", 3)
