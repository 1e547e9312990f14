import torch

from experiments.op_counter import OpCounter
from inverseflow.bijections import CausalConv2d, InverseConv2d, LUConv1x1


def counted(function, *arguments):
    with OpCounter() as counter:
        function(*arguments)
    return counter.solves, counter.convolutions, counter.largest_matrix


def test_each_direction_of_the_kxk_layers_is_one_call():
    x = torch.randn(2, 3, 4, 5)
    assert counted(InverseConv2d(3), x) == (1, 0, 0)
    assert counted(InverseConv2d(3).inverse, x) == (0, 1, 0)
    assert counted(CausalConv2d(3), x) == (0, 1, 0)
    assert counted(CausalConv2d(3).inverse, x) == (1, 0, 0)


def test_the_largest_dense_matrix_is_told():
    assert counted(LUConv1x1(6).inverse, torch.randn(2, 6, 3, 3)) == (0, 0, 6)
    assert counted(torch.linalg.inv, torch.eye(7)) == (0, 0, 7)
    assert counted(torch.linalg.slogdet, torch.eye(5)) == (0, 0, 5)
