"""sciten potentials in torch-sim, which simulates many systems in one batch."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sciten.datasets.batch import AtomsBatch
from sciten.datasets.graphs import neighbor_list
from sciten.errors import MissingExtraError
from sciten.integrations.ase import ModelLike, open_potentials

try:
    from torch_sim.models.interface import ModelInterface
except ImportError as error:
    raise MissingExtraError(
        "torch-sim is not installed; install it with pip install 'sciten[torch-sim]'"
    ) from error

if TYPE_CHECKING:
    from torch_sim.state import SimState


class SciTenModel(ModelInterface):
    """One sciten potential as a torch-sim model.

    Called with a state of several systems it gives `energy` `[n_systems]` (eV), `forces` `[n_atoms, 3]`
    (eV/Å) and `stress` `[n_systems, 3, 3]` (eV/Å³, tension positive), in the dtype of the state's
    positions. As torch-sim expects of a model that computes stress, that of systems without periodicity is
    zero.

    Args:
        model: a model folder, a training output folder, or a `Potential`.
        device: where to compute; by default the CPU for a folder, and where it lies for a `Potential`.
        dtype: precision of the weights; by default as stored. Integrators take the dtype of their states
            from it.
        compute_stress: whether to compute stress.

    Raises:
        ModelError: the folder holds no usable model; on call, an element is unknown.
    """

    def __init__(
        self,
        model: ModelLike,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        compute_stress: bool = True,
    ) -> None:
        super().__init__()
        (self.potential,) = open_potentials(model, device, dtype)
        self._device = self.potential.device
        self._dtype = self.potential.dtype
        self._compute_forces = True
        self._compute_stress = compute_stress
        self._memory_scales_with = "n_atoms_x_density"

    def forward(self, state: "SimState", **kwargs: Any) -> dict[str, Tensor]:
        """Energy, forces and stress of every system in the state."""
        batch = _batch(state, self.potential.cutoff)
        periodic = bool(batch.pbc.any())
        prediction = self.potential.forward_batch(batch, stress=self._compute_stress and periodic)
        forces = prediction.forces if prediction.forces is not None else torch.zeros_like(batch.positions)
        dtype = state.positions.dtype
        results = {"energy": prediction.energy.to(dtype), "forces": forces.to(dtype)}
        if self._compute_stress:
            results["stress"] = _full(prediction.stress, batch).to(dtype)
        return results


def _batch(state: "SimState", cutoff: float) -> AtomsBatch:
    cells = state.row_vector_cell.detach().to(torch.float64)
    positions = state.positions.detach().to(torch.float64)
    # One flag in older versions of torch-sim, three in newer ones; either way the same for all systems.
    pbc = torch.as_tensor(state.pbc, device=positions.device).expand(3)
    counts = torch.bincount(state.system_idx, minlength=len(cells)).tolist()
    edges, start = [], 0
    for cell, count in zip(cells, counts, strict=True):
        here = positions[start : start + count]
        senders, receivers, shifts = neighbor_list(
            here.cpu().numpy(), cell.cpu().numpy(), pbc.cpu().numpy(), cutoff
        )
        edges.append((senders + start, receivers + start, shifts))
        start += count
    columns = [
        torch.as_tensor(np.concatenate(column)).to(positions.device) for column in zip(*edges, strict=True)
    ]
    return AtomsBatch(
        positions=positions,
        numbers=state.atomic_numbers.to(torch.int64),
        frame=state.system_idx.to(torch.int64),
        cell=cells,
        pbc=pbc.expand(len(cells), 3),
        senders=columns[0],
        receivers=columns[1],
        shifts=columns[2].to(torch.float64),
        charge=_per_system(state, "charge"),
        spin=_per_system(state, "spin"),
    )


def _per_system(state: "SimState", name: str) -> Tensor | None:
    """The total charge or spin multiplicity of each system, if the version of torch-sim knows of it."""
    value = getattr(state, name, None)
    if value is None:
        return None
    value = value.detach().to(torch.float64)
    # Where nobody has set it, torch-sim has zero: no multiplicity, and unknown.
    return value.where(value > 0, torch.nan) if name == "spin" else value


def _full(stress: Tensor | None, batch: AtomsBatch) -> Tensor:
    if stress is None:
        return batch.cell.new_zeros(batch.n_frames, 3, 3)
    voigt = torch.tensor([[0, 5, 4], [5, 1, 3], [4, 3, 2]], device=stress.device)
    return stress[:, voigt]
