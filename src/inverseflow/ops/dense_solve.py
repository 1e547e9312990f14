"""Linear systems given by dense matrices."""

import torch
from torch import Tensor

from inverseflow.errors import SingularError
from inverseflow.ops.precision import at_least_single
from inverseflow.ops.torch_internals import unwrap_functorch


def dense_solve(matrix: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    r"""Solve linear systems and return the log absolute determinants of their matrices, from one factorization.

    .. math:: x = A^{-1} b, \qquad \log|\det A| = \sum_j \log|U_{jj}|, \qquad P A = L U

    Args:
        matrix: A, ``(*batch, D, D)``, real or complex.
        right: b, ``(*batch, D, N)``, of the same dtype. Half precision is computed in float32.

    Returns:
        x of the shape and dtype of b, and :math:`\log|\det A|` of shape ``batch``, in float32 or more.

    Raises:
        SingularError: if a matrix is singular. Not checked in compiled code, where x becomes infinite or nan.

    Example:
        >>> dense_solve(torch.tensor([[2.0, 0.0], [4.0, 1.0]]), torch.tensor([[2.0], [3.0]]))
        (tensor([[ 1.],
                [-1.]]), tensor(0.6931))
    """
    factors, pivots, info = torch.linalg.lu_factor_ex(at_least_single(matrix))
    check_regular(info, matrix.shape[-1])
    log_det = factors.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
    return torch.linalg.lu_solve(factors, pivots, at_least_single(right)).to(right.dtype), log_det


def check_regular(info: Tensor, side: int) -> None:
    """Raise `SingularError` if a factorization of matrices of this side met a zero; not in compiled code."""
    if torch.compiler.is_compiling():
        return
    info = unwrap_functorch(info)
    if singular := int(info.count_nonzero()):
        raise SingularError(
            f"{singular} of {info.numel()} matrices of size {side} are singular, so the map has no inverse; "
            "start from other parameters, or train with the log-determinant, which avoids them"
        )
