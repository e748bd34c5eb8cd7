"""Difference operators on 2^L points as trains of bits, exact and without any decomposition.

Tridiagonal Toeplitz matrices compare the bits of row and column: equal so far, or one of them just below the other
(Kazeev and Khoromskij, SIAM J. Matrix Anal. Appl. 33, 742 (2012)). Every corner that differs costs a rank.
"""

from enum import Enum

import torch

from sciten.errors import ConfigError
from sciten.pde.quantised.automata import (
    ONE_ZERO,
    ONES,
    SAME,
    ZERO_ONE,
    ZEROS,
    require_levels,
    train,
    transitions,
    weights,
    working_dtype,
)
from sciten.tensor import TensorTrain


class Condition(Enum):
    """What holds at an end of the points.

    A Dirichlet value stands one mesh width beyond the outermost point, a Neumann face half a width beyond it; the next
    after the last of periodic points is the first.
    """

    DIRICHLET = "Dirichlet"
    NEUMANN = "Neumann"
    PERIODIC = "periodic"


_STATES = ("equal", "lower", "upper", "first", "last")
_MOVES = {
    ("equal", "equal"): SAME,
    # Row = column + 1: a carry has run through the ones of the column, which are zeros of the row.
    ("equal", "lower"): ONE_ZERO,
    ("lower", "lower"): ZERO_ONE,
    ("equal", "upper"): ZERO_ONE,
    ("upper", "upper"): ONE_ZERO,
    ("first", "first"): ZEROS,
    ("last", "last"): ONES,
}


def tridiagonal(
    levels: int,
    lower: complex,
    diagonal: complex,
    upper: complex,
    *,
    first: complex | None = None,
    last: complex | None = None,
    periodic: bool = False,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> TensorTrain:
    """A tridiagonal matrix with equal entries along each diagonal, but for its corners; an operator on 2^levels points.

    Rank 3, one more for each of `first` and `last`, one less for a lower or upper diagonal of zeros.

    Args:
        levels: bits of an index.
        lower: the entries (i, i - 1).
        diagonal: the entries (i, i).
        upper: the entries (i, i + 1).
        first: the entry (0, 0), where it differs.
        last: the entry (n - 1, n - 1), where it differs.
        periodic: whether `lower` and `upper` go on around, into the corners (0, n - 1) and (n - 1, 0).
        dtype, device: of the cores.

    Raises:
        ConfigError: no levels, or a complex entry for a real dtype.
    """
    require_levels("tridiagonal", levels)
    corners = [diagonal if corner is None else corner for corner in (first, last)]
    dtype_here = working_dtype("tridiagonal", dtype, lower, diagonal, upper, *corners)
    around = float(periodic)  # a carry out of all bits
    start = weights(_STATES, {"equal": 1, "lower": around, "upper": around, "first": 1, "last": 1})
    entries = {"equal": diagonal, "lower": lower, "upper": upper}
    entries |= {"first": corners[0] - diagonal, "last": corners[1] - diagonal}
    end = weights(_STATES, entries, dtype_here)
    core = transitions(_STATES, _MOVES)
    return train(start, [core] * levels, end, operator=True).to(dtype=dtype, device=device)


def laplacian(
    levels: int,
    lower: Condition,
    upper: Condition,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> TensorTrain:
    """Minus the second difference on a unit mesh: 2 u_i - u_(i-1) - u_(i+1), or one difference beside a Neumann face.

    Rank 3 between Dirichlet values and for periodic points, 4 with one Neumann face, 5 with two.

    Raises:
        ConfigError: no levels, or points that are periodic at one end only.
    """
    require_ends("laplacian", lower, upper)
    corners = [1.0 if end is Condition.NEUMANN else None for end in (lower, upper)]
    return tridiagonal(
        levels,
        -1.0,
        2.0,
        -1.0,
        first=corners[0],
        last=corners[1],
        periodic=lower is Condition.PERIODIC,
        dtype=dtype,
        device=device,
    )


def difference(
    levels: int,
    *,
    periodic: bool = False,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> TensorTrain:
    """The backward difference u_i - u_(i-1) on a unit mesh, with u = 0 before the first point; rank 2.

    Its transpose is minus the forward difference, with u = 0 after the last point; `difference.mT @ difference` is the
    Laplacian of a Dirichlet value below and a Neumann face above. Inverse: `summation`.

    Args:
        levels: bits of an index.
        periodic: whether the last point comes before the first.
        dtype, device: of the cores.

    Raises:
        ConfigError: no levels.
    """
    return tridiagonal(levels, -1.0, 1.0, 0.0, periodic=periodic, dtype=dtype, device=device)


def mirrored(x: TensorTrain) -> TensorTrain:
    """The same with points counted from the other end, i → n - 1 - i: every bit turned over, rows and columns alike."""
    axes = (-3, -2) if x.operator else (-2,)
    return TensorTrain(tuple(core.flip(axes) for core in x.cores), x.operator)


def require_ends(name: str, lower: Condition, upper: Condition) -> None:
    """Raise `ConfigError` unless both ends are periodic or neither is."""
    if (lower is Condition.PERIODIC) != (upper is Condition.PERIODIC):
        raise ConfigError(
            f"{name}: expected both ends periodic or neither, got {lower.value} and {upper.value}"
        )
