import json

import pytest
import torch

from inverseflow.bijections import ActNorm
from inverseflow.densities import registry as registry_module
from inverseflow.errors import CheckpointError
from inverseflow.flows import Flow, Glow, InverseFlow, create, flow_class, names, register


@pytest.fixture
def own_registry(monkeypatch):
    """Lets a test register flows that the other tests don't see."""
    monkeypatch.setattr(registry_module, "_DENSITIES", dict(registry_module._DENSITIES))


def test_the_ready_made_flows_go_by_name():
    assert {"glow", "inverse-flow"} <= set(names())
    assert flow_class("inverse-flow") is InverseFlow
    flow = create("glow", (1, 4, 4), levels=5, scales=1, steps=1, width=2)
    assert type(flow) is Glow
    assert (flow.levels, flow.event_shape) == (5, (1, 4, 4))


def test_an_unknown_name_is_refused_with_the_known_ones():
    for function in (flow_class, lambda name: create(name, (1, 4, 4))):
        with pytest.raises(ValueError, match="unknown flow 'nobody': choose one of .*glow, .*inverse-flow, "):
            function("nobody")


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'glow' has no option kernel_size; it has levels, scales, steps, .*spline"):
        create("glow", (1, 4, 4), kernel_size=3)
    with pytest.raises(ValueError, match="has no option bins, self; it has"):
        create("glow", (1, 4, 4), bins=3, **{"self": 1})


def test_a_flow_remembers_all_of_its_options_in_terms_that_json_knows():
    flow = InverseFlow((1, 4, 4), scales=1, steps=1, width=2)
    assert flow.config["density"] == "inverse-flow"
    options = json.loads(json.dumps(flow.config["options"]))
    assert options["event_shape"] == [1, 4, 4]
    assert (options["scales"], options["kernel_size"], options["max_row_sum"]) == (1, 3, None)
    again = create("inverse-flow", **options)
    assert repr(again) == repr(flow)
    assert again.event_shape == (1, 4, 4)


def test_a_flow_of_ones_own_is_registered_saved_and_loaded(own_registry, tmp_path):
    @register("whitening")
    class Whitening(Flow):
        def __init__(self, event_shape, *, levels=None):
            super().__init__(ActNorm(event_shape[0]), event_shape, levels=levels)

    assert "whitening" in names()
    flow = create("whitening", (3,))
    flow.initialize(5 + torch.randn(50, 3))
    flow.save_pretrained(tmp_path)
    loaded = Whitening.from_pretrained(tmp_path)
    x = torch.randn(4, 3)
    assert torch.equal(loaded.log_prob(x), flow.log_prob(x))


def test_two_flows_cannot_share_a_name(own_registry):
    with pytest.raises(ValueError, match="the name 'glow' already belongs to Glow"):

        @register("glow")
        class Other(Flow):
            pass

    assert flow_class("glow") is Glow


def test_a_subclass_that_is_not_registered_is_not_saved_under_the_name_of_its_parent(tmp_path):
    class Mine(Glow):
        pass

    flow = Mine((1, 4, 4), scales=1, steps=1, width=2)
    assert flow.config is None
    with pytest.raises(
        CheckpointError, match=r"Mine is not a registered density, .* @inverseflow.densities.register\(name\)"
    ):
        flow.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_positional_arguments_are_remembered_by_name(own_registry):
    @register("positional")
    class Positional(Flow):
        def __init__(self, event_shape, shift):
            super().__init__(ActNorm(event_shape[0]), event_shape)

    assert Positional((2,), 7).config["options"] == {"event_shape": (2,), "shift": 7}
