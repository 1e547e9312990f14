"""Exported densities compute the same in plain operators, and as ONNX files in another runtime."""

import re
import sys

import pytest
import torch
from torch import nn

from inverseflow.bijections import AffineCoupling, InverseConv2d
from inverseflow.densities import export_onnx, exportable
from inverseflow.errors import MissingPackageError
from inverseflow.flows import Flow, create, names
from inverseflow.nets import MLP
from inverseflow.ops.decompositions import export_decompositions
from tests.contracts.registry import FLOWS, perturb

# Also in docs/faq.md.
NOT_EXPORTED = {
    "exponential": ["log_prob_at_center", "encode", "decode"],
    "iresnet": ["log_prob_at_center", "decode"],
    "iresnet-image": ["log_prob_at_center", "decode"],
    "mintnet": ["decode"],
    "periodic": ["log_prob_at_center", "encode", "decode"],
    "planar-flow": ["decode"],
    "realnvp-image": ["log_prob_at_center", "encode", "decode"],
    "rosenblatt": ["decode"],
    "self-normalizing": ["log_prob_at_center", "encode", "decode"],
    "woodbury": ["log_prob_at_center", "encode", "decode"],
}


def small(name="inverse-flow", **options):
    torch.manual_seed(0)
    defaults = {"levels": None, "scales": 1, "steps": 1, "width": 2, "spline_bins": 3}
    return perturb(create(name, (1, 4, 6), **{**defaults, **options})).eval()


def inputs(flow, method, n=5):
    torch.manual_seed(1)
    x = torch.randn(n, flow.dims) if method == "decode" else torch.randn(n, *flow.event_shape)
    return (x, torch.randn(n, 2)) if flow.resolved_options["context_channels"] else (x,)


def operators(program):
    return {str(node.target) for node in program.graph.nodes if node.op == "call_function"}


def assert_exported_alike(flow, method, given):
    program = exportable(flow, method)
    assert not [name for name in operators(program) if "inverseflow" in name or "searchsorted" in name]
    with torch.no_grad():
        torch.testing.assert_close(program.module()(*given), getattr(flow, method)(*given), rtol=1e-4, atol=1e-4)


def test_an_exported_solve_is_plain_operators_and_computes_the_same():
    flow = perturb(Flow(InverseConv2d(1, 2), (1, 4, 6))).eval()
    assert_exported_alike(flow, "encode", (torch.randn(5, 1, 4, 6),))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["log_prob", "encode", "decode"])
def test_an_exported_flow_is_plain_operators_and_computes_the_same(method):
    flow = small(context_channels=2)
    assert_exported_alike(flow, method, inputs(flow, method))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["log_prob", "encode", "decode"])
@pytest.mark.parametrize("name", ["inverse-flow", "glow", "arma"])
def test_another_runtime_computes_the_same_for_any_batch_size(name, method, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    flow = small(name, context_channels=2).train()
    export_onnx(flow, tmp_path / "m.onnx", method)
    assert flow.training
    session = runtime.InferenceSession(tmp_path / "m.onnx")
    names = ["z" if method == "decode" else "x", "context"]
    assert ([given.name for given in session.get_inputs()], session.get_outputs()[0].name) == (names, method)
    for n in (1, 5):
        given = inputs(flow, method, n)
        (found,) = session.run(None, {name: tensor.numpy() for name, tensor in zip(names, given, strict=True)})
        with torch.no_grad():
            expected = getattr(flow, method)(*given)
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_layer_without_onnx_form_is_refused_in_one_sentence(tmp_path):
    pytest.importorskip("onnxscript")
    flow = small("glow", conv1x1="dense")
    with pytest.raises(NotImplementedError, match=r"^Glow.log_prob can't be exported to ONNX: the operator aten\."):
        export_onnx(flow, tmp_path / "m.onnx", "log_prob")
    assert not (tmp_path / "m.onnx").exists()


def test_without_the_extra_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'inverseflow\[export\]'"):
        export_onnx(small(), tmp_path / "m.onnx")


def test_a_density_without_the_method_is_refused(tmp_path):
    with pytest.raises(NotImplementedError, match="Flow has no method 'invert' to export"):
        export_onnx(Flow(small().bijection, (1, 4, 6)), tmp_path / "m.onnx", "invert")


def test_a_flow_that_summarizes_its_context_is_exported_with_contexts_of_their_own_shape():
    coupling = AffineCoupling(2, MLP(1 + 3, 2, width=4), context_channels=3)
    summary = nn.Sequential(nn.Flatten(), nn.Linear(8, 3))
    flow = perturb(Flow(coupling, (2,), embedding=summary, context_shape=(4, 2))).eval()
    assert_exported_alike(flow, "log_prob", (torch.randn(5, 2), torch.randn(5, 4, 2)))


def refused_by_the_exporter(case, tmp_path):
    """Return the methods of a flow that are refused; the others must compute the same in another runtime."""
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    flow = perturb(case.build()).float().eval()
    refused = []
    for method in ("log_prob_at_center", "encode", "decode"):
        torch.manual_seed(1)
        x = torch.randn(5, flow.dims) if method == "decode" else case.data(5, "cpu", torch.float32)
        given = [x, *([torch.randn(5, *case.context)] if case.context else [])]
        try:
            export_onnx(flow, tmp_path / f"{method}.onnx", method)
        except NotImplementedError as error:
            assert re.search(r"\(\w+\) depends on|has no ONNX form$", str(error)), error
            refused.append(method)
            continue
        session = runtime.InferenceSession(tmp_path / f"{method}.onnx")
        wanted = [node.name for node in session.get_inputs()]
        (found,) = session.run(None, {key: tensor.numpy() for key, tensor in zip(wanted, given, strict=True)})
        with torch.no_grad():
            expected = getattr(flow, method)(*given)
        largest = max(1.0, float(expected.abs().max()))  # random weights make some sums of large terms
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4 * largest)
    return refused


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", names())
def test_every_registered_flow_computes_the_same_in_another_runtime_or_says_which_layer_cannot(name, tmp_path):
    case = next(case for case in FLOWS if case.context is None and case.build().config["density"] == name)
    refused = refused_by_the_exporter(case, tmp_path)
    assert refused == NOT_EXPORTED.get(name, []), "docs/faq.md lists what can't be exported"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("image-mixture-gated", ["decode"]),
        ("image-vit-conditional", []),
        ("image-variational", ["decode"]),
    ],
)
def test_blocks_of_image_flows_compute_the_same_in_another_runtime_or_say_which_layer_cannot(name, refused, tmp_path):
    case = next(case for case in FLOWS if case.name == name)
    assert refused_by_the_exporter(case, tmp_path) == refused, "docs/faq.md lists what can't be exported"


@pytest.mark.parametrize("name", ["planar-flow", "iresnet"])
def test_an_inverse_that_iterates_is_refused_with_the_layer(name, capsys):
    flow = create(name, (2,), steps=1)
    layer = {"planar-flow": "Planar", "iresnet": "Residual"}[name]
    refusal = rf"decode can't be exported to ONNX: bijection\S* \({layer}\) depends on"
    with pytest.raises(NotImplementedError, match=refusal):
        exportable(flow.eval(), "decode")
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maf", "nsf-ar"])
def test_the_inverse_of_an_autoregressive_layer_is_unrolled(name):
    flow = perturb(create(name, (2,), steps=1, width=4)).eval()
    assert_exported_alike(flow, "decode", (torch.randn(5, 2),))


@pytest.mark.parametrize("order", [1, 2, 3.5, float("inf"), float("-inf")])
@pytest.mark.parametrize("dim", [None, [1]])
def test_a_norm_in_plain_operators_is_the_norm(order, dim):
    x = torch.tensor([[3.0, -4.0, 0.5], [1.0, 2.0, -2.0]])
    plain = export_decompositions()[torch.ops.aten.linalg_vector_norm.default]
    for keepdim in (False, True):
        torch.testing.assert_close(plain(x, order, dim, keepdim), torch.linalg.vector_norm(x, order, dim, keepdim))
