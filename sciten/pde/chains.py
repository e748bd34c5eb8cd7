"""Sums of Kronecker products as one chain of cores, with partial products shared.

The finite automaton of a sum: between two cores each term is in one state, named by the cores to its left as long as
its switching core lies ahead, and by the cores to its right afterwards. Two terms with the same name share a state, so
that the Laplacian in d dimensions has rank 2 and nearest-neighbour terms have rank 3, without any rounding. A path
through the automaton fixes the left part, the switching core and the right part, hence nothing but the terms is summed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sciten.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Chain:
    """One term: cores `[r, *modes, r']`, and the place of the core where it switches.

    Cores that are the same object count as equal.
    """

    cores: tuple[Tensor, ...]
    switch: int


def summed(chains: Sequence[Chain]) -> list[Tensor]:
    """The sum of chains of equal modes, as cores `[r, *modes, r']`.

    Raises:
        ConfigError: there is nothing to sum.
    """
    if not chains:
        raise ConfigError("Operator: expected at least one term other than zero, got an empty sum")
    bonds = [_states(chains, bond) for bond in range(len(chains[0].cores) + 1)]
    dtype = chains[0].cores[0].dtype
    for chain in chains:
        for core in chain.cores:
            dtype = torch.promote_types(dtype, core.dtype)
    result = []
    for place in range(len(chains[0].cores)):
        left, right = bonds[place], bonds[place + 1]
        modes = chains[0].cores[place].shape[1:-1]
        like = chains[0].cores[place]
        core = torch.zeros(left.size, *modes, right.size, dtype=dtype, device=like.device)
        written: set[tuple[int, int, int]] = set()
        for chain in chains:
            part = chain.cores[place]
            begin, end = left.place(chain, place), right.place(chain, place + 1)
            key = (begin, end, id(part))
            # Terms that share both states share the core too, unless they switch here.
            if key in written and place != chain.switch:
                continue
            written.add(key)
            core[begin : begin + part.shape[0], ..., end : end + part.shape[-1]] += part
        result.append(core)
    return result


@dataclass(frozen=True)
class _Bond:
    places: dict[tuple[object, ...], int]
    size: int

    def place(self, chain: Chain, bond: int) -> int:
        return self.places[_name(chain, bond)]


def _states(chains: Sequence[Chain], bond: int) -> _Bond:
    places: dict[tuple[object, ...], int] = {}
    size = 0
    for chain in chains:
        name = _name(chain, bond)
        if name not in places:
            places[name] = size
            size += chain.cores[bond].shape[0] if bond < len(chain.cores) else 1
    return _Bond(places, size)


def _name(chain: Chain, bond: int) -> tuple[object, ...]:
    """Of the state of a term before the core `bond`; at both ends all terms are in one state."""
    if bond == 0 or bond == len(chain.cores):
        return ("end",)
    if bond <= chain.switch:
        return ("left", *(id(core) for core in chain.cores[:bond]))
    return ("right", *(id(core) for core in chain.cores[bond:]))
