"""Errors of a potential as sums over many batches, which several processes can add up."""

import torch
from torch import Tensor

from sciten.datasets import AtomsBatch
from sciten.potentials import Prediction

#: Keys in metrics.jsonl by quantity; units are in the names (mev: meV).
QUANTITIES = {
    "energy": "mev",
    "energy_per_atom": "mev",
    "forces": "mev_per_angstrom",
    "stress": "mev_per_cubic_angstrom",
}


class ErrorSums:
    """Running sums of absolute and squared errors over the labelled entries of many batches.

    Attributes:
        sums: `[4, 3]`, float64: energy per frame, energy per atom, force component, stress component (eV, Å);
            for each the sum of absolute errors, the sum of squares and the number of entries.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.sums = torch.zeros(4, 3, dtype=torch.float64, device=device)

    def add(self, batch: AtomsBatch, prediction: Prediction) -> None:
        """Count the errors of one batch."""
        atoms = torch.bincount(batch.frame, minlength=batch.n_frames)
        if batch.energy is not None and batch.energy_mask is not None:
            error = prediction.energy.detach() - batch.energy
            self._count(0, error[batch.energy_mask])
            self._count(1, (error / atoms)[batch.energy_mask])
        if batch.forces is not None and batch.forces_mask is not None and prediction.forces is not None:
            self._count(2, (prediction.forces.detach() - batch.forces)[batch.forces_mask])
        if batch.stress is not None and batch.stress_mask is not None and prediction.stress is not None:
            self._count(3, (prediction.stress.detach() - batch.stress)[batch.stress_mask])

    def _count(self, row: int, errors: Tensor) -> None:
        self.sums[row] += torch.stack(
            [errors.abs().sum(), errors.square().sum(), errors.new_tensor(errors.numel())]
        )

    def metrics(self, prefix: str) -> dict[str, float]:
        """Mean absolute and root mean square errors in meV, for the quantities that have labels."""
        found = {}
        for (quantity, unit), (absolute, square, count) in zip(
            QUANTITIES.items(), self.sums.tolist(), strict=True
        ):
            if count:
                found[f"{prefix}_{quantity}_mae_{unit}"] = 1e3 * absolute / count
                found[f"{prefix}_{quantity}_rmse_{unit}"] = 1e3 * (square / count) ** 0.5
        return found
