import pytest
import torch

pytest.importorskip("FrEIA", reason="FrEIA is not installed: make test-interop")

from FrEIA import modules
from FrEIA.framework import ConditionNode, GraphINN, InputNode, Node, OutputNode, SequenceINN

from inverseflow.bijections import AdditiveCoupling, InverseConv2d
from inverseflow.flows import Flow
from inverseflow.interop import freia as interop
from inverseflow.nets import MLP, ConvNet
from tests.contracts.registry import perturb
from tests.interop.checks import check_bijection, our_bijection


def network(inputs, outputs):
    return MLP(inputs, outputs, width=8)


def their_sequence(context_channels=None):
    sequence = SequenceINN(4)
    condition = {} if context_channels is None else {"cond": 0, "cond_shape": (context_channels,)}
    sequence.append(modules.AllInOneBlock, subnet_constructor=network, **condition)
    sequence.append(modules.PermuteRandom, seed=0)
    sequence.append(modules.RNVPCouplingBlock, subnet_constructor=network, **condition)
    perturb(torch.nn.ParameterList(p for p in sequence.double().parameters() if p.requires_grad))  # not permutations
    return sequence


def inputs(context_channels):
    context = None if context_channels is None else torch.randn(3, context_channels).double()
    return torch.randn(3, 4).double(), context


@pytest.mark.parametrize("context_channels", [None, 2])
def test_their_sequence_is_a_bijection(context_channels):
    sequence = their_sequence(context_channels)
    x, context = inputs(context_channels)
    bijection = interop.as_bijection(sequence, context_channels=context_channels)
    z = check_bijection(bijection, x, context)
    torch.testing.assert_close(z, sequence(x, None if context is None else [context])[0])


def test_their_module_and_their_graph_are_bijections():
    module = perturb(modules.GLOWCouplingBlock([(4,)], dims_c=[(2,)], subnet_constructor=network).double())
    x, context = inputs(2)
    check_bijection(interop.as_bijection(module, context_channels=2), x, context)
    source, condition = InputNode(4), ConditionNode(2)
    block = Node(source, modules.GLOWCouplingBlock, {"subnet_constructor": network}, conditions=condition)
    graph = perturb(GraphINN([source, condition, block, OutputNode(block)]).double())
    check_bijection(interop.as_bijection(graph, context_channels=2), x, context)


def test_their_layers_of_images_change_shapes_or_take_a_condition_for_each_pixel():
    haar = interop.as_bijection(modules.HaarDownsampling([(2, 4, 4)]).double())
    assert haar.output_shape((2, 4, 4)) == (8, 2, 2)
    assert haar.input_shape((8, 2, 2)) == (2, 4, 4)
    check_bijection(haar, torch.randn(2, 2, 4, 4).double())
    permutation = interop.as_bijection(modules.PermuteRandom([(3,)], seed=0))  # its parameters are integers
    check_bijection(permutation, torch.randn(2, 3).double())
    block = modules.GLOWCouplingBlock(
        [(4, 2, 2)], dims_c=[(1, 2, 2)], subnet_constructor=lambda i, o: ConvNet(i, o, width=4)
    )
    bijection = interop.as_bijection(perturb(block.double()), context_channels=1)
    check_bijection(bijection, torch.randn(2, 4, 2, 2).double(), torch.randn(2, 1, 2, 2).double())


@pytest.mark.parametrize("context_channels", [None, 2])
def test_our_bijection_is_a_module_of_their_sequence(context_channels):
    bijection = our_bijection(4, context_channels)
    sequence = SequenceINN(4)
    condition = {} if context_channels is None else {"cond": 0, "cond_shape": (context_channels,)}
    sequence.append(interop.from_bijection, bijection=bijection, **condition)
    x, context = inputs(context_channels)
    conditions = None if context is None else [context]
    z, log_det = sequence(x, conditions)
    torch.testing.assert_close((z, log_det), bijection(x, context))
    torch.testing.assert_close(sequence(z, conditions, rev=True), bijection.inverse(z, context))
    (z.sum() + log_det.sum()).backward()
    assert all(parameter.grad is not None for parameter in sequence.parameters())


def test_our_convolution_is_a_node_of_their_graph():
    layer = perturb(InverseConv2d(8, diagonal="free").double())
    source = InputNode(2, 4, 4)
    haar = Node(source, modules.HaarDownsampling, {})
    ours = Node(haar, interop.from_bijection, {"bijection": layer})
    graph = GraphINN([source, haar, ours, OutputNode(ours)]).double()
    check_bijection(interop.as_bijection(graph), torch.randn(2, 2, 4, 4).double())


def test_building_a_flow_leaves_their_data_dependent_initialization_to_the_first_batch():
    norm = modules.ActNorm([(3,)])
    flow = Flow(interop.as_bijection(norm), (3,))
    assert norm.init_on_next_batch
    z = flow.encode(5 + 2 * torch.randn(100, 3))
    torch.testing.assert_close((z.mean(0), z.std(0)), (torch.zeros(3), torch.ones(3)), atol=1e-3, rtol=0)


def test_a_module_of_other_events_or_conditions_is_refused_when_the_flow_is_built():
    with pytest.raises(ValueError, match=r"SequenceINN can't take an event of shape \(2,\)"):
        Flow(interop.as_bijection(their_sequence()), (2,))
    with pytest.raises(ValueError, match="and no context .* context_channels if it needs a context"):
        Flow(interop.as_bijection(their_sequence(2)), (4,))
    with pytest.raises(ValueError, match="and 5 context channels"):
        Flow(interop.as_bijection(their_sequence(2), context_channels=5), (4,))
    flow = Flow(interop.as_bijection(their_sequence(2), context_channels=2), (4,))
    with pytest.raises(ValueError, match=r"is conditional: pass a context of shape \(4, 2\)"):
        flow.log_prob(torch.zeros(4, 4).double())


def test_our_bijection_without_its_condition_is_refused_where_it_is_appended():
    with pytest.raises(
        ValueError, match=r"has one input and one condition of 2 channels, .* conditions of shapes \[\]"
    ):
        layer = AdditiveCoupling(4, MLP(4, 2, width=8), context_channels=2)
        SequenceINN(4).append(interop.from_bijection, bijection=layer)
    with pytest.raises(ValueError, match="built for 4 channels"):
        SequenceINN(3).append(interop.from_bijection, bijection=our_bijection(4))


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match="the transform must be an object of the class InvertibleModule of FrEIA"):
        interop.as_bijection(torch.nn.Linear(2, 2))
    with pytest.raises(TypeError, match="the bijection must be an object of the class Bijection of inverseflow"):
        interop.from_bijection([(2,)], bijection=torch.nn.Linear(2, 2))
