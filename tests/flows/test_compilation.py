"""Compiled and exported flows: one graph for any batch size."""

import pytest
import torch

from inverseflow.flows import InverseFlow
from tests.contracts.registry import perturb

METHODS = ("log_prob", "encode", "decode", "sample")


@pytest.fixture(
    scope="module", params=[pytest.param(None, marks=pytest.mark.slow), 2], ids=["unconditional", "conditional"]
)
def flow(request):
    torch.manual_seed(0)
    options = {"levels": 5, "scales": 1, "steps": 1, "width": 2, "spline_bins": 3}
    return perturb(InverseFlow((1, 2, 4), **options, context_channels=request.param)).eval()


def arguments(flow, method, n):
    inputs = {"sample": n, "decode": torch.randn(n, flow.dims)}
    x = inputs.get(method, torch.randint(5, (n, 1, 2, 4), dtype=torch.uint8))
    return (x, torch.randn(n, 2)) if flow.resolved_options["context_channels"] else (x,)


@pytest.mark.parametrize("method", METHODS)
def test_a_compiled_flow_is_one_graph_for_all_batch_sizes(flow, method):
    torch.compiler.reset()
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph

    plain = getattr(flow, method)
    fast = torch.compile(plain, backend=backend, fullgraph=True, dynamic=True)
    with torch.no_grad():
        for n in (3, 5, 2):
            given = arguments(flow, method, n)
            torch.manual_seed(1)
            expected = plain(*given)
            torch.manual_seed(1)
            torch.testing.assert_close(fast(*given), expected)
    assert len(graphs) == 1


@pytest.mark.parametrize("method", [method for method in METHODS if method != "sample"])
def test_an_exported_flow_takes_any_batch_size(flow, method):
    class Method(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.flow = flow

        def forward(self, *given):
            return getattr(self.flow, method)(*given)

    example, given = arguments(flow, method, 3), arguments(flow, method, 5)
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(Method(), example, dynamic_shapes=(tuple({0: batch} for _ in example),)).module()
    results = []
    for function in (exported, Method()):
        torch.manual_seed(1)
        results.append(function(*given))
    torch.testing.assert_close(*results)
