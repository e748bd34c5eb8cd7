"""What every interatomic potential shares: from energies per atom to energy, forces and stress."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sciten.datasets.batch import AtomsBatch
from sciten.errors import ConfigError, DataError, ModelError
from sciten.potentials.precision import Float64Buffers

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class Prediction:
    """What a potential says about a batch.

    Attributes:
        energy: total energies, `[n_frames]`, eV, float64.
        forces: `[n_atoms, 3]`, eV/Å, or None where not asked for.
        stress: `[n_frames, 6]`, eV/Å³, tension positive, Voigt xx yy zz yz xz xy, or None.
        atomic_energies: `[n_atoms]`, eV, float64; they add up to `energy`.
    """

    energy: Tensor
    forces: Tensor | None
    stress: Tensor | None
    atomic_energies: Tensor


_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


class Potential(Float64Buffers, ABC):
    """An interatomic potential: a sum of energies per atom, each a function of nearby edge vectors.

    A subclass gives `elements`, `cutoff`, `interaction_energies` and `arguments`; forces and stress follow here
    by differentiating with respect to the edge vectors, so they are conservative by construction.
    """

    elements: tuple[int, ...]  #: atomic numbers the model knows, ascending
    cutoff: float  #: Å; edges of this length or more do not contribute
    chiral: bool = False  #: whether a structure and its mirror image may have different energies
    isolated_atom_energies: Tensor  #: buffer `[n_elements]`, eV, float64

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values; `type(self)(**arguments())` has the same architecture."""

    @abstractmethod
    def interaction_energies(self, batch: AtomsBatch, vectors: Tensor) -> Tensor:
        """Energies per atom beyond the isolated atom's, `[n_atoms]`, eV, float64.

        `vectors` are the edge vectors `[n_edges, 3]`, Å, float64, differentiable to any order.
        """

    def restricted_entry(self, name: str, value: Tensor, positions: Tensor) -> Tensor:
        """An entry of the state as a model of the elements at `positions` in `elements` has it.

        What `sciten.potentials.select_elements` asks for; a subclass that can be restricted says it here.
        """
        raise ModelError(f"{type(self).__name__}: cannot be restricted to fewer elements")

    def inference_energies(self, batch: AtomsBatch, vectors: Tensor) -> Tensor:
        """As `interaction_energies`, with weights taken as fixed; a subclass may have a faster way."""
        return self.interaction_energies(batch, vectors)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.isolated_atom_energies.device

    def species(self, batch: AtomsBatch) -> Tensor:
        """Position of each atom's element in `elements`, `[n_atoms]`; raises `ModelError` for an unknown one."""
        known = torch.tensor(self.elements, device=batch.numbers.device)
        position = torch.searchsorted(known, batch.numbers).clamp(max=len(known) - 1)
        unknown = known[position] != batch.numbers
        if unknown.any():
            from ase.data import chemical_symbols

            names = sorted({chemical_symbols[int(z)] for z in batch.numbers[unknown]})
            have = ", ".join(chemical_symbols[z] for z in self.elements)
            raise ModelError(
                f"{type(self).__name__}: the structure has {', '.join(names)}, the model knows only {have}"
            )
        return position

    def forward(
        self, batch: AtomsBatch, *, forces: bool = True, stress: bool = False, inference: bool = False
    ) -> Prediction:
        """Energy of every frame and, where asked for, forces and stress.

        Args:
            batch: structures with a neighbour list of at least `cutoff`.
            forces: whether to give forces.
            stress: whether to give stress; every frame must then have a cell.
            inference: take the weights as fixed: nothing can be differentiated afterwards, and it is faster.
        """
        # Kernels take arguments of one dtype, and energies lose their meaning in half precision.
        with torch.autocast(self.device.type, enabled=False):
            return self._predict(batch, forces, stress, inference)

    def _predict(self, batch: AtomsBatch, forces: bool, stress: bool, inference: bool) -> Prediction:
        if stress and not bool((batch.volume() > 0).all()):
            frame = int((batch.volume() <= 0).nonzero()[0])
            raise DataError(
                f"stress was asked of frame {frame}, a molecule without a cell; leave stress out or set a cell"
            )
        vectors = batch.edge_vectors()
        derivatives = forces or stress
        with torch.set_grad_enabled(derivatives or (torch.is_grad_enabled() and not inference)):
            vectors = vectors.detach().requires_grad_(True) if derivatives else vectors
            interaction = (self.inference_energies if inference else self.interaction_energies)(
                batch, vectors
            )
            gradient = None
            if derivatives:
                (gradient,) = torch.autograd.grad(
                    interaction.sum(), vectors, create_graph=not inference, materialize_grads=True
                )
        if inference:
            interaction = interaction.detach()
        atomic = interaction + self.isolated_atom_energies[self.species(batch)]
        energy = atomic.new_zeros(batch.n_frames).index_add(0, batch.frame, atomic)
        return Prediction(
            energy=energy,
            forces=_forces(batch, gradient) if forces and gradient is not None else None,
            stress=_stress(batch, vectors, gradient) if stress and gradient is not None else None,
            atomic_energies=atomic,
        )

    def prepare(self, structures: "Sequence[Atoms]") -> AtomsBatch:
        """A batch of ASE structures with the model's neighbour lists, on the model's device."""
        from sciten.datasets.graphs import batch_from_ase

        return batch_from_ase(structures, self.cutoff).to(self.device)

    def forward_batch(self, batch: AtomsBatch, *, stress: bool = False) -> Prediction:
        """Energy and forces (and stress) of a prepared batch, with fixed weights, detached."""
        return self(batch, stress=stress, inference=True)

    def evaluate(
        self, structures: "Sequence[Atoms]", *, batch_size: int = 32
    ) -> list[dict[str, np.ndarray | float]]:
        """Predictions for ASE structures, `batch_size` of them at once.

        Returns one dict for each: `energy` (eV), `forces` `[n_atoms, 3]` (eV/Å) and, where the structure is
        periodic and its cell has a volume, `stress` `[6]` (eV/Å³, Voigt xx yy zz yz xz xy, tension positive).
        """
        if batch_size < 1:
            raise ConfigError(f"evaluate: expected batch_size of at least 1, got {batch_size}")
        results: list[dict[str, np.ndarray | float]] = [{} for _ in structures]
        for kind in (True, False):
            chosen = [i for i, atoms in enumerate(structures) if has_stress(atoms) == kind]
            for start in range(0, len(chosen), batch_size):
                members = chosen[start : start + batch_size]
                predicted = self._evaluate_batch([structures[i] for i in members], stress=kind)
                for i, result in zip(members, predicted, strict=True):
                    results[i] = result
        return results

    def _evaluate_batch(
        self, structures: "Sequence[Atoms]", *, stress: bool
    ) -> "list[dict[str, np.ndarray | float]]":
        prediction = self.forward_batch(self.prepare(structures), stress=stress)
        arrays = {"energy": prediction.energy.tolist()}
        if prediction.forces is not None:
            arrays["forces"] = np.split(
                prediction.forces.cpu().numpy(), np.cumsum([len(atoms) for atoms in structures])[:-1]
            )
        if prediction.stress is not None:
            arrays["stress"] = list(prediction.stress.cpu().numpy())
        return [dict(zip(arrays, row, strict=True)) for row in zip(*arrays.values(), strict=True)]


def has_stress(atoms: "Atoms") -> bool:
    """Whether a structure has a stress: it is periodic along some axis, and its cell has a volume."""
    return bool(atoms.pbc.any()) and abs(float(np.linalg.det(atoms.cell.array))) > 0


def _forces(batch: AtomsBatch, gradient: Tensor) -> Tensor:
    # An edge vector is r_receiver - r_sender, so dE/dvector pulls the receiver back and the sender along.
    zero = gradient.new_zeros(batch.n_atoms, 3)
    return zero.index_add(0, batch.senders, gradient).index_add(0, batch.receivers, -gradient)


def _stress(batch: AtomsBatch, vectors: Tensor, gradient: Tensor) -> Tensor:
    # Under a strain, v -> v (1 + strain): dE/dstrain = sum of v (x) dE/dv, symmetrised, divided by the volume.
    outer = vectors.detach()[:, :, None] * gradient[:, None, :]
    virial = outer.new_zeros(batch.n_frames, 3, 3).index_add(0, batch.frame[batch.senders], outer)
    symmetric = 0.5 * (virial + virial.transpose(1, 2)) / batch.volume()[:, None, None]
    return torch.stack([symmetric[:, i, j] for i, j in _VOIGT], dim=-1)
