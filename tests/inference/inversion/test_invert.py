import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from inverseflow.errors import NonFiniteError, OptionError
from inverseflow.inference import invert
from inverseflow.inference.inversion import INVERSION_METHODS
from tests.inference.inversion.networks import mlp, square_norm

LOCAL = ("lbfgs", "gradient", "wlk", "coordinate", "nelder-mead")


@pytest.mark.parametrize("method", INVERSION_METHODS)
def test_every_method_finds_an_input_of_a_network_that_gives_the_target(method):
    network = mlp(2, 8, 1, scale=2.0)
    target = network(torch.tensor([[0.3, -0.6]], dtype=torch.float64))[0]
    found = invert(network, target, method=method, box=(-1, 1))
    assert found.converged and found.reached.all()
    residuals = (network(found.solutions) - target).norm(dim=1)
    assert torch.allclose(residuals, found.residuals, atol=1e-12)
    assert (found.residuals <= found.tolerance).all()
    assert torch.equal(found.residuals, found.residuals.sort().values)
    assert found.solutions.abs().max() <= 1
    assert found.evaluations <= 200_000
    assert (found.gradients > 0) == INVERSION_METHODS[method].uses_gradient


@pytest.mark.parametrize("method", INVERSION_METHODS)
def test_one_seed_gives_one_result(method):
    network = mlp(2, 4, 1)
    first, again, other = (
        invert(network, [0.1], method=method, box=(-1, 1), max_evaluations=1500, seed=seed)
        if method != "exhaustive"
        else invert(network, [0.1], method=method, box=(-1, 1), points=500, seed=seed)
        for seed in (1, 1, 2)
    )
    assert torch.equal(first.solutions, again.solutions) and first.evaluations == again.evaluations
    assert not torch.equal(first.solutions, other.solutions)


@pytest.mark.parametrize("method", INVERSION_METHODS)
def test_a_target_out_of_reach_does_not_converge_and_leaves_the_nearest_input(method):
    options = {"points": 2000} if method == "exhaustive" else {}
    network = nn.Sequential(nn.Linear(2, 1), nn.Sigmoid()).double()
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, -2.0]]))
        network[0].bias.zero_()
    found = invert(network, [1.5], method=method, box=(-1, 1), max_evaluations=3000, **options)
    assert not found.converged and not found.reached.any()
    nearest = 1.5 - 1 / (1 + math.exp(-3))  # at the corner (1, -1)
    assert found.solutions.shape == (1, 2)
    assert nearest <= found.residuals.item() < nearest + 0.02


@pytest.mark.parametrize("method", LOCAL)
def test_a_parabola_has_distinct_preimages_on_a_circle(method):
    network = nn.Sequential(nn.Linear(2, 2), nn.Tanh()).double() if method == "wlk" else square_norm
    target = [0.2, -0.1] if method == "wlk" else [1.0]
    found = invert(network, target, method=method, inputs=2, restarts=8)
    assert found.converged
    if method != "wlk":
        assert len(found.solutions) >= 2
        gaps = torch.cdist(found.solutions, found.solutions) + torch.eye(len(found.solutions))
        assert gaps.min() > 1e-3
        assert torch.allclose(found.solutions.norm(dim=1), torch.ones(len(found.solutions)), atol=1e-4)


def test_lbfgs_is_exact_to_a_millionth():
    network = mlp(2, 16, 16, 2, scale=1.5)
    target = network(torch.tensor([[0.4, -0.2]], dtype=torch.float64))[0]
    found = invert(network, target, restarts=8, tolerance=1e-6, max_evaluations=20_000)
    assert found.converged and found.residuals[0] < 1e-6


@pytest.mark.parametrize("step", ["plain", "adam", "backtracking", "exact"])
def test_gradient_steps_of_every_kind_reach_a_thousandth(step):
    network = mlp(2, 16, 16, 2, scale=1.5)
    target = network(torch.tensor([[0.4, -0.2]], dtype=torch.float64))[0]
    found = invert(network, target, method="gradient", step=step, restarts=8, tolerance=1e-3, enough=1)
    assert found.converged and found.residuals[0] < 1e-3


def test_an_exclusive_or_is_inverted_to_its_two_true_corners():
    network = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1), nn.Sigmoid()).double()
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[20.0, 20.0], [20.0, 20.0]]))
        network[0].bias.copy_(torch.tensor([-10.0, -30.0]))
        network[2].weight.copy_(torch.tensor([[20.0, -20.0]]))
        network[2].bias.fill_(-10.0)
    found = invert(network, [1.0], box=(0, 1), method="exhaustive", grid=2)
    assert found.converged
    assert sorted(found.solutions.tolist()) == [[0, 1], [1, 0]]
    assert invert(network, [0.5], box=(0, 1), enough=1).converged


@pytest.mark.slow
def test_a_classifier_of_digits_is_driven_to_a_class():
    digits = load_digits()
    x, label = torch.tensor(digits.data / 16).float(), torch.tensor(digits.target)
    network = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(100):
        loss = nn.functional.cross_entropy(network(x), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    classifier = nn.Sequential(network, nn.Softmax(1))
    assert (classifier(x).argmax(1) == label).double().mean() > 0.9
    wanted = nn.functional.one_hot(torch.tensor(7), 10).float()
    found = invert(classifier, wanted, mask=wanted > 0, box=(0, 1), restarts=4, tolerance=0.01)
    assert found.converged and ((found.solutions >= 0) & (found.solutions <= 1)).all()
    assert (classifier(found.solutions)[:, 7] > 0.99).all()


def test_outputs_that_are_masked_do_not_count():
    network = mlp(2, 3)
    found = invert(network, [0.5, math.nan, 0.25], mask=[True, False, True])
    assert found.converged
    assert torch.allclose(network(found.solutions)[:, [0, 2]].detach(), torch.tensor([[0.5, 0.25]]).double(), atol=1e-4)


def test_bounds_hold_in_each_coordinate_and_may_be_infinite_on_one_side():
    found = invert(square_norm, torch.tensor([25.0], dtype=torch.float64), box=([3.0, -math.inf], [math.inf, 0.0]))
    assert found.converged
    assert (found.solutions[:, 0] >= 3).all() and (found.solutions[:, 1] <= 0).all()
    only = invert(square_norm, torch.tensor([2.0], dtype=torch.float64), box=([1.0, 1.0], [2.0, 2.0]))
    assert only.converged and torch.allclose(only.solutions, torch.ones(1, 2).double(), atol=1e-3)


def test_starts_where_the_units_are_saturated_are_given_up_for_others():
    def network(x):
        return torch.sigmoid(1e4 * (x - 0.9))  # flat but for a thousandth of the box

    found = invert(network, torch.tensor([0.3], dtype=torch.float64), box=([0.0], [1.0]), restarts=4, enough=1)
    assert found.converged
    assert abs(found.solutions[0, 0] - 0.9 + math.log(7 / 3) / 1e4) < 1e-6


def test_the_network_is_left_as_it_was():
    network = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 1))
    network[0].weight.requires_grad_(False)
    network[3].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        invert(network, [0.0], method="gradient", max_evaluations=500)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [module.training for module in network] == [True, True, True, False]
    assert [parameter.requires_grad for parameter in network.parameters()] == [False, *[True] * 5]
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_network_that_changes_itself_is_refused():
    class Counter(nn.Linear):
        def forward(self, x):
            self.bias.data += 1
            return super().forward(x)

    with pytest.raises(OptionError, match="changes its own bias"):
        invert(Counter(2, 1), [0.0], max_evaluations=100)


def test_gradients_are_computed_under_no_grad_and_inference_mode():
    network = mlp(2, 1)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert invert(network, [0.2], restarts=2).converged


def test_enough_ends_the_search():
    few, all_of_them = (invert(square_norm, [1.0], inputs=2, enough=enough) for enough in (1, None))
    assert few.converged and few.evaluations < all_of_them.evaluations


def test_a_network_without_gradients_is_searched_without_them():
    def network(x):
        return (x.abs() * 4).round().sum(1)

    found = invert(network, [5.0], box=([-1.0, -1.0], [1.0, 1.0]), method="genetic")
    assert found.converged
    with pytest.raises(OptionError, match="no gradient by its inputs"):
        invert(lambda x: x.detach().sum(1), [5.0], inputs=2)


def test_inputs_without_a_finite_output_are_passed_over():
    found = invert(lambda x: x.log().sum(1), [0.0], inputs=2)
    assert found.converged and (found.solutions > 0).all()
    with pytest.raises(NonFiniteError, match="nan or infinity for all"):
        invert(lambda x: x.sum(1) * math.nan, [0.0], inputs=2, max_evaluations=1000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "newton"}, "unknown method 'newton': choose 'lbfgs', .* or 'boundary'"),
        ({"learning_rate": 0.1}, "lbfgs has no option 'learning_rate'; its options are memory, patience"),
        ({"method": "gradient", "step": "newton"}, "unknown step 'newton'"),
        ({"method": "gradient", "learning_rate": 0}, "learning_rate must be finite and above 0"),
        ({"method": "genetic"}, "genetic searches a bounded box"),
        ({"method": "boundary", "box": (0, math.inf)}, "boundary searches a bounded box"),
        ({"method": "exhaustive", "box": (0, 1), "restarts": 3}, "leave restarts out"),
        (
            {"method": "exhaustive", "box": (0, 1), "grid": 1000},
            "1,000,000 points are more than max_evaluations, 200,000",
        ),
        ({"method": "genetic", "box": (0, 1), "population": 2}, "population must be at least 3"),
        ({"restarts": 0}, "restarts must be at least 1"),
        ({"tolerance": 0.0}, "tolerance must be finite and above 0"),
        ({"max_evaluations": 10}, "max_evaluations must be at least 32"),
        ({"box": 3}, "box must be a pair"),
        ({"box": (1, 0)}, "each lower bound of the box must be below"),
        ({"box": ([0.0, 0.0, 0.0], [1.0, 1.0])}, "length of the network's input vectors must be known, got 2 and 3"),
        ({"inputs": 3}, r"cannot take a batch of inputs of shape \(32, 3\)"),
        ({"mask": [False]}, "one of them true"),
        ({"mask": [1.0]}, "mask must have a boolean"),
        ({"target": [0.0, 1.0]}, r"must map inputs \(32, 2\) to \(32, 2\), .* got \(32, 1\)"),
        ({"target": [math.nan]}, "target must be finite numbers"),
        ({"target": ["a"]}, r"target must be numbers, got \['a'\]"),
        ({"target": None}, "target must be numbers, got None"),
        ({"box": ("a", 1)}, "box must be numbers, got 'a'"),
        ({"target": []}, "target must be finite numbers"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        invert(mlp(2, 1), **({"target": [0.0]} | arguments))


def test_the_number_of_inputs_of_a_function_must_be_known():
    with pytest.raises(OptionError, match="must be known, got none; set inputs"):
        invert(square_norm, [1.0])
