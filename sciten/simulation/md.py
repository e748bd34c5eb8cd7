"""Molecular dynamics with any potential or ASE calculator, stored as it goes and resumable."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import BaseCalculator
from tqdm import tqdm

from sciten.errors import ConfigError, DataError, DivergenceError
from sciten.integrations.ase import ModelLike, as_calculator
from sciten.simulation.ensembles import Ensemble, Integrator
from sciten.simulation.h5md import Frame, Restart, TrajectoryWriter
from sciten.simulation.velocities import draw_velocities

_SAME_ENERGY = 1e-4  # eV per atom; float32 on another machine differs by less, another model by more


@dataclass(frozen=True)
class MDResult:
    """The end of a run.

    Attributes:
        atoms: the final structure with its velocities and its calculator.
        steps: number of the last step.
        output: the trajectory, or None.
    """

    atoms: Atoms
    steps: int
    output: Path | None


def run_md(
    atoms: Atoms,
    model: BaseCalculator | ModelLike | Sequence[ModelLike],
    ensemble: Ensemble,
    *,
    steps: int,
    timestep: float = 0.5,
    initial_temperature: float | None = None,
    seed: int = 0,
    output: str | os.PathLike[str] | None = None,
    interval: int = 10,
    resume: bool = False,
    overwrite: bool = False,
    max_temperature: float = 10_000.0,
    progress: bool = False,
) -> MDResult:
    """Move atoms for a number of steps.

    Velocities that `atoms` brings are kept; otherwise they are drawn at `initial_temperature`, or else at the
    ensemble's temperature, with the centre of mass at rest; where there is neither, the atoms start at rest.

    Resumed, a run goes on from the last stored frame, bit for bit as if it had never stopped, to `steps` in
    all; where `output` does not exist yet it starts. Structure and parameters must be those of the first
    start.

    Args:
        atoms: the initial structure; it is not changed.
        model: an ASE calculator, or what `SciTenCalculator` takes.
        ensemble: `NVE()`, `Langevin(...)`, `NoseHoover(...)` or `NPT(...)`.
        steps: number of steps, counted from the first start.
        timestep: fs.
        initial_temperature: K.
        seed: of initial velocities and noise.
        output: an H5MD file for every `interval`-th step (see `sciten.simulation.h5md`); None stores nothing.
        interval: steps between frames.
        resume: go on with an existing `output`.
        overwrite: replace an existing `output`.
        max_temperature: K; a hotter system is taken to have exploded.
        progress: show a progress bar.

    Raises:
        ConfigError: a parameter is out of range, or it or the model is not that of the run to be resumed.
        DataError: the structure is empty, or `output` is not a trajectory of this structure.
        DivergenceError: an energy is not finite, the temperature passes `max_temperature`, or the cell's
            volume changes fourfold.
    """
    _check(atoms, steps=steps, interval=interval, timestep=timestep)
    path = None if output is None else Path(output)
    run = _Run(atoms, model, ensemble, timestep, interval, seed)
    if path is not None and path.exists() and not (resume or overwrite):
        raise ConfigError(f"{path} exists: resume the run, allow it to be overwritten, or name another file")
    writer = None
    if path is not None and path.exists() and resume:
        writer = run.resume(path)
    else:
        run.start(initial_temperature)
        if path is not None:
            writer = TrajectoryWriter.create(path, run.atoms, run.describe(), run.frame(), run.restart())
    try:
        run.go(steps, writer, max_temperature, progress)
    finally:
        if writer is not None:
            writer.close()
    return MDResult(atoms=run.atoms, steps=run.step, output=path)


class _Run:
    """The moving parts of one run: the atoms, the integrator and the random numbers."""

    def __init__(
        self,
        atoms: Atoms,
        model: BaseCalculator | ModelLike | Sequence[ModelLike],
        ensemble: Ensemble,
        timestep: float,
        interval: int,
        seed: int,
    ) -> None:
        self.atoms = atoms.copy()
        self.atoms.calc = as_calculator(model)
        self.ensemble = ensemble
        self.timestep = timestep
        self.interval = interval
        self.seed = seed
        velocities, noise = np.random.SeedSequence(seed).spawn(2)
        self.velocity_rng = np.random.default_rng(velocities)
        self.rng = np.random.default_rng(noise)
        self.step = 0
        arrays = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
        self.initial = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()
        self.volume = atoms.get_volume() if atoms.pbc.all() else None
        self.integrator: Integrator

    def describe(self) -> dict[str, Any]:
        """What must not change when a run is resumed."""
        return {
            "ensemble": self.ensemble.describe(),
            "timestep_fs": self.timestep,
            "interval": self.interval,
            "seed": self.seed,
            "initial_structure_sha256": self.initial,
        }

    def start(self, initial_temperature: float | None) -> None:
        """Begin at step 0, drawing velocities where the structure brings none."""
        temperature = self.ensemble.target_temperature if initial_temperature is None else initial_temperature
        if temperature is not None and not self.atoms.get_momenta().any():
            draw_velocities(self.atoms, temperature, self.velocity_rng)
        self.integrator = self.ensemble.integrator(self.atoms, self.timestep, self.rng)
        self._check_sane()

    def resume(self, path: Path) -> TrajectoryWriter:
        """Take up the run that wrote `path` from its last stored frame."""
        writer = TrajectoryWriter(path)
        try:
            restart, stored = writer.last()
            self._check_same(path, writer.run, stored)
            self._place(path, stored)
            self.atoms.set_momenta(restart.momenta, apply_constraint=False)
            self.integrator = self.ensemble.integrator(self.atoms, self.timestep, self.rng)
            self.ensemble.restore(self.integrator, restart.thermostat)
            self.rng.bit_generator.state = dict(restart.random)
            self.step = restart.step
            writer.cut_after(restart.step)
        except BaseException:
            writer.close()
            raise
        return writer

    def _place(self, path: Path, stored: Atoms) -> None:
        self.atoms.set_positions(stored.positions, apply_constraint=False)
        if stored.pbc.any():
            self.atoms.set_cell(stored.cell)
        self.atoms.set_pbc(stored.pbc)
        self.atoms.set_masses(stored.get_masses())
        energy, before = self.atoms.get_potential_energy(), stored.get_potential_energy()
        if not abs(energy - before) <= _SAME_ENERGY * len(stored):
            raise ConfigError(
                f"{path}: expected {before} eV for the last stored frame, got {energy} eV; "
                "resume with the model that began the run or name another file"
            )

    def go(self, steps: int, writer: TrajectoryWriter | None, max_temperature: float, progress: bool) -> None:
        """Advance to step `steps`."""
        quiet = None if progress else True
        with tqdm(total=steps, initial=self.step, unit="step", desc="md", disable=quiet) as bar:
            while self.step < steps:
                self.integrator.step()
                self.step += 1
                bar.update()
                self._check_sane(max_temperature)
                if self.step % self.interval == 0:
                    if writer is not None:
                        writer.append(self.frame(), self.restart())
                    bar.set_postfix_str(f"{self.atoms.get_temperature():.0f} K", refresh=False)

    def frame(self) -> Frame:
        """The present moment, for the trajectory."""
        atoms = self.atoms
        values: dict[str, np.ndarray | float] = {
            "position": atoms.get_positions(),
            "velocity": atoms.get_velocities() * units.fs,
            "potential_energy": float(atoms.get_potential_energy()),
            "kinetic_energy": float(atoms.get_kinetic_energy()),
            "temperature": float(atoms.get_temperature()),
        }
        if atoms.pbc.any():
            values["edges"] = atoms.cell.array.copy()
        if atoms.pbc.all() and "stress" in getattr(atoms.calc, "implemented_properties", ()):
            values["stress"] = np.asarray(atoms.get_stress(apply_constraint=False))
        return Frame(self.step, self.step * self.timestep, values)

    def restart(self) -> Restart:
        """What the integrator needs to go on from here."""
        return Restart(
            step=self.step,
            momenta=self.atoms.get_momenta(),
            thermostat=self.ensemble.state(self.integrator),
            random=self.rng.bit_generator.state,
        )

    def _check_same(self, path: Path, run: dict[str, Any], stored: Atoms) -> None:
        if not np.array_equal(stored.numbers, self.atoms.numbers):
            raise DataError(
                f"{path}: expected a trajectory of {self.atoms.get_chemical_formula()}, "
                f"got one of {stored.get_chemical_formula()}; name another file"
            )
        for key, value in json.loads(json.dumps(self.describe())).items():
            if run.get(key) != value:
                raise ConfigError(
                    f"{path}: expected {key} {run.get(key)!r}, with which the run began, got {value!r}; "
                    "resume with the same parameters or name another file"
                )

    def _check_sane(self, max_temperature: float = np.inf) -> None:
        # Looked at before each step: the neighbour list of a collapsed cell would fill the memory.
        energy = self.atoms.get_potential_energy()
        temperature = self.atoms.get_temperature()
        where = f"step {self.step} ({self.step * self.timestep:g} fs) of {self.atoms.get_chemical_formula()}"
        remedy = "relax the structure first, take a smaller time step, or train the model for such structures"
        if not (np.isfinite(energy) and np.isfinite(temperature)):
            raise DivergenceError(
                f"{where}: expected finite numbers, got {energy} eV at {temperature} K; {remedy}"
            )
        if temperature > max_temperature:
            raise DivergenceError(
                f"{where}: expected at most {max_temperature:g} K, got {temperature:.0f} K; {remedy}"
            )
        if self.volume and not 0.25 < (ratio := self.atoms.get_volume() / self.volume) < 4:
            raise DivergenceError(
                f"{where}: the volume is {ratio:.2g} times that of the given structure; {remedy}"
            )


def _check(atoms: Atoms, **positive: float) -> None:
    if len(atoms) == 0:
        raise DataError("run_md: the structure has no atoms; give at least one")
    for name, value in positive.items():
        if not (np.isfinite(value) and value > 0):
            raise ConfigError(f"run_md: {name} must be positive, got {value}")
