import csv

import pytest
import torch
from torch import nn

from inverseflow.inference import AmortizedPosterior, problems
from inverseflow.inference.problems.kinematics import hand


def solutions(path):
    with path.open(newline="") as file:
        names, *rows = csv.reader(file)
    return names, torch.tensor([[float(cell) for cell in row] for row in rows])


@pytest.fixture
def network():
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)).eval()


def test_a_problem_is_inverted_to_distinct_inputs_that_give_the_target(run, tmp_path):
    path = tmp_path / "solutions.csv"
    code, text, error = run("invert", "kinematics", "--target", "1.5,0.5", "--restarts", 4, "-o", path)
    assert (code, error) == (0, "")
    assert "4 distinct solutions within 0.0001, by lbfgs with" in text and str(path) in text
    names, rows = solutions(path)
    assert names == ["height", "joint 1 [rad]", "joint 2 [rad]", "joint 3 [rad]", "residual"]
    x, residuals = rows.split([4, 1], 1)
    assert torch.allclose(hand(x), torch.tensor([1.5, 0.5]).expand(4, 2), atol=2e-4)
    assert (residuals <= 1e-4).all()


def test_an_output_of_nan_does_not_count(run):
    code, text, _ = run("invert", "kinematics", "--target", "nan,0.5", "--restarts", 2)
    assert code == 0 and "distinct solution" in text


def test_a_target_out_of_reach_is_an_error_that_says_how_far_the_nearest_output_is(run, tmp_path):
    path = tmp_path / "solutions.csv"
    words = ("invert", "kinematics", "--target", "5,0", "--restarts", 2, "--max-evaluations", 200, "-o", path)
    code, text, error = run(*words)
    assert code == 2 and not path.exists()
    assert "residual" in text and len(text.splitlines()) == 2
    assert "no input of kinematics has outputs within 0.0001 of the target" in error
    assert "is 3 away" in error and error.count("\n") == 1


@pytest.mark.slow  # exporting takes seconds
def test_exported_networks_are_inverted(run, tmp_path, network):
    path = tmp_path / "network.pt2"
    batch = torch.export.Dim("batch", min=1, max=10_000)
    torch.export.save(torch.export.export(network, (torch.zeros(3, 2),), dynamic_shapes=({0: batch},)), path)
    target = network(torch.tensor([[0.2, -0.4]]))[0].tolist()
    words = ("--target", ",".join(map(str, target)), "--inputs", 2, "--restarts", 2)
    code, text, _ = run("invert", path, *words)
    assert code == 0 and "within 0.0001" in text


def test_networks_and_functions_of_a_module_are_inverted(run, tmp_path, monkeypatch):
    (tmp_path / "some_networks.py").write_text(
        "import torch\nclass Group:\n    square = staticmethod(lambda x: x.square().sum(1))\nvalue = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ("--target", 1, "--low", "-2,-2", "--high", 2)
    method = ("--method", "exhaustive", "--option", "grid=5")
    code, text, _ = run("invert", "some_networks:Group.square", *words, *method)
    assert code == 0 and "4 distinct solutions within 0.01, by exhaustive with 30 evaluations" in text
    for name, message in (
        ("some_networks:value", "is no function; name a network"),
        ("some_networks:Group", "is a class; name a network"),
        ("some_networks:other", "has no other"),
        ("no_such_networks:f", "there is no Python module no_such_networks"),
    ):
        code, _, error = run("invert", name, *words)
        assert code == 2 and message in error


def test_the_forward_part_of_a_learned_posterior_is_inverted(run, tmp_path):
    problem = problems.create("kinematics")
    posterior = AmortizedPosterior.of(problem, method="inn", width=16, blocks=2)
    posterior.fit(*problem.simulate(200), max_steps=2, progress=False)
    posterior.save(tmp_path / "run")
    x = torch.randn(5, 4)
    assert posterior.predict(x).shape == (5, 2)
    target = posterior.predict(x[:1])[0].tolist()
    words = ("--target", ",".join(map(str, target)), "--restarts", 2, "-o", tmp_path / "solutions.csv")
    code, _, error = run("invert", tmp_path / "run", *words)
    assert (code, error) == (0, "")
    found = solutions(tmp_path / "solutions.csv")[1][:, :4]
    assert torch.allclose(posterior.predict(found), torch.tensor(target).expand(len(found), 2), atol=2e-4)
    other = AmortizedPosterior.of(problem, method="maf", width=8, steps=1)
    other.fit(*problem.simulate(200), max_steps=1, progress=False).save(tmp_path / "other")
    code, _, error = run("invert", tmp_path / "other", "--target", "1,0")
    assert (
        code == 2
        and "'maf' has no forward part from parameters to observations; methods with one are autoencoder" in error
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing", "--target", "1"), "is no folder, no file, no MODULE:NAME, and no problem; problems are"),
        (("two-moons", "--target", "1,1"), "draws noise"),
        (("missing.pt2", "--target", "1"), "missing.pt2 does not exist"),
        (("kinematics", "--target", "1,2,3"), "--target must have 2 numbers, hand 1, hand 2, got 3"),
        (("kinematics", "--target", "-1,2,3"), "--target must have 2 numbers, hand 1, hand 2, got 3"),
        (("ballistics", "--target", "1,2"), "--target must have 1 number"),
        (("kinematics", "--target", "a,1"), "--target must be numbers separated by commas, got 'a,1'"),
        (("kinematics", "--target", "1,0", "--method", "newton"), "unknown method 'newton'"),
        (("kinematics", "--target", "1,0", "--low", "0,0"), "must be known, got 2 and 4"),
        (("kinematics", "--target", "1,0", "--option", "memory"), "--option must be NAME=VALUE"),
        (("kinematics", "--target", "1,0", "--option", "memory=x"), "memory must be a whole number, got 'x'"),
        (("kinematics", "--target", "1,0", "--option", "size=1"), "lbfgs has no option 'size'"),
        (("kinematics", "--target", "1,0", "-o", "a.txt"), "--output must end in .csv"),
        (("kinematics", "--target", "1,0", "--restarts", "0"), "--restarts must be at least 1"),
        (("kinematics", "--target", "1,0", "--tolerance", "0"), "tolerance must be finite and above 0"),
    ],
)
def test_bad_arguments_are_one_line(run, words, message):
    code, _, error = run("invert", *words)
    assert code == 2 and message in error and error.count("\n") == 1


def test_files_that_hold_no_network_are_refused(run, tmp_path):
    for name in ("a.pt2", "a.pt"):
        (tmp_path / name).write_bytes(b"nothing")
        code, _, error = run("invert", tmp_path / name, "--target", "1")
        assert code == 2 and "is no file of torch.export (.pt2) or TorchScript (.pt)" in error
    code, _, error = run("invert", tmp_path, "--target", "1")
    assert code == 2 and "holds no posterior" in error
