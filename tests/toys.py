"""Small potentials with known behaviour, for tests that need a potential but not a particular one."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sciten.datasets.batch import AtomsBatch
from sciten.potentials.base import Potential


def smooth_step(distance: Tensor, cutoff: float) -> Tensor:
    """One at zero, zero from `cutoff` on, with two continuous derivatives there."""
    x = (distance / cutoff).clamp(max=1.0)
    return 1 - x**3 * (10 - 15 * x + 6 * x**2)


class ToyPotential(Potential):
    """A Morse pair potential with one learnable depth per element, smooth at the cutoff.

    The pair energy is `sqrt(depth_i depth_j) * ((1 - exp(-width (r - length)))^2 - 1)` times a smooth step.
    """

    def __init__(
        self,
        elements: Sequence[int] = (1, 6, 8, 14, 29),
        *,
        isolated_atom_energies: Sequence[float] | None = None,
        cutoff: float = 4.0,
        depth: float = 0.5,
        width: float = 3.0,
        length: float = 1.5,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        self.elements = tuple(elements)
        self.cutoff = cutoff
        self.width = width
        self.length = length
        isolated = [-float(z) for z in elements] if isolated_atom_energies is None else isolated_atom_energies
        self.keep_float64("isolated_atom_energies", torch.tensor(isolated, dtype=torch.float64))
        scale = 1 + 0.2 * torch.arange(len(self.elements), dtype=dtype)
        self.depth = nn.Parameter(depth * scale)

    def arguments(self) -> dict[str, Any]:
        return {
            "elements": list(self.elements),
            "isolated_atom_energies": self.isolated_atom_energies.tolist(),
            "cutoff": self.cutoff,
            "width": self.width,
            "length": self.length,
        }

    def interaction_energies(self, batch: AtomsBatch, vectors: Tensor) -> Tensor:
        depth = self.depth[self.species(batch)].sqrt()
        distance = vectors.to(self.dtype).norm(dim=-1)
        morse = (1 - torch.exp(-self.width * (distance - self.length))) ** 2 - 1
        pair = (
            0.5 * depth[batch.senders] * depth[batch.receivers] * morse * smooth_step(distance, self.cutoff)
        )
        return pair.new_zeros(batch.n_atoms).index_add(0, batch.receivers, pair).to(torch.float64)
