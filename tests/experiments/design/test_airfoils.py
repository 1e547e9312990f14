import json
import math

import numpy as np
import pytest
import torch

from experiments.__main__ import main
from experiments.design.airfoils import SHAPE, NeuralFoil, read_airfoils, surfaces, thickness
from experiments.design.inverse import BlendedShapes, coefficients, refined, usable
from experiments.folders import data_folder
from inverseflow.errors import DataError


@pytest.fixture(scope="module")
def stored(shared_data):
    with np.load(shared_data("airfoils") / "airfoils.npz") as file:
        return {name: file[name] for name in ("names", "x", "upper", "lower", "kulfan")}


@pytest.fixture(scope="module")
def surrogate(shared_data):
    return NeuralFoil(shared_data("airfoils"))


def shape_of(stored, name):
    return torch.from_numpy(stored["kulfan"][[list(stored["names"]).index(name)]])


def test_surfaces_are_close_to_the_coordinates_that_they_were_fitted_to(stored):
    upper, lower = surfaces(torch.from_numpy(stored["kulfan"]), torch.from_numpy(stored["x"]))
    errors = np.stack([upper.numpy() - stored["upper"], lower.numpy() - stored["lower"]])
    each = np.sqrt((errors**2).mean((0, 2)))
    assert np.median(each) < 3e-4 and np.quantile(each, 0.9) < 2e-3  # chords; a few thick trailing edges fit badly


def test_the_network_gives_what_its_authors_report(surrogate, stored):
    polar = surrogate(shape_of(stored, "naca2412"), torch.tensor([4.0]), reynolds=1e6)
    assert float(polar.lift) == pytest.approx(0.696, abs=5e-4)
    assert float(polar.drag) == pytest.approx(0.00707, abs=5e-6)


def test_a_mirrored_airfoil_has_the_opposite_lift(surrogate, stored):
    shape = shape_of(stored, "naca2412")
    mirrored = torch.cat([-shape[:, 8:16], -shape[:, :8], -shape[:, 16:17], shape[:, 17:]], 1)
    up, down = surrogate(shape, torch.tensor([3.0])), surrogate(mirrored, torch.tensor([-3.0]))
    torch.testing.assert_close(up.lift, -down.lift)
    torch.testing.assert_close(up.moment, -down.moment)
    torch.testing.assert_close(up.drag, down.drag)


def test_lift_is_close_to_that_of_thin_airfoils(surrogate, stored):
    shape = shape_of(stored, "naca2412")
    low, high = surrogate(shape.expand(2, -1), torch.tensor([0.0, 2.0])).lift
    slope = float(high - low) / math.radians(2)
    zero = -float(low) / slope
    assert slope == pytest.approx(2 * math.pi, rel=0.1)
    assert math.degrees(zero) == pytest.approx(-2.077, abs=0.3)  # thin-airfoil theory of NACA 2412


def test_real_airfoils_are_read_once_and_do_not_cross(shared_data):
    airfoils = read_airfoils(shared_data("airfoils"))
    assert len(airfoils.names) == len(airfoils.shapes) == len(torch.unique(airfoils.shapes, dim=0))
    assert bool((thickness(airfoils.shapes)[1] > 0).all())
    families = dict(zip(airfoils.names, airfoils.families, strict=True))
    assert families["naca4412"] == families["naca2412"] != families["rae2822"]


def test_newton_steps_of_least_length_solve_a_linear_problem_at_once():
    torch.manual_seed(0)
    matrix, scale, wanted = (
        torch.randn(2, 5, dtype=torch.float64),
        torch.rand(5).double() + 0.5,
        torch.zeros(2).double(),
    )
    design = 0.1 * torch.randn(3, 5, dtype=torch.float64)
    result = refined(lambda x: x @ matrix.T, design, wanted, scale, iterations=1)
    step = -scale * (torch.linalg.pinv(matrix * scale) @ (design @ matrix.T).T).T
    torch.testing.assert_close(result.designs, design + step, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(result.moved, (step / scale).square().mean(1).sqrt(), atol=1e-6, rtol=1e-5)
    assert result.evaluations == 3


def test_refined_designs_have_the_wanted_lift_drag_and_thickness(surrogate, shared_data):
    prior = BlendedShapes(read_airfoils(shared_data("airfoils")).shapes)
    torch.manual_seed(0)
    scale, simulate = prior.sample((500,)).std(0), coefficients(surrogate)
    design = prior.sample((1,))
    wanted = simulate(design)[0]
    result = refined(simulate, design + 0.2 * scale * torch.randn(50, SHAPE + 1), wanted, scale)
    error = (simulate(result.designs) - wanted).abs()
    assert float((error < torch.tensor([1e-3, 1e-3, 1e-4])).all(1).float().mean()) > 0.95
    assert result.designs.shape[1] == SHAPE + 1


def test_crossed_surfaces_and_far_angles_are_not_usable(surrogate, stored):
    shape = shape_of(stored, "naca2412")
    crossed = torch.cat([shape[:, 8:16], shape[:, :8], shape[:, 16:]], 1)
    designs = torch.cat([torch.cat([shape, shape, crossed]), torch.tensor([[2.0], [20.0], [2.0]])], 1)
    assert usable(surrogate, designs).tolist() == [True, False, False]


def test_missing_data_are_named(tmp_path, monkeypatch):
    monkeypatch.delenv("INVERSEFLOW_DATA", raising=False)
    with pytest.raises(DataError, match=r"there is no folder .*airfoils: give the one that holds airfoils/"):
        data_folder("airfoils", tmp_path)
    (tmp_path / "airfoils").mkdir()
    assert data_folder("airfoils", tmp_path) == data_folder("airfoils", tmp_path / "airfoils") == tmp_path / "airfoils"
    with pytest.raises(DataError, match=r"there is no .*airfoils\.npz"):
        read_airfoils(tmp_path / "airfoils")


@pytest.mark.slow
def test_the_experiment_runs(shared_data, tmp_path):
    folder = shared_data("airfoils").parent
    assert main(["design", "--budget", "smoke", "--data-dir", str(folder), "-o", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "design.json").read_text())["complete"]
