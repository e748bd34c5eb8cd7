"""What a run reports per epoch: error sums, `metrics.jsonl`, and TensorBoard events where asked for."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sciten.datasets import AtomsBatch
from sciten.errors import DataError, MissingExtraError, StorageError
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


class MetricsLog:
    """`metrics.jsonl`: one JSON object per line and epoch, that a resumed run cuts back to its checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, metrics: dict[str, Any]) -> int:
        """Add a line; returns the size of the file in bytes."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(metrics) + "\n")
                stream.flush()
                os.fsync(stream.fileno())  # the checkpoint that follows counts on it, even after a power cut
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written: {error.strerror or error}") from error
        return self.path.stat().st_size

    def cut(self, size: int) -> None:
        """Drop everything after `size` bytes; raises `DataError` where the file has less."""
        found = self.path.stat().st_size if self.path.exists() else 0
        if found < size:
            raise DataError(
                f"{self.path}: the checkpoint expects {size} bytes of it, found {found}; restore the file, "
                "or choose another output"
            )
        if found > size:
            with open(self.path, "r+b") as stream:
                stream.truncate(size)

    def read(self) -> list[dict[str, Any]]:
        """All lines."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]


class EventLog:
    """The same numbers as TensorBoard events."""

    def __init__(self, folder: Path, first_epoch: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError(
                "tensorboard=true needs the package tensorboard: pip install 'sciten[tensorboard]'"
            ) from error
        self._writer = SummaryWriter(str(folder), purge_step=first_epoch)

    def append(self, metrics: dict[str, Any]) -> None:
        """Add the numbers of one epoch."""
        for name, value in metrics.items():
            if isinstance(value, int | float) and name != "epoch":
                self._writer.add_scalar(name, value, metrics["epoch"])
        self._writer.flush()
