"""Atoms files, read lazily."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

import h5py
import numpy as np

from sciten.datasets import hdf5, schema
from sciten.datasets.blocks import Block, block_boundaries
from sciten.datasets.census import Census, CensusBuilder
from sciten.datasets.structure import Structure, is_isolated_atom_name
from sciten.errors import DataError

if TYPE_CHECKING:
    from torch_geometric.data import Data

_JSON_ATTRIBUTES = ("units", "sources", "notes", "metadata")
_CACHE_BYTES = 32 << 20  # a small dataset stays in memory whole


class AtomsDataset(Sequence[Structure]):
    """The structures of one atoms file, read from disk when they are asked for.

    `dataset[i]` is a `Structure`; a slice or a sequence of indices gives a list. Frames are read in blocks,
    of which the last few are kept, so that memory stays small however large the file. A dataset can be sent
    to worker processes, started by spawn or fork: each opens the file anew.

    Args:
        path: an HDF5 file made by `sciten data import` or `write_structures`.

    Raises:
        DataError: the file is missing, truncated, or not an atoms file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file: h5py.File | None = None
        self._process = os.getpid()
        self._cache: dict[int, Block] = {}
        with hdf5.open_readonly(self.path) as file:
            self._pointers = schema.check(self.path, file)
            self._boundaries = block_boundaries(self._pointers)
            try:
                self._config_names = [str(name) for name in file["config_type_names"].asstr()[:]]
                self._config_codes = file["config_type"][:]
                #: what the file says of itself: units, sources and their SHA-256, command, licence, date ...
                self.attributes: dict[str, Any] = {
                    name: json.loads(value) if name in _JSON_ATTRIBUTES else value
                    for name, value in file.attrs.items()
                }
            except (OSError, RuntimeError, KeyError, ValueError) as error:
                raise _damaged(self.path, error) from error

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        return type(self), (self.path,)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"AtomsDataset({str(self.path)!r}): {len(self)} frames, {self.n_atoms} atoms"

    def close(self) -> None:
        """Close the file; it is opened again when something is read."""
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file = None

    def __len__(self) -> int:
        return len(self._pointers) - 1

    @property
    def n_atoms(self) -> int:
        """Number of atoms in all frames."""
        return int(self._pointers[-1])

    @property
    def atom_counts(self) -> np.ndarray:
        """Number of atoms of each frame, `[n_frames]`."""
        return np.diff(self._pointers)

    @property
    def config_types(self) -> list[str]:
        """Configuration type of each frame."""
        return [self._config_names[code] for code in self._config_codes]

    @property
    def isolated_atoms(self) -> np.ndarray:
        """Indices of the isolated-atom frames, ascending."""
        return np.flatnonzero(self._is_isolated())

    @property
    def frames(self) -> np.ndarray:
        """Indices of all frames but the isolated atoms, ascending."""
        return np.flatnonzero(~self._is_isolated())

    @cached_property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur, ascending."""
        found: set[int] = set()
        rows = 1 << 20
        for start in range(0, self.n_atoms, rows):
            numbers = self._rows("numbers", slice(start, start + rows))
            found.update(np.unique(numbers).tolist())
        return tuple(sorted(found))

    @cached_property
    def isolated_atom_energies(self) -> dict[int, float]:
        """Energies (eV) of the isolated atoms in the file, by atomic number; empty where there are none."""
        known = [frame for frame in self[self.isolated_atoms] if frame.energy is not None]
        return {int(frame.numbers[0]): frame.energy for frame in known if frame.energy is not None}

    def has_label(self, name: str) -> np.ndarray:
        """Which frames carry `energy`, `forces` or `stress`, `[n_frames]`, bool."""
        if name not in schema.LABELS:
            raise DataError(f"{name!r} is not a label; the labels are {', '.join(schema.LABELS)}")
        return self._rows(f"{name}_mask", slice(None))

    @overload
    def __getitem__(self, index: int) -> Structure: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | np.ndarray) -> list[Structure]: ...
    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray) -> Structure | list[Structure]:
        if isinstance(index, int | np.integer):
            position = self._position(int(index))
            return self._structure(position)
        if isinstance(index, slice):
            index = range(*index.indices(len(self)))
        elif np.asarray(index).dtype == bool:
            if len(index) != len(self):
                raise IndexError(f"{self.path}: expected a mask of {len(self)} frames, got {len(index)}")
            index = np.flatnonzero(index)
        return [self[int(i)] for i in index]

    def __iter__(self) -> Iterator[Structure]:
        return (self._structure(i) for i in range(len(self)))

    def census(self) -> Census:
        """The label census: reads the whole file once."""
        builder = CensusBuilder()
        for structure in self:
            builder.add(structure)
        return builder.census(self.attributes.get("notes", []))

    @overload
    def to_pyg(self, index: int, cutoff: float | None = None) -> "Data": ...
    @overload
    def to_pyg(self, index: None = None, cutoff: float | None = None) -> "list[Data]": ...
    def to_pyg(self, index: int | None = None, cutoff: float | None = None) -> "Data | list[Data]":
        """torch-geometric `Data` of one frame, or of all; see `sciten.datasets.pyg.to_pyg`."""
        from sciten.datasets.pyg import to_pyg

        if index is None:
            return [to_pyg(structure, cutoff) for structure in self]
        return to_pyg(self[index], cutoff)

    def _is_isolated(self) -> np.ndarray:
        named = np.array([is_isolated_atom_name(name) for name in self._config_names])
        isolated: np.ndarray = named[self._config_codes]
        return isolated

    def _position(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.path}: no frame {index}, it has {len(self)}")
        return index % len(self)

    def _structure(self, index: int) -> Structure:
        number = int(np.searchsorted(self._boundaries, index, side="right")) - 1
        block = self._cache.get(number)
        if block is None:
            start, stop = self._boundaries[number : number + 2].tolist()
            block = self._guarded(lambda file: Block(file, self._pointers, start, stop, self._config_names))
            while self._cache and sum(kept.nbytes for kept in self._cache.values()) > _CACHE_BYTES:
                del self._cache[next(iter(self._cache))]
            self._cache[number] = block
        return block.structure(index)

    def _rows(self, name: str, rows: slice) -> np.ndarray:
        values: np.ndarray = self._guarded(lambda file: file[name][rows])
        return values

    def _guarded(self, read: Callable[[h5py.File], Any]) -> Any:
        if self._file is None or self._process != os.getpid():
            # Not open yet, or open in the parent that this process was forked from.
            self._file, self._process = hdf5.open_readonly(self.path), os.getpid()
        try:
            return read(self._file)
        except (OSError, RuntimeError, KeyError) as error:
            raise _damaged(self.path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: damaged file, import it again ({' '.join(str(error).split())[:160]})")
