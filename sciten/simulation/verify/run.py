"""All checks in one call."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.data import chemical_symbols
from tqdm import tqdm

from sciten.errors import ConfigError, DataError, ModelError
from sciten.integrations.ase import ModelLike
from sciten.simulation.verify.derivatives import forces, stress
from sciten.simulation.verify.dynamics import nve_drift
from sciten.simulation.verify.extensivity import extensivity
from sciten.simulation.verify.precision import round_trip, single_precision
from sciten.simulation.verify.result import CheckResult, Status, Verification
from sciten.simulation.verify.smoothness import smoothness
from sciten.simulation.verify.structures import default_structures
from sciten.simulation.verify.subject import Subject, make_subject
from sciten.simulation.verify.symmetry import permutation, reflection, rotation, translation

Check = Callable[[Subject, Sequence[Atoms], np.random.Generator], list[CheckResult]]

#: Every check, in the order of the table.
CHECKS: tuple[Check, ...] = (
    rotation,
    reflection,
    translation,
    permutation,
    forces,
    stress,
    extensivity,
    smoothness,
    nve_drift,
    single_precision,
    round_trip,
)
_RATTLE = 0.05  # Å, so that no force vanishes by symmetry


def verify(
    target: BaseCalculator | ModelLike | Sequence[ModelLike],
    structures: Sequence[Atoms] | None = None,
    *,
    checks: Sequence[Check] = CHECKS,
    device: str | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Verification:
    """Check that a potential is what a potential must be.

    A sciten potential is tested in a float64 copy. For a calculator that computes in single precision, the
    tolerances are wider; every result states its own. A check that raises becomes a result of status error.

    Args:
        target: a model folder, a training output folder, a `Potential`, a committee of these, or any ASE
            calculator.
        structures: what to test on; atoms are displaced by about 0.05 Å first, except for dynamics, where the
            smallest molecule (or else structure) is relaxed. By default a molecule and a small crystal of
            the model's elements, see `default_structures`; an ASE calculator needs structures.
        checks: a selection of `CHECKS`.
        device: of a model, as in `SciTenCalculator`.
        seed: of everything that is random.
        progress: show a progress bar.

    Raises:
        ConfigError: no structures for an ASE calculator.
        DataError: a structure has no atoms.
        ModelError: the model cannot be loaded, or does not know an element of a structure.
    """
    started = time.perf_counter()
    if structures is not None and not structures:
        raise ConfigError("verify: expected structures, got an empty list; name at least one")
    if any(len(atoms) == 0 for atoms in structures or ()):
        raise DataError("verify: a structure has no atoms; leave it out")
    given = list(structures or ())
    subject = make_subject(target, [_rattled(atoms, seed) for atoms in given], device)
    if unknown := sorted({int(z) for atoms in given for z in atoms.numbers} - set(subject.elements)):
        names = ", ".join(chemical_symbols[z] for z in unknown)
        have = ", ".join(chemical_symbols[z] for z in subject.elements)
        raise ModelError(f"verify: a structure has {names}, the model knows only {have}; leave it out")
    given = given or list(default_structures(subject.elements))
    rattled = [_rattled(atoms, seed) for atoms in given]
    results: list[CheckResult] = []
    for check in tqdm(checks, desc="verify", unit="check", disable=None if progress else True):
        tested = given if check is nve_drift else rattled
        results += _guarded(check, subject, tested, np.random.default_rng(seed))
    return Verification(
        subject=subject.name,
        structures=tuple(_describe(atoms) for atoms in given),
        results=tuple(results),
        seconds=time.perf_counter() - started,
    )


def _guarded(
    check: Check, subject: Subject, structures: Sequence[Atoms], rng: np.random.Generator
) -> list[CheckResult]:
    # Foreign calculators raise whatever they like; one check that cannot run must not hide the others.
    try:
        return check(subject, structures, rng)
    except Exception as error:
        name = check.__name__.replace("_", " ")
        return [CheckResult(name, Status.ERROR, None, None, "", f"{type(error).__name__}: {error}")]


def _rattled(atoms: Atoms, seed: int) -> Atoms:
    rattled = atoms.copy()
    rattled.positions += np.random.default_rng(seed).normal(scale=_RATTLE, size=atoms.positions.shape)
    return rattled


def _describe(atoms: Atoms) -> str:
    return f"{atoms.get_chemical_formula()}{' (periodic)' if atoms.pbc.any() else ''}"
