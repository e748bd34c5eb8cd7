"""What a model takes from its training set: isolated-atom energies, neighbours, scale and shift."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from tqdm import tqdm

from sciten.errors import DataError
from sciten.potentials import Potential
from sciten.training.config import TrainConfig
from sciten.training.data import Frames

_BATCH = 32


@dataclass(frozen=True)
class Statistics:
    """Of a training set.

    Attributes:
        average_neighbors: directed neighbour pairs per atom.
        scale: root mean square of the force components, eV/Å; where there are no forces, of the energies per
            atom about `shift`, eV; 1 where that is zero.
        shift: mean over frames of the energy per atom beyond the isolated atoms', eV; 0 without energies.
    """

    average_neighbors: float
    scale: float
    shift: float


def statistics(frames: Frames, isolated: Mapping[int, float], *, progress: bool = False) -> Statistics:
    """One pass over the training frames, which also fills their cache.

    Scale and shift are those of mace-torch's `rms_forces_scaling`.

    Args:
        frames: the training set.
        isolated: isolated-atom energies, eV, by atomic number.
        progress: whether to show a bar on a terminal.
    """
    energies: list[float] = []
    squares = components = edges = atoms = 0.0
    for position in tqdm(
        range(len(frames)), desc="neighbours", leave=False, disable=None if progress else True
    ):
        batch = frames.batch([position])
        edges += batch.n_edges
        atoms += batch.n_atoms
        if batch.energy is not None and batch.energy_mask is not None and bool(batch.energy_mask[0]):
            beyond = float(batch.energy[0]) - sum(isolated[int(z)] for z in batch.numbers)
            energies.append(beyond / batch.n_atoms)
        if batch.forces is not None and batch.forces_mask is not None:
            known = batch.forces[batch.forces_mask]
            squares += float(known.square().sum())
            components += known.numel()
    scale = (squares / components) ** 0.5 if components else float(np.std(energies or [0.0]))
    return Statistics(
        average_neighbors=edges / atoms or 1.0, scale=scale or 1.0, shift=float(np.mean(energies or [0.0]))
    )


def isolated_atom_energies(config: TrainConfig, frames: Frames, elements: Sequence[int]) -> dict[int, float]:
    """The energies of the isolated atoms of `elements` (eV), from where the configuration says.

    Raises:
        DataError: one is missing; the message names the element and the remedy.
    """
    given = config.isolated_atom_energies
    if given == "fit":
        return fit_isolated_atom_energies(frames, elements)
    if isinstance(given, str):
        known, place = (
            frames.dataset.isolated_atom_energies,
            f"{frames.dataset.path}: no isolated-atom frame gives",
        )
    else:
        known = {atomic_numbers[symbol]: energy for symbol, energy in given.items()}
        place = "isolated_atom_energies: the map does not have"
    if missing := [chemical_symbols[z] for z in elements if z not in known]:
        raise DataError(
            f"{place} the energy of {', '.join(missing)}; add such a frame (config_type IsolatedAtom), "
            f"or set isolated_atom_energies to a map such as {{{missing[0]}: -13.6}} in eV or to 'fit' (by "
            "least squares)"
        )
    return {z: float(known[z]) for z in elements}


def fit_isolated_atom_energies(
    frames: Frames, elements: Sequence[int], model: Potential | None = None
) -> dict[int, float]:
    """Energies per element (eV) that explain the energies of the training frames best, in least squares.

    With a `model`, its interaction energies are taken off first and the smallest change of its isolated-atom
    energies is sought: what fine-tuning on another level of theory needs. Where compositions leave a freedom
    (all frames have the same formula, say), the smallest solution is taken.
    """
    energies, compositions = [], []
    for start in range(0, len(frames), _BATCH):
        batch = frames.batch(range(start, min(start + _BATCH, len(frames))))
        if batch.energy is None or batch.energy_mask is None:
            continue
        residual = batch.energy
        if model is not None:
            prediction = model(batch.to(model.device), forces=False, inference=True)
            residual = residual - prediction.energy.cpu()
        counts = np.zeros((batch.n_frames, len(elements)))
        columns = np.searchsorted(elements, batch.numbers.numpy())
        np.add.at(counts, (batch.frame.numpy(), columns), 1.0)
        known = batch.energy_mask.numpy()
        energies.append(residual.numpy()[known])
        compositions.append(counts[known])
    if not energies or not len(np.concatenate(energies)):
        raise DataError(
            f"{frames.dataset.path}: isolated_atom_energies=fit needs energies, but no training frame has one"
        )
    solution = np.linalg.lstsq(np.concatenate(compositions), np.concatenate(energies), rcond=None)[0]
    start_from = np.zeros(len(elements)) if model is None else model.isolated_atom_energies.cpu().numpy()
    return {z: float(value) for z, value in zip(elements, start_from + solution, strict=True)}
