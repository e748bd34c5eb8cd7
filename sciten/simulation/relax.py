"""Relaxation of atoms, and optionally of their cell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.optimize import LBFGS
from ase.optimize.optimize import Optimizer
from tqdm import tqdm

from sciten.errors import ConfigError, DataError
from sciten.integrations.ase import ModelLike, as_calculator


@dataclass(frozen=True)
class Relaxation:
    """The outcome of a relaxation; not having converged is an outcome too.

    Attributes:
        atoms: the final structure with its calculator.
        converged: whether the largest force is at most `fmax`.
        steps: optimiser steps taken.
        fmax: the largest force on an atom, eV/Å; where the cell is relaxed, those on its coordinates
            included.
        energy: eV.
    """

    atoms: Atoms
    converged: bool
    steps: int
    fmax: float
    energy: float


def relax(
    atoms: Atoms,
    model: BaseCalculator | ModelLike | Sequence[ModelLike],
    *,
    cell: bool = False,
    fmax: float = 0.01,
    max_steps: int = 500,
    pressure: float = 0.0,
    optimizer: type[Optimizer] = LBFGS,
    progress: bool = False,
) -> Relaxation:
    """Move atoms to a minimum of the energy, or with `cell` of the enthalpy.

    Args:
        atoms: the initial structure; it is not changed.
        model: an ASE calculator, or what `SciTenCalculator` takes.
        cell: relax the cell too, all six degrees of freedom (ASE's `FrechetCellFilter`).
        fmax: converged when no force is larger, eV/Å.
        max_steps: give up after so many steps.
        pressure: GPa; only with `cell`.
        optimizer: one of ASE's.
        progress: show a progress bar.

    Raises:
        ConfigError: a parameter is out of range, or the cell of a molecule should be relaxed.
        DataError: the structure is empty.
    """
    if len(atoms) == 0:
        raise DataError("relax: the structure has no atoms; give at least one")
    if not (np.isfinite(fmax) and fmax > 0 and max_steps > 0):
        raise ConfigError(f"relax: fmax and max_steps must be positive, got {fmax} and {max_steps}")
    if cell and not atoms.pbc.all():
        raise ConfigError(
            f"relax: expected a structure periodic along all three axes to relax its cell, got pbc "
            f"{atoms.pbc.tolist()}; leave the cell out"
        )
    atoms = atoms.copy()
    atoms.calc = as_calculator(model)
    target = _with_cell(atoms, pressure) if cell else atoms
    driver = optimizer(target, logfile=None)
    converged = False
    with tqdm(desc="relax", unit="step", disable=None if progress else True) as bar:
        for done in driver.irun(fmax=fmax, steps=max_steps):
            converged = bool(done)
            bar.update()
            bar.set_postfix_str(f"{_largest(target):.4f} eV/Å", refresh=False)
    return Relaxation(
        atoms=atoms,
        converged=converged,
        steps=int(driver.nsteps),
        fmax=_largest(target),
        energy=float(atoms.get_potential_energy()),
    )


def _with_cell(atoms: Atoms, pressure: float) -> Any:
    from ase import units
    from ase.filters import FrechetCellFilter

    return FrechetCellFilter(atoms, scalar_pressure=pressure * units.GPa)


def _largest(target: Any) -> float:
    return float(np.linalg.norm(target.get_forces(), axis=1).max())
