"""Compiled and exported layers and flows are one graph and compute the same numbers.

In most cases PyTorch itself runs the captured graph, and one case stands for each class, because the capture is the
part that can fail: a branch on a value, an operator without a fake implementation, a size that is fixed by accident.
Some are also traced through autograd. One goes through code generation, which takes seconds and tests PyTorch more
than us.
"""

import shutil

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from tests.contracts.registry import FLOWS, LAYERS, ONE_OF_EACH_CLASS, each


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()


def compiled(module, backend, fullgraph=True):
    """Compile into one graph, or fail."""
    return torch.compile(module, fullgraph=fullgraph, backend=backend, dynamic=False)


def there_and_back(layer):
    """Return both directions as one function, so that one capture covers them."""

    def run(x, context):
        z, log_det = layer(x, context)
        back, log_det_back = layer.inverse(z, context)
        return z, log_det, back, log_det_back

    return run


def outputs(function, x, context):
    torch.manual_seed(7)
    return function(x, context)


def gradients(function, module, x, context):
    module.zero_grad()
    results = [result for result in outputs(function, x, context) if result.requires_grad]
    sum(result.square().sum() for result in results).backward()
    return [parameter.grad.clone() for parameter in module.parameters()]


def named(cases, *names):
    return each([case for case in cases if case.name in names])


CONDITIONAL = [case for case in LAYERS if case.context is not None and case not in ONE_OF_EACH_CLASS]


class Directions(torch.nn.Module):
    """One function of both directions of a layer, so that one capture covers them; of an iterated one only forward."""

    def __init__(self, layer, iterative):
        super().__init__()
        self.layer = layer
        self.iterative = iterative

    def forward(self, x, context):
        return self.layer(x, context) if self.iterative else there_and_back(self.layer)(x, context)


def batches_of_two_sizes(case, device, dtype):
    return [(case.data(batch, device, dtype), case.draw_context(batch, device, dtype)) for batch in (4, 7)]


LARGE = ["MaCow", "QuadCoupling", "Butterfly"]  # several layers of kinds that are here too
LARGE += [case.name for case in CONDITIONAL if not case.name.startswith("AffineCoupling")]
QUICK, SLOW = (
    [case for case in ONE_OF_EACH_CLASS + CONDITIONAL if (case.name in LARGE) is large] for large in (False, True)
)


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.name) for case in QUICK]
    + [pytest.param(case, id=case.name, marks=pytest.mark.slow) for case in SLOW],
)
def test_both_directions_of_a_layer_are_one_graph_for_every_batch_size(case, device, dtype):
    skip_unless_traceable(case)
    function = Directions(case.perturbed(device, dtype), case.iterative)
    counter = CompileCounter()
    fast = compiled(function, counter)
    for x, context in batches_of_two_sizes(case, device, dtype):
        for tensor in (x, context):
            if tensor is not None:
                torch._dynamo.mark_dynamic(tensor, 0)
        torch.testing.assert_close(outputs(fast, x, context), outputs(function, x, context))
    assert counter.frame_count == 1


def skip_unless_traceable(case):
    if case.name == "PeriodicConv2d" and torch.__version__ < "2.7":
        pytest.skip("torch 2.6 can't trace a Fourier transform")


def check_export(case, device, dtype):
    skip_unless_traceable(case)
    function = Directions(case.perturbed(device, dtype), case.iterative)
    (x, context), other = batches_of_two_sizes(case, device, dtype)
    batch = {0: torch.export.Dim("batch")}
    shapes = (batch, None if context is None else batch)
    exported = torch.export.export(function, (x, context), dynamic_shapes=shapes).module()
    torch.testing.assert_close(outputs(exported, *other), outputs(function, *other))


@named(LAYERS, "LUConv1x1", "PeriodicConv2d", "InverseConv2d", "AffineCoupling-conditional")
def test_a_layer_is_exported_with_a_batch_of_any_size(case, device, dtype):
    check_export(case, device, dtype)


@pytest.mark.slow
@each(ONE_OF_EACH_CLASS + CONDITIONAL)
def test_every_layer_is_exported_with_a_batch_of_any_size(case, device, dtype):
    check_export(case, device, dtype)


def check_iterated_inverse(case, device, dtype):
    function = there_and_back(case.perturbed(device, dtype))
    x, context = case.data(2, device, dtype), case.draw_context(2, device, dtype)
    fast = compiled(function, "eager", fullgraph=False)
    torch.testing.assert_close(outputs(fast, x, context), outputs(function, x, context))


dynamo_hides_a_warning = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@dynamo_hides_a_warning
@named(LAYERS, "MintNet", "Planar")
def test_an_inverse_that_iterates_does_so_outside_of_the_graph(case, device, dtype):
    check_iterated_inverse(case, device, dtype)


@pytest.mark.slow
@dynamo_hides_a_warning
@each([case for case in ONE_OF_EACH_CLASS if case.iterative])
def test_every_inverse_that_iterates_does_so_outside_of_the_graph(case, device, dtype):
    check_iterated_inverse(case, device, dtype)


@named(FLOWS, "inverse-flow-discrete-conditional")
def test_the_likelihood_of_a_flow_is_one_graph(case, device, dtype):
    flow = case.perturbed(device, dtype)
    x, context = case.data(2, device, dtype), case.draw_context(2, device, dtype)
    torch.testing.assert_close(outputs(compiled(flow, "eager"), x, context), outputs(flow, x, context))


@named(LAYERS, "InverseConv2d-all", "AffineCoupling-conditional")
def test_a_layer_traced_through_autograd_has_the_same_values_and_gradients(case, device, dtype):
    layer = case.perturbed(device, dtype)
    x, context = case.data(2, device, dtype), case.draw_context(2, device, dtype)
    function = there_and_back(layer)
    fast = compiled(function, "aot_eager")
    torch.testing.assert_close(outputs(fast, x, context), outputs(function, x, context))
    torch.testing.assert_close(gradients(fast, layer, x, context), gradients(function, layer, x, context))


@pytest.mark.slow
@named(FLOWS, "inverse-flow-continuous")
def test_a_flow_traced_through_autograd_has_the_same_values_and_gradients(case, device, dtype):
    flow = case.perturbed(device, dtype)
    x = case.data(2, device, dtype)
    fast = compiled(flow, "aot_eager")
    torch.testing.assert_close(fast(x), flow(x))
    torch.testing.assert_close(gradients(fast, flow, x, None), gradients(flow, flow, x, None))


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"
)  # torch's own use of it
@pytest.mark.skipif(shutil.which("c++") is None, reason="code generation for the CPU needs a C++ compiler")
@named(LAYERS, "CausalConv2d-free-diagonal")
def test_generated_code_computes_the_same(case, device, dtype):
    function = there_and_back(case.perturbed(device, dtype))
    x = case.data(2, device, dtype)
    with torch.no_grad():
        torch.testing.assert_close(compiled(function, "inductor")(x, None), function(x, None))
