from inverseflow import flows
from inverseflow.flows.summary import architecture


def lines_of(steps: int) -> list[str]:
    flow = flows.create("inverse-flow", (1, 8, 8), levels=17, scales=1, steps=steps, width=4)
    return [line for line in architecture(flow).splitlines() if "InverseConv2d" in line]


def test_steps_with_different_corners_shown_as_one_do_not_claim_the_corner_of_the_first():
    (line,) = lines_of(steps=4)

    assert "kernel_size=(3, 3), corner=varies)" in line


def test_a_single_step_tells_its_corner():
    (line,) = lines_of(steps=1)

    assert "corner='top_left')" in line
