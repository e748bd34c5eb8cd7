"""Arbitrary named arrays beside the labels, which some frames have and others lack."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from sciten.datasets import schema

CHUNK_ATOMS = 2048  # 48 KiB of positions: what reading one frame at random must decompress
CHUNK_FRAMES = 512
_CHUNK_BYTES = 1 << 19


def create_dataset(
    group: h5py.Group, name: str, dtype: Any, shape: tuple[int, ...], *, rows: int, per_atom: bool
) -> h5py.Dataset:
    """A growing, compressed dataset of `rows` rows (NaN, zero or empty strings), each of the given shape."""
    row_bytes = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64)) or 1
    chunk = min(CHUNK_ATOMS if per_atom else CHUNK_FRAMES, max(1, _CHUNK_BYTES // row_bytes))
    return group.create_dataset(
        name,
        shape=(rows, *shape),
        maxshape=(None, *shape),
        dtype=dtype,
        chunks=(chunk, *(max(1, n) for n in shape)),
        compression="gzip",
        shuffle=True,
        fillvalue=np.nan if np.dtype(dtype).kind == "f" else None,
    )


def append(dataset: h5py.Dataset, rows: np.ndarray) -> None:
    """Add rows at the end of a growing dataset."""
    start = len(dataset)
    dataset.resize(start + len(rows), axis=0)
    dataset[start:] = rows


class ExtraWriter:
    """Appends blocks of named arrays to one group; `<group>_present` says which frames have which.

    An array that changes its shape or kind from one frame to another cannot be stored in one dataset: it is
    left out where it differs from its first occurrence, and `note` is told so.
    """

    def __init__(self, file: h5py.File, group: str, *, per_atom: bool, note: Callable[[str], None]) -> None:
        self._values = file.create_group(group)
        self._present = file.create_group(f"{group}_present")
        self._per_atom = per_atom
        self._note = note
        self._rows = 0
        self._frames = 0

    def append(self, frames: Sequence[Mapping[str, np.ndarray]], counts: Sequence[int]) -> None:
        """Append the arrays of some frames, each with `counts[i]` rows (one where the group is per frame)."""
        names = {*map(schema.unescape, self._values), *(name for frame in frames for name in frame)}
        for name in sorted(names):
            self._append_one(name, [frame.get(name) for frame in frames], counts)
        self._rows += sum(counts)
        self._frames += len(frames)

    def _append_one(self, name: str, values: Sequence[np.ndarray | None], counts: Sequence[int]) -> None:
        normal = [
            None if v is None else self._normal(name, v, n) for v, n in zip(values, counts, strict=True)
        ]
        dataset = self._dataset(name, next((value for value in normal if value is not None), None))
        if dataset is None:
            return
        kept = [value if value is None or self._fits(name, value, dataset) else None for value in normal]
        missing = _missing(dataset)
        blocks = [
            np.full((n, *dataset.shape[1:]), missing, dtype=dataset.dtype) if value is None else value
            for value, n in zip(kept, counts, strict=True)
        ]
        append(dataset, np.concatenate(blocks))
        append(self._present[schema.escape(name)], np.array([value is not None for value in kept]))

    def _normal(self, name: str, value: np.ndarray, count: int) -> np.ndarray | None:
        array = np.asarray(value) if self._per_atom else np.asarray(value)[None]
        kind = array.dtype.kind
        if kind in "biuf" and len(array) == count:
            # extxyz writes the same quantity of a frame now as 300, now as 300.5: those are floats
            # throughout.
            integer = self._per_atom and kind in "iu"
            return array.astype(np.int64 if integer else np.float64) if kind != "b" else array
        if kind in "UO" and len(array) == count and all(isinstance(entry, str) for entry in array.flat):
            return array.astype(object)
        self._note(f"the array {name!r} is neither numbers nor strings of the right length and was left out")
        return None

    def _dataset(self, name: str, first: np.ndarray | None) -> h5py.Dataset | None:
        key = schema.escape(name)
        if key in self._values:
            return self._values[key]
        if first is None:
            return None
        dtype = h5py.string_dtype() if first.dtype.kind == "O" else first.dtype
        create_dataset(self._present, key, bool, (), rows=self._frames, per_atom=False)
        return create_dataset(
            self._values, key, dtype, first.shape[1:], rows=self._rows, per_atom=self._per_atom
        )

    def _fits(self, name: str, value: np.ndarray, dataset: h5py.Dataset) -> bool:
        kinds = value.dtype.kind + dataset.dtype.kind
        if value.shape[1:] == dataset.shape[1:] and (kinds[0] == kinds[1] or kinds == "if"):
            return True
        self._note(f"the array {name!r} changed its shape or kind and was left out")
        return False


def _missing(dataset: h5py.Dataset) -> Any:
    return {"f": np.nan, "O": ""}.get(dataset.dtype.kind, 0)


def read(
    file: h5py.File, group: str, frames: slice, rows: slice
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, rows and presence per frame of each array of a group, for some frames."""
    for key, dataset in file[group].items():
        present = file[f"{group}_present"][key][frames]
        if present.any():
            source = dataset.asstr() if h5py.check_string_dtype(dataset.dtype) else dataset
            yield schema.unescape(key), source[rows], present
