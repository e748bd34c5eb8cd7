"""Operators that do not see constants, such as those of pure Neumann problems."""

import torch

from sciten.errors import ConfigError
from sciten.tensor import TensorTrain

#: Below this share of its norm an operator counts as mapping constants to zero.
_ZERO = 1e-11


#: The largest constant share of a source that is put down to discretisation.
_BALANCE = 1e-2


def regularised(
    matrix: TensorTrain, right_side: TensorTrain, shape: tuple[int, ...]
) -> tuple[TensorTrain, TensorTrain, str]:
    """A system with one solution in place of one that determines its solution up to a constant.

    Adds a multiple of the mean to the operator, so that the solution has mean zero, and takes the constant share from
    the right side, as long as it is no larger than what discretisation explains.

    Args:
        matrix: of a square operator.
        right_side: vector.
        shape: of the grid, which the modes of the trains may be parts of.

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
    if float((matrix.mH @ ones).norm()) > _ZERO * size:
        raise ConfigError(
            "solve: the operator maps constants to zero, and which sources it can balance is not known; fix the value "
            "on one face (Dirichlet), or add a potential"
        )
    unit = ones / ones.norm()
    dtype = torch.promote_types(matrix.dtype, right_side.dtype)
    unit, right_side = unit.to(dtype=dtype), right_side.to(dtype=dtype)
    along = unit.inner(right_side)
    share = float(along.abs() / right_side.norm().clamp(min=torch.finfo(torch.float64).tiny))
    require_balance(share, shape)
    entries = [torch.full((n, n), 1 / n, dtype=dtype, device=matrix.device) for n in modes]
    mean = TensorTrain.rank_one(entries, operator=True)
    scale = float(matrix.norm() / TensorTrain.identity(modes).norm())
    balanced = (right_side - unit * along).round(1e-15)
    return matrix.to(dtype=dtype) + mean * scale, balanced, balance_note(share)


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
