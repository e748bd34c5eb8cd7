"""Operators that do not see constants, such as those of pure Neumann problems.

A source is in the range of such an operator A if w^H f = 0 for the null vector w of its adjoint. Of symmetric operators
w is constant too; collocation on Chebyshev points is not symmetric, and there w holds the weights of a quadrature on
them, a product of those of the axes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor import TensorTrain

#: Below this share of its norm an operator counts as mapping constants to zero.
_ZERO = 1e-11
#: Weights whose sum is smaller than this, at a norm of one, would blow up rounding errors.
_SUM = 1e-6
#: The largest constant share of a source that is put down to discretisation.
_BALANCE = 1e-2


def regularised(
    matrix: TensorTrain,
    right_side: TensorTrain,
    shape: tuple[int, ...],
    separable: Sequence[Tensor] | None = None,
) -> tuple[TensorTrain, TensorTrain, str]:
    """A system with one solution in place of one that determines its solution up to a constant.

    Adds a multiple of the mean to the operator, so that the solution has mean zero, and takes the constant share from
    the right side, as long as it is no larger than what discretisation explains. Means are weighted by the null vector
    of the adjoint.

    Args:
        matrix: of a square operator.
        right_side: vector.
        shape: of the grid, which the modes of the trains may be parts of.
        separable: where the operator is a sum of matrices that act on one mode each, these: `[n, n]` for each mode.

    Returns:
        Operator, right side, and a note on what was done, empty for regular operators.

    Raises:
        ConfigError: the right side is not in the range of the operator, or that range is not known.
    """
    modes = tuple(n for n, _ in matrix.modes)
    ones = TensorTrain.ones(modes, dtype=matrix.dtype, device=matrix.device)
    size = float(matrix.norm())
    if float((matrix @ ones).norm()) > _ZERO * size:
        return matrix, right_side, ""
    dtype = torch.promote_types(matrix.dtype, right_side.dtype)
    factors = [weights.to(dtype) for weights in _weights(matrix, separable, size)]
    ones, right_side = ones.to(dtype=dtype), right_side.to(dtype=dtype)
    along = TensorTrain.rank_one(factors).inner(right_side)
    tiny = torch.finfo(torch.float64).tiny
    share = float(along.abs() * ones.norm() / right_side.norm().clamp(min=tiny))
    require_balance(share, shape)
    mean = TensorTrain.rank_one([w.conj().expand(len(w), -1) for w in factors], operator=True)
    scale = float(matrix.norm() / TensorTrain.identity(modes).norm())
    balanced = (right_side - ones * along).round(1e-15)
    return matrix.to(dtype=dtype) + mean * scale, balanced, balance_note(share)


def _weights(matrix: TensorTrain, separable: Sequence[Tensor] | None, size: float) -> list[Tensor]:
    """The null vector of the adjoint as a product of vectors `[n]`, the entries of each of which add up to one."""
    alike = [torch.full((n,), 1 / n, dtype=matrix.dtype, device=matrix.device) for n, _ in matrix.modes]
    candidates = [alike]
    if separable is not None:
        left = [torch.linalg.svd(one.to(matrix.dtype)).U[:, -1] for one in separable]
        if all(float(one.sum().abs()) > _SUM for one in left):
            candidates.append([one / one.sum() for one in left])
    for factors in candidates:
        weights = TensorTrain.rank_one(factors)
        if float((matrix.mH @ weights).norm()) <= _ZERO * size * float(weights.norm()):
            return factors
    raise ConfigError(
        "solve: the operator maps constants to zero, and which sources it can balance is not known; fix the value on "
        "one face (Dirichlet), or add a potential"
    )


def require_balance(share: float, shape: tuple[int, ...]) -> None:
    """Raise `ConfigError` if the constant share of a source is more than second-order differences explain."""
    if share > min(_BALANCE, 10 * max(1 / n**2 for n in shape)):
        raise ConfigError(
            "solve: the operator determines the field only up to a constant, and the source with the boundary data "
            f"does not add up to zero (a share of {share:.1e} is constant); change the data, fix the value on one face "
            "(Dirichlet), or add a potential"
        )


def balance_note(share: float) -> str:
    """What is said about a solution that is determined up to a constant."""
    taken = f"; a constant share of {share:.1e} was taken from the source" if share > 1e-12 else ""
    return f"; the field is determined up to a constant, and has mean zero{taken}"
