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
