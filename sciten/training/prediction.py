"""Asking a potential for what a batch has labels of."""

import dataclasses

import torch

from sciten.datasets import AtomsBatch
from sciten.potentials import Potential, Prediction


def predict(model: Potential, batch: AtomsBatch, *, forces: bool, stress: bool) -> Prediction:
    """Energy and, where `batch` has labels for them, forces and stress, differentiable in the weights.

    Molecules may stand beside crystals: their stress is meaningless, and masked wherever it is used.
    """
    forces = forces and batch.forces_mask is not None and bool(batch.forces_mask.any())
    stress = stress and batch.stress_mask is not None and bool(batch.stress_mask.any())
    if stress:
        # A molecule has no cell to divide by; any finite one will do, since its shifts are zero.
        flat = batch.volume() == 0
        unit = torch.eye(3, dtype=batch.cell.dtype, device=batch.cell.device)
        batch = dataclasses.replace(batch, cell=torch.where(flat[:, None, None], unit, batch.cell))
    return model(batch, forces=forces, stress=stress)


def detached(prediction: Prediction) -> Prediction:
    """The same numbers without the graph that made them."""
    return Prediction(
        energy=prediction.energy.detach(),
        forces=None if prediction.forces is None else prediction.forces.detach(),
        stress=None if prediction.stress is None else prediction.stress.detach(),
        atomic_energies=prediction.atomic_energies.detach(),
    )
