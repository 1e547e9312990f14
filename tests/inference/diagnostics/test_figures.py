import numpy as np
import pytest
import torch

from inverseflow.errors import DataError
from inverseflow.inference.diagnostics import calibration_figure, corner_figure, diagnose
from tests.inference.diagnostics.linear_gaussian import PARAMETERS, Posterior, Prior, problem


def panels(figure):
    """Return the visible axes by their titles."""
    return {axes.get_title(): axes for axes in figure.axes if axes.axison}


@pytest.fixture(scope="module")
def diagnosis():
    return diagnose(Posterior(scale=0.5), problem(), simulations=200)


def test_calibration_shows_a_histogram_of_each_quantity_the_coverage_and_the_verdict(diagnosis, tmp_path):
    figure = calibration_figure(diagnosis, title="Linear Gaussian")
    figure.savefig(tmp_path / "calibration.png")
    shown = panels(figure)
    assert shown.keys() == {"coverage of credible regions", *PARAMETERS, "density", "distance to a linear\nprediction"}
    assert figure.get_suptitle() == "Linear Gaussian"
    assert figure.get_supxlabel().replace("\n", " ") == diagnosis.verdict
    labels = [line.get_label() for line in shown["coverage of credible regions"].lines]
    assert labels[1:] == [*PARAMETERS, "highest density, all"]


def test_bars_are_the_counts_of_ranks_and_the_band_is_that_of_a_binomial(diagnosis):
    axes = panels(calibration_figure(diagnosis))["mass [kg]"]
    bars, outline = (patch.get_data().values for patch in axes.patches if hasattr(patch, "get_data"))
    counts = np.asarray(diagnosis.rank_counts[1]).reshape(20, 5).sum(1)
    assert bars.tolist() == outline.tolist() == counts.tolist()
    (band,) = (patch for patch in axes.patches if not hasattr(patch, "get_data"))
    assert band.get_y() == pytest.approx(10 - 2.57583 * (10 * 0.95) ** 0.5, abs=1e-3)
    assert band.get_y() + band.get_height() == pytest.approx(10 + 2.57583 * (10 * 0.95) ** 0.5, abs=1e-3)


def test_the_coverage_curve_of_a_narrow_posterior_is_below_the_diagonal(diagnosis):
    axes = panels(calibration_figure(diagnosis))["coverage of credible regions"]
    for line in axes.lines[1:]:
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        assert (np.diff(y) >= 0).all() and y[50] < x[50] - 0.1


def test_a_parameter_called_density_is_no_density():
    class Named(Prior):
        parameters = ("density", "b", "c")
        has_density = False

    figure = calibration_figure(diagnose(Named(), problem(), simulations=100))
    assert [line.get_label() for line in figure.axes[0].lines][1:] == ["density", "b", "c"]


def test_many_quantities_are_reduced_to_those_that_deviate_most():
    class Wide:
        def sample(self, y, n):
            samples = torch.randn(len(y), n, 20)
            samples[..., 7] *= 3
            return samples

    figure = calibration_figure(diagnose(Wide(), (torch.randn(150, 20), torch.randn(150, 1))))
    assert len(panels(figure)) == 12 + 1 and "x7" in panels(figure)


def test_there_is_nothing_to_draw_of_a_posterior_that_could_not_be_judged():
    with pytest.raises(DataError, match="there is nothing to draw: Cannot be judged: 50 pairs"):
        calibration_figure(diagnose(Posterior(), problem(), simulations=50))


def test_a_corner_has_the_posterior_below_the_reference_above_and_the_truth(tmp_path):
    samples, reference = torch.randn(100, 3), torch.randn(80, 3)
    figure = corner_figure(samples, PARAMETERS, truth=torch.tensor([0.0, 30.0, 0.0]), reference=reference)
    figure.savefig(tmp_path / "corner.png")
    grid = np.asarray(figure.axes).reshape(3, 3)
    np.testing.assert_allclose(grid[2, 0].collections[0].get_offsets(), samples[:, [0, 2]])
    np.testing.assert_allclose(grid[0, 2].collections[0].get_offsets(), reference[:, [2, 0]])
    assert [axes.get_xlabel() for axes in grid[2]] == list(PARAMETERS)
    assert grid[2, 1].get_xlim()[1] > 30
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "reference (above)",
        "posterior (below)",
        "truth",
    ]


@pytest.mark.parametrize("dims", [1, 2, 10])
def test_a_corner_has_up_to_eight_parameters(dims):
    figure = corner_figure(torch.randn(50, dims), ["speed [m/s]"])
    assert len(figure.axes) == min(dims, 8) ** 2
    assert figure.axes[-1].get_xlabel() == ("speed [m/s]" if dims == 1 else f"x{min(dims, 8) - 1}")


def test_shapes_that_do_not_fit_are_refused():
    samples = torch.randn(50, 3)
    with pytest.raises(DataError, match=r"truth must have shape \(3,\), got \(2,\)"):
        corner_figure(samples, truth=torch.zeros(2))
    with pytest.raises(DataError, match=r"reference must have shape \(N, 3\), got \(9, 2\)"):
        corner_figure(samples, reference=torch.zeros(9, 2))
    with pytest.raises(DataError, match=r"samples must have shape \(N, 3\), got \(2, 5, 3\)"):
        corner_figure(torch.zeros(2, 5, 3))
