"""Values of one file of fields, read when they are asked for, in whichever process asks."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sciten.datasets.fields.layout import Layout, open_fields
from sciten.datasets.fields.schema import Field
from sciten.errors import DataError


class FieldReader:
    """Reads the fields of one file, and keeps those in memory that are small.

    It can be sent to worker processes, started by spawn or fork: each opens the file anew.

    Args:
        layout: of the file.
        steps: of each axis every `steps[i]`-th point is taken.
    """

    def __init__(self, layout: Layout, steps: Sequence[int]) -> None:
        self.layout = layout
        self._points = tuple(slice(None, None, step) for step in steps)
        self._file: h5py.File | None = None
        self._process = os.getpid()
        self._stored: dict[str, h5py.Dataset] = {}  # open, so that chunks stay in HDF5's cache
        self._kept: dict[str, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_stored": {}, "_kept": {}}

    @property
    def path(self) -> Path:
        """The file."""
        return self.layout.path

    def close(self) -> None:
        """Close the file, and forget what was kept; it is opened again when something is read."""
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file, self._stored, self._kept = None, {}, {}

    def n_values(self, names: Sequence[str]) -> int:
        """How many values the whole of some fields has in memory, after subsampling."""
        grid = tuple(
            len(range(n)[part]) for n, part in zip(self.layout.grid.shape, self._points, strict=True)
        )
        total = 0
        for field in (self.layout.fields[name] for name in names):
            n = self.layout.n_trajectories if field.sample_varying else 1
            n *= self.layout.n_times if field.time_varying else 1
            points = [length for length, varies in zip(grid, field.dim_varying or (), strict=True) if varies]
            total += n * int(np.prod([*points, *(field.components or ())]))
        return total

    def channels(self, name: str, trajectory: int, frames: slice, *, keep: bool) -> np.ndarray:
        """Values `[n_frames, n_components, *grid]` of a field or scalar, spread over axes along which it is constant.

        Args:
            name: of the field.
            trajectory: number of the sample in the file.
            frames: which times; of a static field there is one.
            keep: whether to read the whole field at once and keep it.

        Raises:
            DataError: a value is not finite, or the file is damaged.
        """
        field = self.layout.fields[name]
        rows: tuple[int | slice, ...] = (trajectory,) if field.sample_varying else ()
        rows += (frames,) if field.time_varying else ()
        if keep:
            if name not in self._kept:
                every = (slice(None),) * len(rows)
                self._kept[name] = np.array(self._subsampled(field, every), order="C")
            values = self._kept[name][rows]
        else:
            values = self._subsampled(field, rows)
        if not np.isfinite(values).all():
            raise DataError(self._complaint(name, trajectory, frames, values))
        values = values if field.time_varying else values[None]
        return self._spread(field, values)

    def scalars(self, name: str) -> np.ndarray:
        """A scalar that does not vary in time, of each trajectory: `[n_trajectories]`."""
        field = self.layout.fields[name]
        values = np.asarray(self._read(field, ()), dtype=np.float64).reshape(-1)
        if not np.isfinite(values).all():
            bad = int(np.argmin(np.isfinite(values)))
            raise DataError(self._complaint(name, bad, slice(0, 1), values))
        return np.broadcast_to(values, self.layout.n_trajectories)

    def _subsampled(self, field: Field, rows: tuple[int | slice, ...]) -> np.ndarray:
        values = self._read(field, rows)
        leading = sum(isinstance(row, slice) for row in rows)
        points = [part for part, varies in zip(self._points, field.dim_varying or (), strict=True) if varies]
        return values[(slice(None),) * leading + tuple(points)]

    def _read(self, field: Field, rows: tuple[int | slice, ...]) -> np.ndarray:
        if self._file is None or self._process != os.getpid():
            # Not open yet, or open in the parent that this process was forked from.
            self._file, self._stored, self._process = open_fields(self.path), {}, os.getpid()
        try:
            if field.name not in self._stored:
                self._stored[field.name] = self._file[field.location]
            values: np.ndarray = np.asarray(self._stored[field.name][rows])
        except (OSError, RuntimeError, KeyError) as error:
            text = " ".join(str(error).split())[:160]
            raise DataError(f"{self.path}: damaged file, make or import it again ({text})") from error
        # A scalar that never varies may stand there as one value in a list.
        return values.reshape(()) if not field.in_space and values.size == 1 and not rows else values

    def _spread(self, field: Field, values: np.ndarray) -> np.ndarray:
        """From `[n_frames, *varying axes, *components]` to `[n_frames, n_components, *grid]`."""
        n_components = int(np.prod(field.components or ()))
        varying = field.dim_varying or ()
        grid = [len(range(n)[part]) for n, part in zip(self.layout.grid.shape, self._points, strict=True)]
        kept = [n if varies else 1 for n, varies in zip(grid, varying, strict=True)]
        values = values.reshape(len(values), *kept, n_components)
        return np.broadcast_to(np.moveaxis(values, -1, 1), (len(values), n_components, *grid))

    def _complaint(self, name: str, trajectory: int, frames: slice, values: np.ndarray) -> str:
        what = "scalar" if not self.layout.fields[name].in_space else "field"
        times = (
            f", times {frames.start} to {frames.stop - 1}" if self.layout.fields[name].time_varying else ""
        )
        return (
            f"{self.path}: trajectory {trajectory}{times}: {what} {name!r} has "
            f"{np.count_nonzero(~np.isfinite(values))} values that are not finite; leave it out or make it again"
        )
