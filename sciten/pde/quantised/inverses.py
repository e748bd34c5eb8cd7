"""Inverses of difference operators on 2^L points, written down with sums of positive terms only.

Every entry is therefore right to the precision, also on 2^60 points: nothing cancels. The ranks are those of Kazeev and
Khoromskij (SIAM J. Matrix Anal. Appl. 33, 742 (2012)).
"""

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde.quantised.automata import (
    ANY,
    ONE_ZERO,
    ONES,
    SAME,
    ZERO_ONE,
    require_levels,
    train,
    transitions,
    weights,
)
from sciten.pde.quantised.stencils import Condition, mirrored
from sciten.tensor import TensorTrain


def summation(
    levels: int, *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> TensorTrain:
    """Sums up to each point, that is ones on and below the diagonal: the inverse of `difference`, rank 2.

    Raises:
        ConfigError: no levels.
    """
    require_levels("summation", levels)
    states = ("equal", "below")
    moves = {("equal", "equal"): SAME, ("equal", "below"): ONE_ZERO, ("below", "below"): ANY}
    core = transitions(states, moves)
    start, end = weights(states, {"equal": 1}), weights(states, {"equal": 1, "below": 1})
    return train(start, [core] * levels, end, operator=True).to(dtype=dtype, device=device)


def inverse_laplacian(
    levels: int,
    lower: Condition,
    upper: Condition,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> TensorTrain:
    """The inverse of `laplacian`: Green's function on a unit mesh.

    With i and j counted from 1 to n, it is min(i, j) for a Dirichlet value below and a Neumann face above, rank 4, and
    min(i, j) - i j / (n + 1) between Dirichlet values, rank 5.

    Raises:
        ConfigError: no levels, or the Laplacian is singular, as between Neumann faces and for periodic points.
    """
    require_levels("inverse_laplacian", levels)
    kinds = (lower, upper)
    if kinds == (Condition.DIRICHLET, Condition.DIRICHLET):
        found = _between_dirichlet_values(levels)
    elif set(kinds) == {Condition.DIRICHLET, Condition.NEUMANN}:
        found = _smaller_index(levels)
        found = found if lower is Condition.DIRICHLET else mirrored(found)
    else:
        raise ConfigError(
            "inverse_laplacian: expected a Dirichlet condition at one end at least, without which the Laplacian is "
            f"singular, got {lower.value} and {upper.value}"
        )
    return found.to(dtype=dtype, device=device)


def _smaller_index(levels: int) -> TensorTrain:
    """min(i, j) + 1 of indices from zero: one, and the bits of the smaller one with their values."""
    states = ("equal", "less", "greater", "counted")
    ends = dict.fromkeys(states, 1.0)
    cores = [_count_bits(states, 2.0 ** (levels - 1 - k)) for k in range(levels)]
    return train(weights(states, {"equal": 1}), cores, weights(states, ends), operator=True)


def _count_bits(states: tuple[str, ...], value: float) -> Tensor:
    row_one = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    moves = {
        ("equal", "equal"): SAME,
        ("equal", "less"): ZERO_ONE,
        ("equal", "greater"): ONE_ZERO,
        ("less", "less"): ANY,
        ("greater", "greater"): ANY,
        ("counted", "counted"): ANY,
        # Where both indices have a bit in common so has the smaller one, whichever it turns out to be.
        ("equal", "counted"): value * ONES,
        ("less", "counted"): value * row_one,
        ("greater", "counted"): value * row_one.mT,
    }
    return transitions(states, moves)


def _between_dirichlet_values(levels: int) -> TensorTrain:
    """Green's function of a block of points is that of each half, and linear interpolation from the ends of the halves.

    A block ends where its neighbours begin: the ends of 2h points 0, ..., 2h - 1 are -1 and 2h, those of its halves -1
    and h, and h - 1 and 2h. States are Green's function of the block, and the products of functions of row and column
    that are linear and one at the lower end a, or the upper end b.
    """
    start = torch.tensor([1.0, 0, 0, 0, 0], dtype=torch.float64)
    cores = [_halved(2.0 ** (levels - 1 - k)) for k in range(levels)]
    end = torch.tensor(
        [0.5, 0.25, 0.25, 0.25, 0.25], dtype=torch.float64
    )  # of one point, midway between its ends
    return train(start, cores, end, operator=True)


def _halved(h: float) -> Tensor:
    """The core `[5, 2, 2, 5]` from a block of 2h points to its halves; states own, aa, ab, ba, bb."""
    length = 2 * h + 1
    core = torch.zeros(5, 2, 2, 5, dtype=torch.float64)
    core[0, :, :, 0] = SAME
    core[0, 0, 0, 4] = core[0, 1, 1, 1] = h * (h + 1) / length  # at the end that lies within the block
    core[0, 0, 1, 3] = core[0, 1, 0, 2] = (h + 1) * (h + 1) / length
    # linear[s, b, t]: what a function that is one at the end s is at the end t of the half b
    lower = [[1.0, h / length], [(h + 1) / length, 0.0]]
    upper = [[0.0, (h + 1) / length], [h / length, 1.0]]
    linear = torch.tensor([lower, upper], dtype=torch.float64)
    core[1:, :, :, 1:] = torch.einsum("aic,bjd->abijcd", linear, linear).reshape(4, 2, 2, 4)
    return core
