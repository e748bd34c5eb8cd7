"""The ensembles of molecular dynamics, as values; each builds ASE's integrator for it and knows its state."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, Protocol

import numpy as np
from ase import Atoms, units

from sciten.errors import ConfigError


class Integrator(Protocol):
    """What an ASE integrator offers here."""

    def step(self) -> Any:
        """Advance the atoms by one time step."""


class Ensemble(ABC):
    """What is held fixed while the atoms move."""

    #: Attributes of ASE's integrator that, beyond positions, momenta and cell, make up its state.
    _state: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def integrator(self, atoms: Atoms, timestep: float, rng: np.random.Generator) -> Integrator:
        """ASE's integrator for `atoms`; `timestep` in fs, `rng` for the ensembles with noise."""

    @property
    def target_temperature(self) -> float | None:
        """The thermostat's temperature in K, or None without a thermostat."""
        return getattr(self, "temperature", None)

    def state(self, integrator: Integrator) -> np.ndarray:
        """The thermostat's and barostat's variables, `[n]`; empty where there are none."""
        values = [np.ravel(_get(integrator, name)) for name in self._state]
        return np.concatenate([np.zeros(0), *values])

    def restore(self, integrator: Integrator, state: np.ndarray) -> None:
        """Put back what `state` gave, into an integrator built anew."""
        start = 0
        for name in self._state:
            present = _get(integrator, name)
            value = state[start : start + np.size(present)].reshape(np.shape(present))
            _set(integrator, name, value.copy() if np.ndim(present) else float(value))
            start += np.size(present)

    def describe(self) -> dict[str, Any]:
        """Name and parameters as JSON values."""
        return {"name": type(self).__name__} | vars(self)

    def _check_positive(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ConfigError(f"{type(self).__name__}: {name} must be positive and finite, got {value}")


@dataclass(frozen=True)
class NVE(Ensemble):
    """Constant energy, by velocity Verlet."""

    def integrator(self, atoms: Atoms, timestep: float, rng: np.random.Generator) -> Integrator:
        """As in `Ensemble`."""
        from ase.md.verlet import VelocityVerlet

        return VelocityVerlet(atoms, timestep * units.fs)


@dataclass(frozen=True)
class Langevin(Ensemble):
    """Constant temperature by friction and noise.

    Integrator: Vanden-Eijnden and Ciccotti, Chem. Phys. Lett. 429, 310 (2006).

    Attributes:
        temperature: K.
        friction: 1/fs.
    """

    temperature: float
    friction: float = 0.01

    def __post_init__(self) -> None:
        self._check_positive("temperature", "friction")

    def integrator(self, atoms: Atoms, timestep: float, rng: np.random.Generator) -> Integrator:
        """As in `Ensemble`."""
        from ase.md.langevin import Langevin as AseLangevin

        # ASE's default keeps the centre of mass fixed, which does not sample the canonical ensemble.
        return AseLangevin(
            atoms,
            timestep * units.fs,
            temperature_K=self.temperature,
            friction=self.friction / units.fs,
            fixcm=False,
            rng=rng,
        )


@dataclass(frozen=True)
class NoseHoover(Ensemble):
    """Constant temperature by a Nosé-Hoover chain of three.

    Martyna, Klein and Tuckerman, J. Chem. Phys. 97, 2635 (1992). As everywhere in ASE, the temperature counts
    three degrees of freedom per atom, the centre of mass included.

    Attributes:
        temperature: K.
        time_constant: of the thermostat, fs.
    """

    temperature: float
    time_constant: float = 50.0

    _state: ClassVar[tuple[str, ...]] = ("_thermostat._eta", "_thermostat._p_eta")

    def __post_init__(self) -> None:
        self._check_positive("temperature", "time_constant")

    def integrator(self, atoms: Atoms, timestep: float, rng: np.random.Generator) -> Integrator:
        """As in `Ensemble`."""
        from ase.md.nose_hoover_chain import NoseHooverChainNVT

        _refuse_constraints(self, atoms)
        return NoseHooverChainNVT(
            atoms,
            timestep * units.fs,
            temperature_K=self.temperature,
            tdamp=self.time_constant * units.fs,
        )


@dataclass(frozen=True)
class NPT(Ensemble):
    """Constant temperature and pressure; the cell keeps its shape.

    Martyna, Tobias and Klein, J. Chem. Phys. 101, 4177 (1994).

    Attributes:
        temperature: K.
        pressure: GPa.
        time_constant: of the thermostat, fs.
        pressure_time_constant: of the barostat, fs.
    """

    temperature: float
    pressure: float = 0.0
    time_constant: float = 50.0
    pressure_time_constant: float = 500.0

    _state: ClassVar[tuple[str, ...]] = (
        "_thermostat._eta",
        "_thermostat._p_eta",
        "_barostat._xi",
        "_barostat._p_xi",
        "_eps",
        "_p_eps",
        "_cell0",
        "_volume0",
    )

    def __post_init__(self) -> None:
        self._check_positive("temperature", "time_constant", "pressure_time_constant")
        if not np.isfinite(self.pressure):
            raise ConfigError(f"NPT: pressure must be finite, got {self.pressure}")

    def integrator(self, atoms: Atoms, timestep: float, rng: np.random.Generator) -> Integrator:
        """As in `Ensemble`; raises `ConfigError` for a structure not periodic along all three axes."""
        from ase.md.nose_hoover_chain import IsotropicMTKNPT

        if not atoms.pbc.all():
            raise ConfigError(
                f"NPT: expected a structure periodic along all three axes, got pbc {atoms.pbc.tolist()}; "
                "choose an ensemble of constant volume"
            )
        _refuse_constraints(self, atoms)
        return IsotropicMTKNPT(
            atoms,
            timestep * units.fs,
            temperature_K=self.temperature,
            pressure_au=self.pressure * units.GPa,
            tdamp=self.time_constant * units.fs,
            pdamp=self.pressure_time_constant * units.fs,
        )


def _refuse_constraints(ensemble: Ensemble, atoms: Atoms) -> None:
    # ASE's chains keep positions and momenta of their own, which constraints would not reach.
    if atoms.constraints:
        raise ConfigError(
            f"{type(ensemble).__name__}: expected a structure without constraints, which ASE's Nosé-Hoover "
            f"chains do not support, got {len(atoms.constraints)}; remove them or use Langevin"
        )


def _get(owner: Any, name: str) -> Any:
    return reduce(getattr, name.split("."), owner)


def _set(owner: Any, name: str, value: Any) -> None:
    *path, last = name.split(".")
    setattr(reduce(getattr, path, owner), last, value)
