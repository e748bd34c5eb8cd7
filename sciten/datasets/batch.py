"""A batch of atomic structures as one disjoint graph: what datasets give and potentials take."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sciten.tensor.multilinear import Index


@dataclass(frozen=True)
class Pairs:
    """Edges of which each is listed once for both directions, as a function of the distance alone needs them.

    Attributes:
        edges: `[n_pairs]`, one edge of each pair.
        index: for each edge its pair.
    """

    edges: Tensor
    index: Index


@dataclass(frozen=True)
class AtomsBatch:
    """Structures laid end to end, with their neighbour list and, where known, their labels.

    Edges are sorted by receiver. An edge vector points from sender to receiver:
    `positions[receivers] - positions[senders] + shifts @ cell`. Floating-point tensors are float64;
    a model casts edge vectors to its own dtype, so that large cells lose no accuracy.

    Attributes:
        positions: `[n_atoms, 3]`, Å.
        numbers: `[n_atoms]`, atomic numbers.
        frame: `[n_atoms]`, the structure that each atom belongs to, ascending.
        cell: `[n_frames, 3, 3]`, rows are lattice vectors, Å; zeros for a molecule.
        pbc: `[n_frames, 3]`, bool.
        senders, receivers: `[n_edges]`.
        shifts: `[n_edges, 3]`, lattice translations of the receiver, in units of the cell vectors.
        energy: `[n_frames]`, eV; forces: `[n_atoms, 3]`, eV/Å; stress: `[n_frames, 6]`, eV/Å³, tension
            positive, Voigt xx yy zz yz xz xy. Entries where the mask is False are zero and mean nothing.
        energy_mask, stress_mask: `[n_frames]`; forces_mask: `[n_atoms]`; bool.
        config_types: one per frame.
        charge, spin: `[n_frames]` or None; total charge (e), spin multiplicity.
    """

    positions: Tensor
    numbers: Tensor
    frame: Tensor
    cell: Tensor
    pbc: Tensor
    senders: Tensor
    receivers: Tensor
    shifts: Tensor
    energy: Tensor | None = None
    energy_mask: Tensor | None = None
    forces: Tensor | None = None
    forces_mask: Tensor | None = None
    stress: Tensor | None = None
    stress_mask: Tensor | None = None
    config_types: Sequence[str] = field(default=())
    charge: Tensor | None = None
    spin: Tensor | None = None

    @property
    def n_atoms(self) -> int:
        """Number of atoms in all frames."""
        return self.positions.shape[0]

    @property
    def n_frames(self) -> int:
        """Number of structures."""
        return self.cell.shape[0]

    @property
    def n_edges(self) -> int:
        """Number of directed neighbour pairs."""
        return self.senders.shape[0]

    @cached_property
    def sender_index(self) -> Index:
        """The senders as a gather or scatter index."""
        return Index(self.senders, self.n_atoms)

    @cached_property
    def receiver_index(self) -> Index:
        """The receivers as a gather or scatter index."""
        return Index(self.receivers, self.n_atoms)

    @cached_property
    def pairs(self) -> Pairs:
        """The undirected pairs; each edge is a pair of its own where not every edge has its reverse in the list."""
        ahead = self.senders < self.receivers
        own_image = self.senders == self.receivers
        if own_image.any():
            x, y, z = self.shifts.unbind(1)
            ahead |= own_image & ((x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0)))))
        one, other = ahead.nonzero()[:, 0], (~ahead).nonzero()[:, 0]
        order = _matching(self._keys(one, reverse=False), self._keys(other, reverse=True))
        if order is None:
            everything = torch.arange(self.n_edges, device=self.senders.device)
            return Pairs(everything, Index(everything, self.n_edges))
        rows = torch.empty_like(self.senders)
        rows[one] = torch.arange(len(one), device=rows.device)
        rows[other] = order
        return Pairs(one, Index(rows, len(one)))

    def _keys(self, edges: Tensor, *, reverse: bool) -> Tensor:
        """A number for each of the given edges, or of their reverses, that no other edge has."""
        shifts = self.shifts.long()
        reach = int(shifts.abs().max()) if len(shifts) else 0
        start, end = self.senders[edges], self.receivers[edges]
        columns = (shifts[edges] * (-1 if reverse else 1) + reach).unbind(1)
        key = (end * self.n_atoms + start) if reverse else (start * self.n_atoms + end)
        for column in columns:
            key = key * (2 * reach + 1) + column
        return key

    def edge_vectors(self) -> Tensor:
        """Vectors from sender to receiver, `[n_edges, 3]`, Å, in the dtype of `positions`."""
        translation = torch.einsum("ei,eij->ej", self.shifts, self.cell[self.frame[self.senders]])
        return self.positions[self.receivers] - self.positions[self.senders] + translation

    def volume(self) -> Tensor:
        """Cell volumes, `[n_frames]`, Å³; zero for a molecule."""
        return torch.linalg.det(self.cell).abs()

    def to(self, device: torch.device | str) -> "AtomsBatch":
        """The same batch with every tensor on `device`."""
        moved: dict[str, Any] = {
            entry.name: value.to(device)
            for entry in dataclasses.fields(self)
            if isinstance(value := getattr(self, entry.name), Tensor)
        }
        return dataclasses.replace(self, **moved)


def _matching(keys: Tensor, others: Tensor) -> Tensor | None:
    """For each of `others` the position of the equal number in `keys`; None where they are not the same numbers."""
    if len(keys) != len(others):
        return None
    sorted_keys, order = keys.sort()
    sorted_others, places = others.sort()
    if not torch.equal(sorted_keys, sorted_others):
        return None
    return torch.empty_like(order).scatter_(0, places, order)
