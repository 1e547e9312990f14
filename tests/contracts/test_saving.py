"""A state dictionary, a copy, a pickle and a folder on disk all restore the same layer or flow."""

import copy
import io
import pickle

import pytest
import torch

from inverseflow.flows import Flow
from tests.contracts.registry import KINDS_OF_FLOWS, ONE_OF_EACH_CLASS, each, each_flow


def through_a_file_of_weights(module, case):
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other = case.build().to(dtype=torch.float64)
    other.load_state_dict(torch.load(file, weights_only=True))
    return other


def through_a_deep_copy(module, case):
    return copy.deepcopy(module)


def through_a_pickle(module, case):
    return pickle.loads(pickle.dumps(module))


def outputs(module, x, context):
    torch.manual_seed(7)
    return module(x, context)


@pytest.mark.parametrize("way", [through_a_file_of_weights, through_a_deep_copy, through_a_pickle])
@each(ONE_OF_EACH_CLASS + KINDS_OF_FLOWS)
def test_it_computes_the_same_to_the_bit(case, way, device):
    module = case.perturbed(device, torch.float64)
    x, context = case.data(3, device, torch.float64), case.draw_context(3, device, torch.float64)
    other = way(module, case).to(device)
    torch.testing.assert_close(outputs(other, x, context), outputs(module, x, context), rtol=0, atol=0)


KNOWN = {"initialized", "mean", "deviation", "variance", "matrix", "permutation", "unpermutation", "signs"}
KNOWN |= {"log_weights", "means", "factors"}  # of a known mixture
"""Buffers that hold what was given, drawn or learned from data."""


@each(ONE_OF_EACH_CLASS + KINDS_OF_FLOWS)
def test_a_copy_shares_nothing_with_the_original(case):
    module = case.perturbed("cpu", torch.float64)
    other = copy.deepcopy(module)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    for value in other.state_dict().values():
        value.zero_()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@each(ONE_OF_EACH_CLASS + KINDS_OF_FLOWS)
def test_only_parameters_and_what_was_drawn_or_learned_from_data_is_saved(case):
    module = case.build()
    parameters = {name for name, _ in module.named_parameters()}
    extra = {name.rpartition(".")[2] for name in set(module.state_dict()) - parameters}
    assert extra <= KNOWN


@each_flow
def test_a_flow_comes_back_from_its_folder(case, tmp_path, device):
    flow = case.perturbed(device, torch.float32)
    flow.save_pretrained(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]
    x, context = case.data(3, device, torch.float32), case.draw_context(3, device, torch.float32)
    for loaded in (type(flow).from_pretrained(tmp_path / "model"), Flow.from_pretrained(str(tmp_path / "model"))):
        assert type(loaded) is type(flow)
        assert repr(loaded) == repr(flow)
        loaded.to(device)
        torch.testing.assert_close(outputs(loaded, x, context), outputs(flow, x, context), rtol=0, atol=0)


@each(KINDS_OF_FLOWS)
def test_a_flow_of_double_precision_comes_back_in_double_precision(case, tmp_path):
    flow = case.perturbed("cpu", torch.float64)
    flow.save_pretrained(tmp_path)
    loaded = Flow.from_pretrained(tmp_path)
    x, context = case.data(3, "cpu", torch.float64), case.draw_context(3, "cpu", torch.float64)
    torch.testing.assert_close(outputs(loaded, x, context), outputs(flow, x, context), rtol=0, atol=0)


@each_flow
def test_a_flow_saved_twice_is_the_same_file(case, tmp_path):
    flow = case.perturbed("cpu", torch.float32)
    flow.save_pretrained(tmp_path / "a")
    Flow.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
