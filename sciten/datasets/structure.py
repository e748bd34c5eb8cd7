"""One atomic structure with its labels, as plain NumPy, and its way to and from ASE."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sciten.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ase import Atoms

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_ISOLATED_ATOM = "isolatedatom"


def is_isolated_atom_name(config_type: str) -> bool:
    """Whether a configuration type says isolated atom: `IsolatedAtom`, `isolated_atom`, in any case."""
    return config_type.lower().replace("_", "").replace("-", "").replace(" ", "") == _ISOLATED_ATOM


@dataclass(frozen=True, eq=False)
class Structure:
    """Atoms in one frame, with the labels that are known.

    Attributes:
        positions: `[n_atoms, 3]`, Å, float64.
        numbers: `[n_atoms]`, atomic numbers, int64.
        cell: `[3, 3]`, rows are lattice vectors, Å; zeros for a molecule.
        pbc: `[3]`, bool, periodic axes.
        energy: eV, or None where missing.
        forces: `[n_atoms, 3]`, eV/Å, or None.
        stress: `[6]`, eV/Å³, tension positive, Voigt xx yy zz yz xz xy, or None.
        config_type: configuration type, by which errors are reported and losses weighted.
        charge: total charge, e, or None.
        spin: spin multiplicity, or None.
        info: further arrays of this frame, by name.
        arrays: further arrays with one row per atom, by name.
    """

    positions: np.ndarray
    numbers: np.ndarray
    cell: np.ndarray = field(default_factory=lambda: np.zeros((3, 3)))
    pbc: np.ndarray = field(default_factory=lambda: np.zeros(3, dtype=bool))
    energy: float | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    config_type: str = "default"
    charge: float | None = None
    spin: float | None = None
    info: Mapping[str, np.ndarray] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def is_isolated_atom(self) -> bool:
        """Whether the configuration type says so; such frames give reference energies, not training data."""
        return is_isolated_atom_name(self.config_type)

    @property
    def volume(self) -> float:
        """Cell volume, Å³; zero for a molecule."""
        return float(abs(np.linalg.det(self.cell)))

    @classmethod
    def from_ase(cls, atoms: "Atoms", keys: "LabelKeys | None" = None) -> "Structure":
        """The structure of an ASE object, labels taken from where `keys` says.

        The cell of a structure that is periodic along no axis means nothing and is left out, and so are
        entries of `info` that are neither numbers nor strings and the results of a calculator for other
        positions. Raises `DataError` where a label has the wrong shape.
        """
        keys = keys or LabelKeys()
        labels = _Labels(atoms, keys)  # the labels first: what they leave is kept in `info` and `arrays`
        return cls(
            positions=np.array(atoms.positions, dtype=np.float64),
            numbers=np.array(atoms.numbers, dtype=np.int64),
            cell=np.array(atoms.cell.array, dtype=np.float64) if atoms.pbc.any() else np.zeros((3, 3)),
            pbc=np.array(atoms.pbc, dtype=bool),
            energy=labels.energy(),
            forces=labels.forces(),
            stress=labels.stress(),
            config_type=labels.config_type(),
            charge=labels.number("charge"),
            spin=labels.number("spin"),
            info=labels.remaining_info(),
            arrays=labels.remaining_arrays(),
        )

    def to_ase(self) -> "Atoms":
        """The same structure for ASE: labels in a `SinglePointCalculator`, others in `info` and `arrays`."""
        from ase import Atoms
        from ase.calculators.singlepoint import SinglePointCalculator

        info: dict[str, Any] = {name: _plain(value) for name, value in self.info.items()}
        info["config_type"] = self.config_type
        info |= {name: value for name in ("charge", "spin") if (value := getattr(self, name)) is not None}
        atoms = Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc, info=info)
        for name, values in self.arrays.items():
            atoms.set_array(name, np.asarray(values))
        labels = {"energy": self.energy, "forces": self.forces, "stress": self.stress}
        labels = {name: value for name, value in labels.items() if value is not None}
        if labels:
            atoms.calc = SinglePointCalculator(atoms, **labels)
        return atoms


@dataclass(frozen=True)
class LabelKeys:
    """Where the labels of an ASE object stand; None means the results of its calculator.

    Attributes:
        energy: a key of `atoms.info`.
        forces: a key of `atoms.arrays`.
        stress: a key of `atoms.info`, eV/Å³, tension positive: 6 Voigt entries, 9 or 3x3.
        virial: a key of `atoms.info`, eV; the stress is then -virial / volume.
        config_type: the key of `atoms.info` with the configuration type.
    """

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None
    virial: str | None = None
    config_type: str = "config_type"

    def __post_init__(self) -> None:
        if self.stress is not None and self.virial is not None:
            raise ConfigError(
                f"expected a stress key or a virial key, got both ({self.stress!r} and {self.virial!r}); leave one out"
            )

    def explicit(self) -> tuple[str, ...]:
        """The keys that the user named."""
        named = (self.energy, self.forces, self.stress, self.virial)
        renamed = self.config_type if self.config_type != "config_type" else None
        return tuple(key for key in (*named, renamed) if key)


def to_voigt(stress: np.ndarray, name: str = "stress") -> np.ndarray:
    """A stress of 6, 9 or 3x3 entries as Voigt xx yy zz yz xz xy.

    A full one must be symmetric to one per cent; `DataError` begins with `name` where it is not.
    """
    stress = np.asarray(stress, dtype=np.float64)
    if stress.shape == (6,):
        return stress.copy()
    if stress.shape not in ((9,), (3, 3)):
        raise DataError(f"{name}: expected 6 Voigt entries, 9 entries or 3x3, got shape {list(stress.shape)}")
    full = stress.reshape(3, 3)
    if np.abs(full - full.T).max() > 0.01 * np.abs(full).max() + 1e-6:
        raise DataError(f"{name}: expected a symmetric tensor, got {full.tolist()}")
    symmetric = 0.5 * (full + full.T)
    return np.array([symmetric[i, j] for i, j in VOIGT])


class _Labels:
    """Picks labels out of an ASE object and remembers which, so that the rest can be kept beside them."""

    def __init__(self, atoms: "Atoms", keys: LabelKeys) -> None:
        self.atoms = atoms
        self.keys = keys
        self.results = _current_results(atoms)
        self.taken = {"config_type", keys.config_type, "charge", "spin"}

    def _take(self, key: str | None, default: str) -> Any:
        if key is None:
            return self.results.get(default)
        self.taken.add(key)
        for place in (self.atoms.info, self.atoms.arrays, self.results):
            if key in place:
                return place[key]
        return None

    def energy(self) -> float | None:
        return _number(self._take(self.keys.energy, "energy"), self.keys.energy or "energy")

    def forces(self) -> np.ndarray | None:
        value = self._take(self.keys.forces, "forces")
        name = self.keys.forces or "forces"
        if value is None:
            return None
        forces = _floats(value, name)
        if forces.shape != (len(self.atoms), 3):
            raise DataError(f"{name}: expected shape [{len(self.atoms)}, 3], got {list(forces.shape)}")
        return forces

    def stress(self) -> np.ndarray | None:
        if self.keys.virial is not None:  # there is no stress key beside it, see LabelKeys
            value = self._take(self.keys.virial, "virial")
            volume = abs(np.linalg.det(self.atoms.cell.array))
            if value is None or volume == 0:
                return None
            return -to_voigt(_floats(value, self.keys.virial), self.keys.virial) / volume
        value = self._take(self.keys.stress, "stress")
        name = self.keys.stress or "stress"
        return None if value is None else to_voigt(_floats(value, name), name)

    def config_type(self) -> str:
        value = self.atoms.info.get(self.keys.config_type)
        return "default" if value is None or str(value) == "" else str(value)

    def number(self, key: str) -> float | None:
        return _number(self.atoms.info.get(key), key)

    def remaining_info(self) -> dict[str, np.ndarray]:
        entries = {**self._other_results(per_atom=False), **self.atoms.info}
        return {
            str(name): np.asarray(value)
            for name, value in entries.items()
            if name not in self.taken and value is not None and _is_array(value)
        }

    def remaining_arrays(self) -> dict[str, np.ndarray]:
        entries = {**self._other_results(per_atom=True), **self.atoms.arrays}
        skipped = self.taken | {"numbers", "positions"}
        return {str(name): np.array(value) for name, value in entries.items() if name not in skipped}

    def _other_results(self, per_atom: bool) -> dict[str, Any]:
        # A calculator also gives magnetic moments, charges, dipoles ...: worth keeping, though not labels
        # here.
        known = {"energy", "forces", "stress"}
        return {
            name: value
            for name, value in self.results.items()
            if name not in known
            and value is not None
            and (np.shape(value)[:1] == (len(self.atoms),)) == per_atom
        }


def _current_results(atoms: "Atoms") -> dict[str, Any]:
    calculator = atoms.calc
    if calculator is None:
        return {}
    changes = calculator.check_state(atoms) if hasattr(calculator, "check_state") else []
    if {"positions", "numbers", "cell", "pbc"} & set(changes):
        return {}  # the results of other positions than these
    return dict(getattr(calculator, "results", None) or {})


def _number(value: Any, name: str) -> float | None:
    if value is None:
        return None
    array = _floats(value, name)
    if array.size != 1:
        raise DataError(f"{name}: expected one number, got shape {list(array.shape)}")
    return float(array.reshape(()))


def _floats(value: Any, name: str) -> np.ndarray:
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: expected numbers, got {str(value)[:60]!r}") from error


def _is_array(value: Any) -> bool:
    try:
        return np.asarray(value).dtype.kind in "biufU"
    except ValueError:  # a ragged list
        return False


def _plain(value: np.ndarray) -> Any:
    value = np.asarray(value)
    return value.item() if value.ndim == 0 else value
