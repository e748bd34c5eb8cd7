"""The label census: which labels a dataset carries, what they look like, and what is suspicious."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sciten.datasets.structure import Structure
from sciten.datasets.suspicion import UnitSample, unit_warnings


@dataclass(frozen=True)
class Statistics:
    """Of some frames: how many carry which label, energy per atom (eV) and force components (eV/Å).

    `energy_min`, `energy_mean`, `energy_max`, `energy_std` are per atom; `force_rms` and `force_max` are of
    the components and of the largest absolute component. They are NaN where no frame carries the label.
    """

    frames: int
    atoms: int
    energy: int
    forces: int
    stress: int
    energy_min: float
    energy_mean: float
    energy_max: float
    energy_std: float
    force_rms: float
    force_max: float


@dataclass(frozen=True)
class Census:
    """What a dataset holds; `str(census)` is the printed table.

    Attributes:
        config_types: statistics by configuration type, isolated atoms among them.
        total: statistics of all frames but the isolated atoms.
        elements: number of atoms by chemical symbol.
        isolated_atom_energies: eV, by chemical symbol.
        warnings: suspected mistakes, one sentence each.
    """

    config_types: Mapping[str, Statistics]
    total: Statistics
    elements: Mapping[str, int]
    isolated_atom_energies: Mapping[str, float]
    warnings: Sequence[str]

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("config type", *_COLUMNS)]
        rows += [(name, *_cells(entry)) for name, entry in self.config_types.items()]
        rows.append(("all but isolated atoms", *_cells(self.total)))
        lines = _table(rows)
        lines.append("units: energies in eV per atom, forces in eV/Å (components)")
        lines.append(
            "atoms by element: " + (", ".join(f"{k} {n}" for k, n in self.elements.items()) or "none")
        )
        isolated = ", ".join(f"{k} {energy:.6f} eV" for k, energy in self.isolated_atom_energies.items())
        lines.append("isolated atoms: " + (isolated or "none with an energy"))
        lines += [f"warning: {text}" for text in self.warnings]
        return "\n".join(lines)


_COLUMNS = (
    "frames",
    "atoms",
    "energy",
    "forces",
    "stress",
    "E min",
    "E mean",
    "E max",
    "E std",
    "F rms",
    "F max",
)


def _cells(entry: Statistics) -> tuple[str, ...]:
    counts = (entry.frames, entry.atoms, entry.energy, entry.forces, entry.stress)
    values = (
        *(
            f"{value:.4f}"
            for value in (entry.energy_min, entry.energy_mean, entry.energy_max, entry.energy_std)
        ),
        *(f"{value:.3f}" for value in (entry.force_rms, entry.force_max)),
    )
    return (*map(str, counts), *("-" if text == "nan" else text for text in values))


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells).rstrip())
    rule = "-" * max(map(len, lines))
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]


@dataclass
class _Running:
    """Sums from which `Statistics` follow, gathered one frame at a time at constant memory."""

    frames: int = 0
    atoms: int = 0
    stress: int = 0
    energies: int = 0
    energy_min: float = np.inf
    energy_max: float = -np.inf
    energy_mean: float = 0.0
    energy_squares: float = 0.0
    forces: int = 0
    force_components: int = 0
    force_squares: float = 0.0
    force_max: float = 0.0

    def add(self, structure: Structure) -> None:
        self.frames += 1
        self.atoms += len(structure)
        self.stress += structure.stress is not None
        if structure.energy is not None:
            self._add_energy(structure.energy / len(structure))
        if structure.forces is not None:
            self.forces += 1
            self.force_components += structure.forces.size
            self.force_squares += float(np.square(structure.forces).sum())
            self.force_max = max(self.force_max, float(np.abs(structure.forces).max()))

    def _add_energy(self, value: float) -> None:
        # Welford's update: a plain sum of squares would cancel, energies being large and their spread small.
        self.energies += 1
        self.energy_min, self.energy_max = min(self.energy_min, value), max(self.energy_max, value)
        before = value - self.energy_mean
        self.energy_mean += before / self.energies
        self.energy_squares += before * (value - self.energy_mean)

    def statistics(self) -> Statistics:
        nan = float("nan")
        known, forces = self.energies > 0, self.forces > 0
        return Statistics(
            frames=self.frames,
            atoms=self.atoms,
            energy=self.energies,
            forces=self.forces,
            stress=self.stress,
            energy_min=self.energy_min if known else nan,
            energy_mean=self.energy_mean if known else nan,
            energy_max=self.energy_max if known else nan,
            energy_std=float(np.sqrt(self.energy_squares / self.energies)) if known else nan,
            force_rms=float(np.sqrt(self.force_squares / self.force_components)) if forces else nan,
            force_max=self.force_max if forces else nan,
        )


@dataclass
class CensusBuilder:
    """Takes the frames of a dataset one by one and gives its census."""

    _config_types: dict[str, _Running] = field(default_factory=dict)
    _total: _Running = field(default_factory=_Running)
    _elements: Counter[int] = field(default_factory=Counter)
    _isolated: dict[int, float] = field(default_factory=dict)
    _label_like: set[tuple[str, str]] = field(default_factory=set)
    _sample: UnitSample = field(default_factory=UnitSample)

    def add(self, structure: Structure) -> None:
        """Count one frame."""
        self._config_types.setdefault(structure.config_type, _Running()).add(structure)
        values, counts = np.unique(structure.numbers, return_counts=True)
        self._elements.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        if structure.is_isolated_atom:
            if structure.energy is not None:
                self._isolated[int(structure.numbers[0])] = structure.energy
            return
        self._total.add(structure)
        self._sample.add(structure)
        self._label_like.update(_label_like(structure))

    def census(self, notes: Sequence[str] = ()) -> Census:
        """The census of the frames so far; `notes` lead its warnings."""
        from ase.data import chemical_symbols

        total = self._total.statistics()
        warnings = [*notes, *self._missing_labels(total), *unit_warnings(self._sample, self._isolated)]
        return Census(
            config_types={name: running.statistics() for name, running in self._config_types.items()},
            total=total,
            elements={chemical_symbols[z]: n for z, n in sorted(self._elements.items())},
            isolated_atom_energies={chemical_symbols[z]: e for z, e in sorted(self._isolated.items())},
            warnings=tuple(warnings),
        )

    def _missing_labels(self, total: Statistics) -> list[str]:
        if total.frames == 0:
            return ["every frame is an isolated atom: there is nothing to train on"]
        warnings = []
        for label, count in (("energy", total.energy), ("forces", total.forces), ("stress", total.stress)):
            options = sorted(option for of, option in self._label_like if of == label)
            if count == 0 and options:
                warnings.append(
                    f"no frame carries {label}; if this is it, import with {' or '.join(options)}"
                )
            elif count == 0 and label == "energy":
                warnings.append("no frame carries energy")
            elif 0 < count < total.frames and label != "stress":
                warnings.append(f"{total.frames - count} of {total.frames} frames carry no {label}")
        return warnings


def _label_like(structure: Structure) -> Iterator[tuple[str, str]]:
    """What further arrays look like labels: which label, and the option that would import it."""
    for name, value in structure.info.items():
        lower, size = name.lower(), np.size(value)
        if "energy" in lower and size == 1 and np.asarray(value).dtype.kind in "iuf":
            yield "energy", f"--energy-key {name}"
        elif "stress" in lower and size in (6, 9):
            yield "stress", f"--stress-key {name}"
        elif "virial" in lower and size in (6, 9):
            yield "stress", f"--virial-key {name}"
    for name, value in structure.arrays.items():
        if "force" in name.lower() and np.shape(value) == (len(structure), 3):
            yield "forces", f"--forces-key {name}"
