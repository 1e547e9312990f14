import torch
from torch import nn

from inverseflow import flows
from inverseflow.training.loop.nonfinite import first_non_finite_layer, last_non_finite_gradient


class Breaks(nn.Module):
    def forward(self, x):
        return x, torch.full((len(x),), torch.inf)


def test_a_finite_forward_pass_has_no_culprit():
    model = nn.Linear(2, 2)

    assert first_non_finite_layer(model, lambda: model(torch.ones(1, 2))) is None


def test_an_infinite_log_det_is_told_from_an_infinite_output():
    model = Breaks()

    assert first_non_finite_layer(model, lambda: model(torch.ones(1, 2))) == "the log-det of the flow (Breaks)"


def test_a_parameter_is_found_before_anything_is_computed():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    nn.init.constant_(model[1].bias, torch.nan)

    assert first_non_finite_layer(model, lambda: None) == "the parameter 1.bias"


def test_the_first_layer_of_a_flow_that_overflows_is_named_by_its_path():
    flow = flows.create("inverse-flow", (1, 8, 8), levels=17, scales=2, steps=2, width=8)
    name, layer = next((name, layer) for name, layer in flow.named_modules() if type(layer).__name__ == "ActNorm")
    handle = layer.register_forward_hook(lambda module, args, output: (output[0] / 0, output[1]))
    images = torch.randint(17, (3, 1, 8, 8), dtype=torch.uint8)
    try:
        found = first_non_finite_layer(flow, lambda: flow(images))
    finally:
        handle.remove()

    assert found == f"the output of {name} (ActNorm), scale 1, step 1"


def test_no_hook_is_left_behind():
    model = nn.Linear(2, 2)
    first_non_finite_layer(model, lambda: model(torch.ones(1, 2)))

    assert not model._forward_hooks


def test_the_gradient_nearest_to_the_loss_is_named():
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1))
    for layer, value in zip(model, (torch.nan, torch.nan, 1.0), strict=True):
        layer.weight.grad = torch.full((1, 1), value)

    assert last_non_finite_gradient(model.named_parameters()) == "1.weight"
