"""Writing structures to an atoms file, a block at a time and all or nothing."""

import contextlib
import datetime
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np
from tqdm import tqdm

import sciten
from sciten.datasets import hdf5, schema
from sciten.datasets.census import Census, CensusBuilder
from sciten.datasets.extras import ExtraWriter, append, create_dataset
from sciten.datasets.structure import Structure
from sciten.datasets.validate import check_structure
from sciten.errors import DataError
from sciten.files import sha256

_BLOCK_ATOMS = 16384  # buffered before they are written
_BLOCK_FRAMES = 4096


@dataclass(frozen=True)
class Source:
    """A file that structures came from: its name, its SHA-256 and, where known, how many frames it gave."""

    file: str
    sha256: str
    frames: int | None = None

    @classmethod
    def of(cls, path: str | os.PathLike[str], frames: int | None = None) -> "Source":
        """The record of a file that stands on disk."""
        return cls(Path(path).name, sha256(path), frames)


class AtomsWriter:
    """Writes structures one after another; the file stands at `path` only when the `with` block ends well.

    Args:
        path: the HDF5 file to make.
        command: what made the data, for the record.
        licence: of the data.
        metadata: further facts for the record (level of theory, reference, ...), by name.

    Raises (from `add` and at the end of the block):
        DataError: a structure cannot be used, or there is none.
        StorageError: the file cannot be written; nothing half-written remains.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        command: str = "",
        licence: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.sources: list[Source] = []
        self._record = {"command": command, "licence": licence, "metadata": json.dumps(dict(metadata or {}))}
        self._notes: Counter[str] = Counter()
        self._statistics = CensusBuilder()
        self._isolated: dict[int, tuple[float, str]] = {}
        self._config_types: dict[str, int] = {}
        self._buffer: list[Structure] = []
        self._buffered_atoms = 0
        self._n_written = 0

    def __enter__(self) -> Self:
        self._stack = contextlib.ExitStack()
        self._new = self._stack.enter_context(hdf5.create(self.path))
        _create_fields(self._new.file)
        self._infos = ExtraWriter(self._new.file, "frame", per_atom=False, note=self._note)
        self._arrays = ExtraWriter(self._new.file, "atom", per_atom=True, note=self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            if self._n_written + len(self._buffer) == 0:
                raise DataError(f"{self.path}: there is no frame to write; the dataset would be empty")
            self._flush()
            self._write_attributes()

    def add(self, structure: Structure, origin: str = "") -> None:
        """Check a structure and append it; `origin` (file and frame) begins the sentence of an error."""
        origin = origin or f"{self.path}: frame {self._n_written + len(self._buffer)}"
        if structure.stress is not None and not structure.pbc.any():
            self._notes["a stress of a frame that is not periodic was left out"] += 1
            structure = replace(structure, stress=None)
        check_structure(structure, origin)
        self._check_isolated_energy(structure, origin)
        self._statistics.add(structure)
        self._buffer.append(structure)
        self._buffered_atoms += len(structure)
        if self._buffered_atoms >= _BLOCK_ATOMS or len(self._buffer) >= _BLOCK_FRAMES:
            self._flush()

    def census(self) -> Census:
        """What has been written so far."""
        return self._statistics.census(_note_lines(self._notes))

    def _check_isolated_energy(self, structure: Structure, origin: str) -> None:
        if not structure.is_isolated_atom or structure.energy is None:
            return
        known, place = self._isolated.setdefault(int(structure.numbers[0]), (structure.energy, origin))
        if abs(known - structure.energy) > 1e-6:
            raise DataError(
                f"{origin}: the isolated atom with atomic number {structure.numbers[0]} has the energy "
                f"{structure.energy} eV, but {known} eV at {place}; keep one of them"
            )

    def _flush(self) -> None:
        frames, file = self._buffer, self._new.file
        if not frames:
            return
        for name in schema.FIELDS:
            append(file[name], self._rows(name, frames))
        counts = [len(frame) for frame in frames]
        append(file["atoms_ptr"], file["atoms_ptr"][-1] + np.cumsum(counts))
        self._infos.append([frame.info for frame in frames], [1] * len(frames))
        self._arrays.append([frame.arrays for frame in frames], counts)
        self._new.check()
        self._n_written += len(frames)
        self._buffer, self._buffered_atoms = [], 0

    def _note(self, text: str) -> None:
        self._notes[text] += 1

    def _rows(self, name: str, frames: Sequence[Structure]) -> np.ndarray:
        if name == "config_type":
            return np.array(
                [self._config_types.setdefault(f.config_type, len(self._config_types)) for f in frames]
            )
        if name.endswith("_mask"):
            return np.array([getattr(frame, name.removesuffix("_mask")) is not None for frame in frames])
        entry = schema.FIELDS[name]
        rows = []
        for frame in frames:
            value = getattr(frame, name)
            if value is None:
                value = np.full((len(frame), *entry.shape) if entry.per_atom else entry.shape, np.nan)
            rows.append(value)
        return np.concatenate(rows) if entry.per_atom else np.stack(rows)

    def _write_attributes(self) -> None:
        file = self._new.file
        file.create_dataset("config_type_names", data=list(self._config_types), dtype=h5py.string_dtype())
        file.attrs["schema"] = schema.SCHEMA
        file.attrs["schema_version"] = schema.SCHEMA_VERSION
        file.attrs["units"] = json.dumps(
            {k: v.unit for k, v in schema.FIELDS.items() if v.unit}, ensure_ascii=False
        )
        file.attrs["sources"] = json.dumps([vars(source) for source in self.sources])
        file.attrs["notes"] = json.dumps(_note_lines(self._notes))
        file.attrs["created"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        file.attrs["sciten_version"] = sciten.__version__
        for name, value in self._record.items():
            file.attrs[name] = value


def write_structures(
    path: str | os.PathLike[str],
    structures: Iterable[Structure],
    *,
    source_files: Sequence[str | os.PathLike[str]] = (),
    command: str = "",
    licence: str = "",
    metadata: Mapping[str, str] | None = None,
    progress: bool = False,
) -> Census:
    """Write structures to an atoms file and return its label census.

    Args:
        path: the HDF5 file to make.
        structures: read once, in order; they need not fit in memory.
        source_files: files that the data come from, recorded with their SHA-256.
        command: what made the data, for the record.
        licence: of the data.
        metadata: further facts for the record, by name.
        progress: whether to show a progress bar (on a terminal).

    Raises:
        DataError: a structure cannot be used, or there is none.
        StorageError: the file cannot be written; nothing half-written remains.
    """
    with AtomsWriter(path, command=command, licence=licence, metadata=metadata) as writer:
        for structure in tqdm(structures, unit=" frames", disable=None if progress else True):
            writer.add(structure)
        writer.sources += [Source.of(source) for source in source_files]
    return writer.census()


def _note_lines(notes: Mapping[str, int]) -> list[str]:
    return [f"{text} ({count} frame{'s' if count > 1 else ''})" for text, count in sorted(notes.items())]


def _create_fields(file: h5py.File) -> None:
    for name, entry in schema.FIELDS.items():
        dataset = create_dataset(file, name, entry.dtype, entry.shape, rows=0, per_atom=entry.per_atom)
        dataset.attrs["unit"] = entry.unit
    create_dataset(file, "atoms_ptr", np.int64, (), rows=1, per_atom=False)
