import torch

from experiments.inversion import EXPERIMENTS, FUNCTIONS, METHODS, function, per_solved
from experiments.result import Result, Row


def test_the_network_of_the_exclusive_or_computes_it():
    corners = torch.cartesian_prod(torch.arange(2), torch.arange(2)).double()
    truth = function("exclusive or", 0)(corners)[:, 0] > 0.5
    assert truth.tolist() == [False, True, True, False]


def test_evaluations_for_targets_that_were_not_solved_are_counted():
    assert per_solved({"solved": 2, "targets": 3, "evaluations": 600}) == 300
    assert per_solved({"solved": 0, "targets": 3, "evaluations": 600}) is None


def test_the_verdict_names_the_method_of_the_fewest_evaluations_that_solved_every_target():
    names, counts = list(METHODS)[:3], (2, 3, 3)
    rows = tuple(
        Row(name, each, {}, {"solved": solved, "targets": 3, "evaluations": 300 * place, "gradients": 0})
        for place, (name, solved) in enumerate(zip(names, counts, strict=True), start=1)
        for each in FUNCTIONS
    )
    text = "\n".join(EXPERIMENTS[0].parts(Result("inversion", "quick", 1, {}, True, rows)))
    assert f"exclusive or: {names[1]}, 200;" in text
    assert "150 (2/3)" in text
