"""sciten potentials as ASE calculators."""

import copy
import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, Calculator, PropertyNotImplementedError, all_changes
from torch import Tensor

from sciten.datasets.batch import AtomsBatch
from sciten.datasets.graphs import optional_column
from sciten.errors import ConfigError, DataError
from sciten.integrations.verlet import VerletList
from sciten.potentials.base import Potential, Prediction, has_stress

#: A model folder, a training output folder, or a potential.
ModelLike: TypeAlias = str | os.PathLike[str] | Potential


class NoStressError(DataError, PropertyNotImplementedError):
    """Stress was asked of a structure without a periodic cell; ASE reads it as a property not implemented."""


class SciTenCalculator(Calculator):
    """One sciten potential, or a committee of several, as an ASE calculator.

    Results, in ASE's units (eV, Å): `energy`, `free_energy` (the same number), `energies` per atom, `forces`
    and, for periodic structures, `stress` (Voigt xx yy zz yz xz xy, tension positive). A committee gives the
    mean over its members and, in `calculator.results`, the (population) standard deviations over them:
    `energy_std` (eV), `forces_std` `[n_atoms, 3]` (eV/Å) and `stress_std` `[6]` (eV/Å³).

    The total charge (e) and spin multiplicity of a structure are `atoms.info["charge"]` and `atoms.info["spin"]`.

    The neighbour list is built for `cutoff + skin` and serves until an atom has moved by half the skin.

    Args:
        model: a model folder, a training output folder, a `Potential`, or a sequence of these (a committee).
        device: where to compute; by default the CPU for a folder, and where it lies for a `Potential`.
        dtype: precision of the weights; by default as stored.
        skin: Å.

    Raises:
        ModelError: a folder holds no usable model, or a structure has an element unknown to the model.
        DataError: a structure has no atoms, or stress is asked of one without a periodic cell.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012 (ASE's way)

    def __init__(
        self,
        model: ModelLike | Sequence[ModelLike],
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        skin: float = 0.5,
    ) -> None:
        super().__init__()
        self.potentials = open_potentials(model, device, dtype)
        # Members of a committee with the same cutoff share one list.
        self._lists = {
            cutoff: VerletList(cutoff, skin) for cutoff in {potential.cutoff for potential in self.potentials}
        }

    @property
    def list_builds(self) -> int:
        """How many neighbour lists have been built so far."""
        return sum(neighbors.builds for neighbors in self._lists.values())

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation; the total charge and the spin count, which ASE leaves out."""
        changes: list[str] = super().check_state(atoms, tol)
        earlier = {} if self.atoms is None else self.atoms.info
        return changes + [key for key in ("charge", "spin") if earlier.get(key) != atoms.info.get(key)]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill `results` for `atoms`; ASE calls this."""
        super().calculate(atoms, list(properties), list(system_changes))
        structure = self.atoms
        if structure is None or len(structure) == 0:
            raise DataError("SciTenCalculator: the structure has no atoms; give at least one")
        stress = has_stress(structure)
        if "stress" in properties and not stress:
            raise NoStressError(
                f"SciTenCalculator: stress was asked of {structure.get_chemical_formula()}, which has no "
                "periodic cell of non-zero volume; set a cell and pbc, or leave stress out"
            )
        predictions = [self._predict(potential, structure, stress) for potential in self.potentials]
        self.results = _committee(predictions) if len(predictions) > 1 else predictions[0]
        self.results["free_energy"] = self.results["energy"]

    def _predict(self, potential: Potential, atoms: Atoms, stress: bool) -> dict[str, Any]:
        cell, pbc = atoms.cell.array, atoms.pbc
        edges = self._lists[potential.cutoff].edges(atoms.positions, cell, pbc)
        device = potential.device
        senders, receivers, shifts = (torch.from_numpy(part).to(device) for part in edges)
        numbers = torch.as_tensor(atoms.numbers, dtype=torch.int64, device=device)
        batch = AtomsBatch(
            positions=torch.as_tensor(atoms.positions, dtype=torch.float64, device=device),
            numbers=numbers,
            frame=torch.zeros_like(numbers),
            cell=torch.as_tensor(cell, dtype=torch.float64, device=device)[None],
            pbc=torch.as_tensor(pbc, device=device)[None],
            senders=senders,
            receivers=receivers,
            shifts=shifts,
            charge=optional_column([atoms.info.get("charge")]),
            spin=optional_column([atoms.info.get("spin")]),
        ).to(device)
        return _results(potential.forward_batch(batch, stress=stress))


def open_potentials(
    model: ModelLike | Sequence[ModelLike],
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[Potential, ...]:
    """The potentials of one folder or several, or as given; copies, for another device or dtype."""
    members = [model] if isinstance(model, str | os.PathLike | Potential) else list(model)
    if not members:
        raise ConfigError("expected a model, or several, got an empty list; name at least one")
    return tuple(_open(member, device, dtype) for member in members)


def _open(model: ModelLike, device: torch.device | str | None, dtype: torch.dtype | None) -> Potential:
    if not isinstance(model, Potential):
        from sciten.potentials import load_potential

        return load_potential(model, device="cpu" if device is None else device, dtype=dtype)
    device = model.device if device is None else torch.device(device)
    if device == model.device and dtype in (None, model.dtype):
        return model
    return copy.deepcopy(model).to(device=device, dtype=dtype or model.dtype)


def as_calculator(target: BaseCalculator | ModelLike | Sequence[ModelLike]) -> BaseCalculator:
    """An ASE calculator as it is, or a `SciTenCalculator` of anything that one can be made of."""
    return target if isinstance(target, BaseCalculator) else SciTenCalculator(target)


def _results(prediction: Prediction) -> dict[str, Any]:
    named = {"energies": prediction.atomic_energies, "forces": prediction.forces}
    results: dict[str, Any] = {name: _array(value) for name, value in named.items() if value is not None}
    results["energy"] = float(prediction.energy[0])
    if prediction.stress is not None:
        results["stress"] = _array(prediction.stress[0])
    return results


def _committee(predictions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for name in predictions[0]:
        values = np.stack([prediction[name] for prediction in predictions])
        results[name] = values.mean(axis=0)
        if name != "energies":
            results[f"{name}_std"] = values.std(axis=0)
    return results | {name: float(results[name]) for name in ("energy", "energy_std")}


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float64).numpy()
