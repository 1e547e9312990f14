"""Compiled and exported flows: one graph for any batch size."""

import pytest
import torch

from inverseflow.bijections import AffineCoupling, Compose, InverseConv2d, Logit, Squeeze
from inverseflow.flows import Flow, InverseFlow
from inverseflow.nets import ConvNet
from tests.contracts.registry import perturb

METHODS = ("log_prob", "encode", "decode", "sample")


def small_flow():
    """Return a conditional flow whose layers take little time to trace."""
    coupling = AffineCoupling(4, ConvNet(2 + 2, 4, 2), context_channels=2)
    return Flow(Compose(InverseConv2d(1, 2), Squeeze(), coupling), (1, 2, 4), levels=5, preprocessing=Logit(0.05))


def whole_flow(context_channels):
    return InverseFlow(
        (1, 2, 4), levels=5, scales=1, steps=1, width=2, spline_bins=3, context_channels=context_channels
    )


@pytest.fixture(
    scope="module",
    params=[
        small_flow,
        pytest.param(lambda: whole_flow(None), marks=pytest.mark.slow),
        pytest.param(lambda: whole_flow(2), marks=pytest.mark.slow),
    ],
    ids=["small", "unconditional", "conditional"],
)
def flow(request):
    torch.manual_seed(0)
    return perturb(request.param()).eval()


def arguments(flow, method, n):
    inputs = {"sample": n, "decode": torch.randn(n, flow.dims)}
    x = inputs.get(method, torch.randint(5, (n, 1, 2, 4), dtype=torch.uint8))
    conditional = any(getattr(module, "context_channels", None) for module in flow.modules())
    return (x, torch.randn(n, 2)) if conditional else (x,)


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
        for n in (3, 5):
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
