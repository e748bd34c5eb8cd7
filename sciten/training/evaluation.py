"""How well a model reproduces a dataset: errors per configuration type, as a table, JSON and plots."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from tqdm import tqdm

from sciten.datasets import AtomsDataset, Structure, batch_from_structures
from sciten.errors import DataError
from sciten.files import write_text
from sciten.potentials import Potential

UNITS = {
    "energy": "meV",
    "energy_per_atom": "meV/atom",
    "forces": "meV/Å",
    "stress": "meV/Å³",
}


@dataclass(frozen=True)
class Comparison:
    """Labels of one frame and what the model says; labels are NaN where missing. eV, eV/Å, eV/Å³.

    Attributes:
        config_type: of the frame.
        energy: `[2]`, reference and predicted total energy; forces: `[2, n_atoms, 3]`; stress: `[2, 6]`.
    """

    config_type: str
    energy: np.ndarray
    forces: np.ndarray
    stress: np.ndarray


@dataclass(frozen=True)
class Errors:
    """Errors over the frames of one configuration type, or over all of them ("all").

    Energies are of whole frames (`energy`, meV) and divided by the number of atoms (`energy_per_atom`, meV);
    forces (meV/Å) and stress (meV/Å³) are component-wise. None where there are no labels.
    """

    config_type: str
    frames: int
    atoms: int
    energy_mae: float | None
    energy_rmse: float | None
    energy_per_atom_mae: float | None
    energy_per_atom_rmse: float | None
    forces_mae: float | None
    forces_rmse: float | None
    stress_mae: float | None
    stress_rmse: float | None


@dataclass(frozen=True)
class Evaluation:
    """A model against a dataset.

    Attributes:
        dataset, model: their names, for the record.
        comparisons: one per frame.
    """

    dataset: str
    model: str
    comparisons: tuple[Comparison, ...]

    @property
    def remark(self) -> str:
        """What the headings of the table mean."""
        return "E is the energy of a whole frame, E/atom that divided by its atoms; F is per component."

    def errors(self) -> list[Errors]:
        """One entry for each configuration type, then one for all frames together where there are several."""
        types = sorted({entry.config_type for entry in self.comparisons})
        rows = [_errors(name, [c for c in self.comparisons if c.config_type == name]) for name in types]
        return rows if len(rows) == 1 else [*rows, self.overall()]

    def overall(self) -> Errors:
        """Errors over all frames."""
        return _errors("all", self.comparisons)

    def rows(self) -> list[list[str]]:
        """The table as cells, headings first."""
        shown = [name for name in UNITS if getattr(self.overall(), f"{name}_mae") is not None]
        labels = {"energy": "E", "energy_per_atom": "E/atom", "forces": "F", "stress": "S"}
        heads = [f"{labels[name]} {kind} ({UNITS[name]})" for name in shown for kind in ("MAE", "RMSE")]
        table = [["configuration type", "frames", *heads]]
        for row in self.errors():
            values = [getattr(row, f"{name}_{kind}") for name in shown for kind in ("mae", "rmse")]
            table.append(
                [row.config_type, str(row.frames), *("-" if v is None else f"{v:.2f}" for v in values)]
            )
        return table

    def table(self) -> str:
        """The table as text. E is the energy of a whole frame, E/atom that divided by its number of atoms."""
        rows = self.rows()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
            )
            for row in rows
        ]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])

    def to_json(self) -> dict[str, Any]:
        """The errors as JSON values."""
        return {
            "model": self.model,
            "dataset": self.dataset,
            "units": UNITS,
            "overall": asdict(self.overall()),
            "errors": [asdict(row) for row in self.errors()],
        }

    def write(self, folder: str | os.PathLike[str], prefix: str = "") -> list[Path]:
        """Write `evaluation.json`, `evaluation.txt` and the plots to `folder`; returns the PNG files."""
        from sciten.training.plots import error_plot, parity_plots

        folder = Path(folder)
        document = json.dumps(self.to_json(), indent=1, ensure_ascii=False)
        write_text(folder / f"{prefix}evaluation.json", document + "\n")
        write_text(folder / f"{prefix}evaluation.txt", self.table() + "\n")
        return [*parity_plots(self, folder, prefix), error_plot(self, folder, prefix)]

    def pairs(self, quantity: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Configuration type, labels and predictions of a quantity, for each frame that has a label."""
        for entry in self.comparisons:
            reference, predicted = _quantity(entry, quantity)
            known = np.isfinite(reference)
            if known.any():
                yield entry.config_type, reference[known], predicted[known]


def evaluate(
    model: Potential,
    dataset: AtomsDataset | Sequence[Structure] | str | os.PathLike[str],
    *,
    indices: Sequence[int] | np.ndarray | None = None,
    batch_size: int = 32,
    model_name: str = "",
    progress: bool = False,
) -> Evaluation:
    """Compare a model with the labels of a dataset.

    Args:
        model: any potential; its weights are taken as fixed.
        dataset: an open dataset, the path of one, or structures.
        indices: which frames; by default all but isolated atoms.
        batch_size: frames at once.
        model_name: for the record.
        progress: whether to show a bar on a terminal.

    Raises:
        DataError: there is no frame, no label, or one has an element that the model does not know.
    """
    if isinstance(dataset, str | os.PathLike):
        dataset = AtomsDataset(dataset)
    name = str(dataset.path) if isinstance(dataset, AtomsDataset) else f"{len(dataset)} structures"
    if indices is None:
        indices = dataset.frames if isinstance(dataset, AtomsDataset) else range(len(dataset))
    if len(indices) == 0:
        raise DataError(f"{name}: expected frames to evaluate, found none that are not isolated atoms")
    comparisons: list[Comparison] = []
    starts = range(0, len(indices), batch_size)
    for start in tqdm(starts, desc="evaluate", leave=False, disable=None if progress else True):
        chosen = [int(i) for i in indices[start : start + batch_size]]
        frames = [dataset[i] for i in chosen]
        for index, frame in zip(chosen, frames, strict=True):
            _require_known(model, frame, f"{name}: frame {index}")
        comparisons += _compare(model, frames)
    if not any(np.isfinite(a[0]).any() for c in comparisons for a in (c.energy, c.forces, c.stress)):
        raise DataError(
            f"{name}: expected labels to compare with, found none in {len(comparisons)} frames; import it again "
            "naming their keys (see `sciten data import --help`)"
        )
    return Evaluation(name, model_name or type(model).__name__, tuple(comparisons))


def _compare(model: Potential, frames: Sequence[Structure]) -> list[Comparison]:
    """Comparisons in the order of `frames`; those with a stress label are computed apart from the others."""
    results: list[Comparison | None] = [None] * len(frames)
    for with_stress in (True, False):
        chosen = [i for i, frame in enumerate(frames) if (frame.stress is not None) == with_stress]
        if not chosen:
            continue
        batch = batch_from_structures([frames[i] for i in chosen], model.cutoff).to(model.device)
        prediction = model(batch, stress=with_stress, inference=True)
        counts = [len(frames[i]) for i in chosen]
        forces = torch.split(prediction.forces.cpu(), counts)
        for position, i in enumerate(chosen):
            stress = prediction.stress[position].cpu().numpy() if with_stress else np.full(6, np.nan)
            energy = float(prediction.energy[position])
            results[i] = _comparison(frames[i], energy, forces[position].numpy(), stress)
    return [entry for entry in results if entry is not None]


def _comparison(frame: Structure, energy: float, forces: np.ndarray, stress: np.ndarray) -> Comparison:
    known_forces = np.full_like(forces, np.nan) if frame.forces is None else frame.forces
    known_stress = np.full(6, np.nan) if frame.stress is None else frame.stress
    return Comparison(
        config_type=frame.config_type,
        energy=np.array([np.nan if frame.energy is None else frame.energy, energy]),
        forces=np.stack([known_forces, forces]),
        stress=np.stack([known_stress, stress]),
    )


def _require_known(model: Potential, frame: Structure, where: str) -> None:
    if unknown := sorted({int(z) for z in frame.numbers} - set(model.elements)):
        have = ", ".join(chemical_symbols[z] for z in model.elements)
        names = ", ".join(chemical_symbols[z] for z in unknown)
        raise DataError(f"{where} has {names}, but the model knows only {have}")


def _quantity(entry: Comparison, quantity: str) -> tuple[np.ndarray, np.ndarray]:
    if quantity == "energy_per_atom":
        reference, predicted = entry.energy / entry.forces.shape[1]
        return np.array([reference]), np.array([predicted])
    values: np.ndarray = getattr(entry, quantity)
    return values[0].reshape(-1), values[1].reshape(-1)


def _errors(name: str, entries: Sequence[Comparison]) -> Errors:
    found: dict[str, float | None] = {}
    for quantity in UNITS:
        pairs = [_quantity(entry, quantity) for entry in entries]
        # Missing labels are NaN; a prediction that is no number must show.
        difference = 1e3 * np.concatenate([(b - a)[np.isfinite(a)] for a, b in pairs])
        measures: dict[str, Callable[[np.ndarray], float]] = {
            "mae": lambda d: float(np.abs(d).mean()),
            "rmse": lambda d: float(np.sqrt(np.square(d).mean())),
        }
        for kind, measure in measures.items():
            found[f"{quantity}_{kind}"] = measure(difference) if len(difference) else None
    atoms = sum(entry.forces.shape[1] for entry in entries)
    return Errors(config_type=name, frames=len(entries), atoms=atoms, **found)
