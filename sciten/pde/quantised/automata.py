"""Tensor trains of bits as finite automata.

An automaton reads an index from its most significant bit to its least, operators a row bit and a column bit at a time.
`core[s, b, t]` is the weight of going from state s to state t on reading b; an entry of the tensor is the sum over all
paths of the products of their weights. States are what Kazeev and Khoromskij (SIAM J. Matrix Anal. Appl. 33, 742
(2012)) number in their block cores; names say what has been read so far.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor import TensorTrain

#: Which pairs of a row bit and a column bit are let through.
SAME = torch.eye(2, dtype=torch.float64)
ANY = torch.ones(2, 2, dtype=torch.float64)
ZEROS = torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64))
ONES = torch.diag(torch.tensor([0.0, 1.0], dtype=torch.float64))
ZERO_ONE = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
ONE_ZERO = ZERO_ONE.mT


def transitions(states: Sequence[str], moves: Mapping[tuple[str, str], Tensor]) -> Tensor:
    """A core `[n_states, *mode, n_states]` from the weights `[*mode]` of going from one state to another."""
    place = {state: k for k, state in enumerate(states)}
    mode = next(iter(moves.values())).shape
    core = torch.zeros(len(states), *mode, len(states), dtype=torch.float64)
    for (source, target), weights in moves.items():
        core[place[source], ..., place[target]] = weights
    return core


def weights(
    states: Sequence[str], values: Mapping[str, complex], dtype: torch.dtype = torch.float64
) -> Tensor:
    """A vector `[n_states]` that is zero where nothing is given."""
    return torch.tensor([values.get(state, 0.0) for state in states], dtype=dtype)


def train(start: Tensor, cores: Sequence[Tensor], end: Tensor, *, operator: bool) -> TensorTrain:
    """The train of an automaton, without the states that cannot be reached or lead to nothing.

    Args:
        start: weights of the states before the first bit, `[s]`.
        cores: `[s, *mode, s']` for each level.
        end: weights of the states after the last bit, `[s]`.
        operator: whether modes are of two bits.
    """
    kept = _useful(start, cores, end)
    cut = [
        core.to(end.dtype).index_select(0, before).index_select(-1, after)
        for core, before, after in zip(cores, kept, kept[1:], strict=False)
    ]
    cut[0] = torch.tensordot(start[kept[0]].to(end.dtype), cut[0], 1).unsqueeze(0)
    cut[-1] = (cut[-1] @ end[kept[-1]]).unsqueeze(-1)
    return TensorTrain(tuple(cut), operator)


def _useful(start: Tensor, cores: Sequence[Tensor], end: Tensor) -> list[Tensor]:
    """For each bond the states on some path from start to end; one of them where there is no path."""
    alive = [start != 0]
    for core in cores:
        alive.append((core[alive[-1]] != 0).flatten(0, -2).any(0))
    alive[-1] = alive[-1] & (end != 0)
    for k in reversed(range(len(cores))):
        alive[k] = alive[k] & (cores[k][..., alive[k + 1]] != 0).flatten(1).any(1)
    return [mask.nonzero()[:, 0] if bool(mask.any()) else torch.tensor([0]) for mask in alive]


def require_levels(name: str, levels: int) -> None:
    """Raise `ConfigError` unless there is at least one bit."""
    if levels < 1:
        raise ConfigError(f"{name}: expected at least one level, got {levels}")


def working_dtype(name: str, dtype: torch.dtype, *values: complex) -> torch.dtype:
    """The double precision that a train of `dtype` is written down in.

    Raises:
        ConfigError: a value is complex and the dtype is real, or the dtype is neither.
    """
    if dtype.is_complex:
        return torch.complex128
    if not dtype.is_floating_point:
        raise ConfigError(f"{name}: expected a real or complex dtype, got {dtype}")
    found = [value for value in values if isinstance(value, complex)]
    if found:
        raise ConfigError(f"{name}: expected a complex dtype for the value {found[0]}, got {dtype}")
    return torch.float64
