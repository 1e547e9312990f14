"""The numbers a flow computes with: dtypes, devices without memory, and arrays of other libraries."""

import numpy as np
import pytest
import torch

from inverseflow.bijections import ActNorm
from inverseflow.flows import Flow, InverseFlow
from tests.contracts.registry import FLOWS, each, each_flow


@each_flow
def test_a_flow_built_without_memory_is_the_same_once_its_weights_are_loaded(case):
    flow = case.perturbed("cpu", torch.float32)
    with torch.device("meta"):
        other = case.build()
    other.to_empty(device="cpu").load_state_dict(flow.state_dict())
    x, context = case.data(2, "cpu", torch.float32), case.draw_context(2, "cpu", torch.float32)
    for method in (lambda model: model.log_prob(x, context), lambda model: model.sample(2, context)):
        results = []
        for model in (flow, other):
            torch.manual_seed(1)
            results.append(method(model))
        assert torch.equal(*results)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@each_flow
def test_a_flow_of_half_precision_works_in_both_directions(case, dtype):
    torch.manual_seed(0)
    flow = case.build().eval()
    x, context = case.data(4, "cpu", torch.float32), case.draw_context(4, "cpu", torch.float32)
    torch.manual_seed(1)
    expected = flow.bits_per_dim(x, context)
    flow.to(dtype)
    x = x.to(dtype) if x.is_floating_point() else x
    torch.manual_seed(1)
    bits = flow.bits_per_dim(x, context)
    assert bits.dtype == torch.float32
    assert (bits - expected).abs().max() < 0.3
    z = flow.encode(x, context)
    assert z.dtype == dtype
    assert flow.decode(z, context).dtype == x.dtype
    sample = flow.sample(3, None if context is None else context[:1])
    assert sample.dtype == x.dtype
    assert sample.float().isfinite().all()


@each([case for case in FLOWS if case.context is not None])
def test_a_context_may_have_any_dtype(case):
    flow = case.perturbed("cpu", torch.float32)
    x, labels = case.data(2, "cpu", torch.float32), torch.tensor([[1, 0], [0, 1]])
    torch.manual_seed(1)
    expected = flow.log_prob(x, labels.float())
    for context in (labels, labels.double(), labels.bool()):
        torch.manual_seed(1)
        assert torch.equal(flow.log_prob(x, context), expected)
    assert flow.sample(2, labels).shape == x.shape


def test_an_unconditional_flow_ignores_a_context():
    flow, x = Flow(ActNorm(2), (2,)), torch.randn(3, 2)
    assert torch.equal(flow.log_prob(x, torch.randn(3, 7)), flow.log_prob(x))


@pytest.mark.parametrize("method", ["log_prob", "bits_per_dim", "encode", "decode", "initialize", "round_trip_error"])
def test_an_array_is_refused_with_the_way_to_convert_it(method):
    flow = InverseFlow((1, 4, 4), levels=None, scales=1, steps=1, width=2)
    with pytest.raises(TypeError, match=r"takes tensors, got ndarray; convert with torch.as_tensor\("):
        getattr(flow, method)(np.zeros((2, 16) if method == "decode" else (2, 1, 4, 4), dtype=np.float32))


def test_a_context_that_is_an_array_is_refused():
    flow = InverseFlow((1, 4, 4), levels=None, scales=1, steps=1, width=2, context_channels=2)
    with pytest.raises(TypeError, match="a context is a tensor, got ndarray"):
        flow.sample(2, np.zeros((2, 2), dtype=np.float32))
    with pytest.raises(TypeError, match="a context is a tensor, got list"):
        flow.log_prob(torch.randn(1, 1, 4, 4), [[0.0, 1.0]])


@pytest.mark.parametrize("count", [np.int64(2), np.uint8(2), torch.tensor(2)])
def test_the_number_of_samples_may_come_from_any_library(count):
    assert Flow(ActNorm(2), (2,)).sample(count).shape == (2, 2)


@pytest.mark.parametrize("count", [2.0, "2", None, True])
def test_a_number_of_samples_that_is_no_whole_number_is_refused(count):
    with pytest.raises(TypeError, match="the number of samples must be a whole number, got"):
        Flow(ActNorm(2), (2,)).sample(count)
