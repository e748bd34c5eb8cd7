"""Learning a potential from energies, forces and stresses."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sciten.datasets import AtomsBatch, AtomsDataset
from sciten.potentials import Potential, load_potential, save_potential
from sciten.training.config import TrainConfig
from sciten.training.data import Frames, TrainingData
from sciten.training.error_sums import ErrorSums
from sciten.training.evaluation import Evaluation, evaluate
from sciten.training.losses import Loss, label_counts, loss_sums
from sciten.training.models import prepare
from sciten.training.prediction import detached, predict
from sciten.training.task import LossSums, Panel, Task

_SHOWN = {
    "E": ("valid_energy_per_atom_rmse_mev", "meV/atom"),
    "F": ("valid_forces_rmse_mev_per_angstrom", "meV/Å"),
}


@dataclass(frozen=True)
class PotentialTask(Task[Potential, AtomsBatch, Loss]):
    """The run of a potential.

    Attributes:
        config: its settings.
    """

    config: TrainConfig

    model_noun = "potential"
    sample_noun = "frames"
    panels = (
        Panel("energy RMSE (meV/atom)", ("valid_energy_per_atom_rmse_mev",)),
        Panel("force RMSE (meV/Å)", ("valid_forces_rmse_mev_per_angstrom",)),
        Panel("stress RMSE (meV/Å³)", ("valid_stress_rmse_mev_per_cubic_angstrom",)),
    )

    def check_file(self, path: Path) -> None:
        """Raise `DataError` where a file is no dataset of structures."""
        with AtomsDataset(path):
            pass

    def prepare(
        self, model: Potential | None, *, device: str | None = None, progress: bool = False
    ) -> tuple[Potential, TrainingData]:
        """The potential to train and its frames, see `sciten.training.models.prepare`."""
        return prepare(self.config, model, device=device, progress=progress)

    def label_counts(self, batch: AtomsBatch) -> Tensor:
        """Labelled energies, force components and stress components, `[3]`."""
        return label_counts(batch)

    def loss_sums(self, model: Potential, batch: AtomsBatch, loss: Loss) -> LossSums:
        """The loss of a batch; forces and stress are computed where they have a weight."""
        prediction = predict(model, batch, forces=loss.forces > 0, stress=loss.stress > 0)
        return loss_sums(batch, prediction, loss)

    def errors(self, device: torch.device) -> ErrorSums:
        """Errors of energies, forces and stresses."""
        return ErrorSums(device)

    def validate(self, model: Potential, batch: AtomsBatch, loss: Loss, errors: ErrorSums) -> LossSums:
        """The loss and the errors of a batch, of every label it has."""
        prediction = detached(predict(model, batch, forces=True, stress=True))
        errors.add(batch, prediction)
        return loss_sums(batch, prediction, loss)

    def summary(self, metrics: Mapping[str, Any]) -> list[str]:
        """Root mean square errors of energies per atom and of forces."""
        return [f"{name} {metrics[key]:.2f} {unit}" for name, (key, unit) in _SHOWN.items() if key in metrics]

    def save(self, model: Potential, folder: Path, provenance: Mapping[str, str]) -> None:
        """Write the potential."""
        save_potential(model, folder, provenance=provenance)

    def load(self, folder: Path) -> Potential:
        """Read the potential."""
        return load_potential(folder)

    def evaluate(self, model: Potential, samples: Frames, name: str) -> Evaluation:
        """Errors per configuration type on the validation frames."""
        return evaluate(
            model,
            samples.dataset,
            indices=samples.indices,
            batch_size=self.config.valid_batch_size,
            model_name=name,
        )
