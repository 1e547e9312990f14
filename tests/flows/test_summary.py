import pytest
from torch import nn

from inverseflow import flows
from inverseflow.bijections import AffineCoupling
from inverseflow.flows import Flow
from inverseflow.flows.summary import architecture
from inverseflow.nets import MLP


def test_a_flow_is_shown_as_a_tree_in_which_like_steps_stand_once():
    with pytest.warns(UserWarning, match="two couplings in a row transform the same elements"):
        flow = flows.create("glow", (1, 8, 8), scales=1, steps=3, width=8, spline="none", conv1x1="none")

    assert architecture(flow).splitlines() == [
        "layer                                                       shape      parameters",
        "Glow                                                        (1, 8, 8)  1,584",
        "├─ Dequantize(levels=256)                                   (1, 8, 8)",
        "├─ Logit(alpha=1e-06)                                       (1, 8, 8)",
        "├─ Multiscale                                               (64,)      1,584",
        "│  └─ scale 1: Compose                                      (4, 4, 4)  1,584",
        "│     ├─ Squeeze(factor=2)                                  (4, 4, 4)",
        "│     └─ 3 × Step                                           (4, 4, 4)  3 × 528",
        "│        ├─ ActNorm(channels=4)                             (4, 4, 4)  8",
        "│        └─ AffineCoupling(channels=4, num_conditioning=2)  (4, 4, 4)  520",
        "└─ base StandardNormal(dims=64)",
    ]


def test_a_corner_is_told_unless_steps_shown_as_one_differ_in_it():
    def convolution(steps):
        flow = flows.create("inverse-flow", (1, 8, 8), levels=17, scales=1, steps=steps, width=4)
        (line,) = [line for line in architecture(flow).splitlines() if "InverseConv2d" in line]
        return line

    assert "kernel_size=(3, 3), corner=varies)" in convolution(4)
    assert "corner='top_left')" in convolution(1)


def test_what_is_done_to_the_context_is_shown_with_its_shape_and_parameters():
    coupling = AffineCoupling(2, MLP(1 + 3, 2, width=4), context_channels=3)
    lines = architecture(Flow(coupling, (2,), embedding=nn.Linear(5, 3), context_shape=(5,))).splitlines()
    assert lines[2].split(maxsplit=4)[:3] == ["├─", "context:", "Linear(in_features=5,"]
    assert lines[2].split()[-2:] == ["(3,)", "18"]


def test_steps_of_a_flow_of_vectors_are_shown_once_although_their_halves_take_turns():
    lines = architecture(flows.create("nsf", (7,), steps=5, width=8)).splitlines()
    assert [line.split("  ")[0].split("(")[0].strip() for line in lines] == [
        "layer", "NSF", "├─ Standardize", "├─ Compose", "│", "│", "│", "│", "└─ base StandardNormal",
    ]  # fmt: skip
    assert lines[4].lstrip("│ ").startswith("├─ Coupling(") and "└─ 4 × step" in lines[5]
    step = flows.create("nsf", (7,), steps=5, width=8).bijection.layers[1:]
    total = sum(parameter.numel() for layer in step for parameter in layer.parameters())
    assert lines[5].split()[-1] == f"{total:,}"
