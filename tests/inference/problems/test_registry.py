import pytest
import torch

from inverseflow.inference.problems import create, problem_names


@pytest.mark.parametrize("name", problem_names())
def test_a_problem_simulates_what_it_says(name):
    problem = create(name)
    x, y = problem.simulate(50)
    again = problem.simulate(50)
    assert problem.name == name
    assert x.shape == (50, problem.dims)
    assert y.isfinite().all()
    assert torch.equal(x, again[0])
    assert torch.equal(y, again[1])
    assert problem.support.contains(x).all()


@pytest.mark.parametrize("name", problem_names())
def test_reference_samples_of_a_problem_lie_in_its_support_and_repeat_with_the_generator(name):
    problem = create(name)
    if problem.reference is None:
        pytest.skip(f"{name} has no reference")
    y = problem.simulate(1)[1][0]
    first, second = (problem.reference(y, 20, torch.Generator().manual_seed(1)) for _ in range(2))
    assert first.shape == (20, problem.dims)
    assert first.dtype == y.dtype
    assert torch.equal(first, second)
    assert problem.support.contains(first).all()


def test_unknown_problems_and_options_are_refused():
    with pytest.raises(ValueError, match="unknown problem 'moons': choose one of .*kinematics"):
        create("moons")
    with pytest.raises(ValueError, match="'kinematics' has no option joints; it has none"):
        create("kinematics", joints=3)
