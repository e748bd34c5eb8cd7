"""Writing fields to HDF5, a sample at a time and all or nothing."""

import contextlib
import datetime
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import h5py
import numpy as np
import torch

import sciten
from sciten.datasets import hdf5
from sciten.datasets.fields import schema, statistics
from sciten.datasets.fields.grid import Axis, FieldGrid
from sciten.datasets.fields.names import duplicates, nearest
from sciten.datasets.fields.schema import Field
from sciten.datasets.fields.statistics import FieldMoments
from sciten.datasets.writer import Source
from sciten.errors import ConfigError, DataError

_CHUNK_BYTES = 1 << 17  # of small fields: what reading one sample at random must decompress
_LARGEST_CHUNK_BYTES = 1 << 22


class FieldWriter:
    """Writes samples one after another; the file stands at `path` only when the `with` block ends well.

        with FieldWriter("burgers.h5", name="burgers", axes=[Axis.periodic("x", 1024)], times=np.linspace(0, 1, 11),
                         fields=[Field("velocity_x"), Field.scalar("viscosity")]) as writer:
            writer.append({"velocity_x": u, "viscosity": 0.1})   # u [11, 1024]

    Mean and standard deviation of each field are written too, from the values as they are stored.

    Args:
        path: the HDF5 file to make.
        name: of the dataset.
        axes: of the grid, one to three; they also say what holds at the boundaries.
        fields: fields and scalars (`Field.scalar`) of each sample, and those that all samples share.
        times: `[n_times]`, ascending; left out where every field is static.
        parameters: numbers that hold for the whole file (viscosity, ...), by name.
        n_samples: how many samples are going to come, where it is to be checked.
        dtype: of the values on disk; coordinates and times are always float64.
        unique: whether a sample that equals an earlier one is refused (a seed taken twice, most likely).
        command: what made the data, for the record.
        licence: of the data.
        made_from: a hash of all that decides the content, for who wants to know whether the file is current.
        grid_type: what the axes are, where they are not Cartesian.

    Raises:
        ConfigError: the description contradicts itself (also from `share`).
        DataError: a sample does not fit it or is not finite, or there is none (from `append` and the end of the block).
        StorageError: the file cannot be written; nothing half-written remains.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        name: str,
        axes: Sequence[Axis],
        fields: Sequence[Field],
        times: Sequence[float] | np.ndarray | None = None,
        parameters: Mapping[str, float] | None = None,
        n_samples: int | None = None,
        dtype: Literal["float32", "float64"] = "float32",
        unique: bool = True,
        command: str = "",
        licence: str = "",
        made_from: str = "",
        grid_type: str = "cartesian",
    ) -> None:
        self.path = Path(path)
        self.grid = FieldGrid(tuple(axes))
        self.sources: list[Source] = []
        self._parameters = dict(parameters or {})
        constants = [Field.scalar(parameter, sample_varying=False) for parameter in self._parameters]
        self._fields = {field.name: field.on(self.grid) for field in (*fields, *constants)}
        self._times = _check_times(self.path, times, fields)
        self._check_names([*fields, *constants], self.grid)
        self._n_samples = n_samples
        self._dtype = np.dtype(dtype)
        self._unique = unique
        self._record = {"dataset_name": name, "command": command, "licence": licence, "grid_type": grid_type}
        if made_from:
            self._record["made_from"] = made_from
        self._digests: dict[bytes, int] = {}
        self._shared: set[str] = set()
        self._written = 0
        self._is_open = False

    def __enter__(self) -> Self:
        self._stack = contextlib.ExitStack()
        self._new = self._stack.enter_context(hdf5.create(self.path))
        self._moments = {
            name: FieldMoments(field.components or (), time_varying=field.time_varying)
            for name, field in self._fields.items()
        }
        for group in schema.GROUPS:
            names = [field.name for field in self._fields.values() if field.group == group]
            set_names(self._new.file.create_group(group), "field_names", names)
        # Kept open: closing a dataset compresses the chunk that was begun.
        self._stored = {name: self._create(field) for name, field in self._fields.items()}
        self._is_open = True
        if self._parameters:
            self.share(self._parameters)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            self._check_complete()
            self._write_description()

    def __len__(self) -> int:
        return self._written

    def append(self, sample: Mapping[str, Any]) -> None:
        """Check a sample and write it.

        Args:
            sample: for each field that varies from sample to sample an array or tensor `[time, *grid, *components]`
                (without time where the field is static; see `Field.sample_shape`), for each such scalar a number.
        """
        place = f"{self.path}: sample {self._written}"
        self._require_open(place)
        values = self._checked(sample, place, sample_varying=True)
        if self._unique:
            self._check_unique(values, place)
        for name, value in values.items():
            stored = self._stored[name]
            stored.resize(self._written + 1, axis=0)
            stored[self._written] = value
            self._moments[name].add(value)
        self._new.check()
        self._written += 1

    def share(self, values: Mapping[str, Any]) -> None:
        """Write fields and scalars that all samples share (`sample_varying=False`); some or all of them."""
        place = f"{self.path}: shared values"
        self._require_open(place)
        missing = set(self._fields) - set(values)
        for name, value in self._checked(values, place, sample_varying=False, optional=missing).items():
            if name in self._shared:
                raise ConfigError(f"{place}: {name!r} was given already; give it once")
            self._stored[name][...] = value
            self._moments[name].add(value)
            self._shared.add(name)

    def _require_open(self, place: str) -> None:
        if not self._is_open:
            raise ConfigError(
                f"{place}: expected to be written within `with FieldWriter(...) as writer:`, at whose end the file "
                "appears"
            )

    def _checked(
        self, values: Mapping[str, Any], place: str, *, sample_varying: bool, optional: set[str] | None = None
    ) -> dict[str, np.ndarray]:
        expected = [name for name, field in self._fields.items() if field.sample_varying == sample_varying]
        for name in values:
            if name not in expected:
                raise DataError(f"{place}: unknown field {name!r}, {nearest(name, expected)}")
        missing = [name for name in expected if name not in values and name not in (optional or ())]
        if missing:
            raise DataError(f"{place}: expected a value of {missing[0]!r}, got none; give all of {expected}")
        return {name: self._values(name, values[name], place) for name in expected if name in values}

    def _values(self, name: str, value: Any, place: str) -> np.ndarray:
        array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        field = self._fields[name]
        expected = field.sample_shape(self.grid, len(self._times))
        if array.shape != expected:
            raise DataError(
                f"{place}: expected {name!r} of shape {list(expected)}, got {list(array.shape)}; mend the values, "
                "or the axes, times or fields that the writer was given"
            )
        if array.dtype.kind not in "biuf":
            raise DataError(f"{place}: expected real numbers of {name!r}, got dtype {array.dtype}")
        with np.errstate(over="ignore"):
            array = array.astype(self._dtype)
        if not np.isfinite(array).all():
            raise DataError(
                f"{place}: field {name!r} has {np.count_nonzero(~np.isfinite(array))} values that are not finite "
                f"in {self._dtype}; leave the sample out or mend what made it"
            )
        check_symmetry(field, array, place)
        return array

    def _check_unique(self, values: Mapping[str, np.ndarray], place: str) -> None:
        digest = hashlib.sha256()
        for name in sorted(values):
            digest.update(np.ascontiguousarray(values[name]).data)
        first = self._digests.setdefault(digest.digest(), self._written)
        if first != self._written:
            raise DataError(
                f"{place}: equals sample {first}; leave it out (was a seed taken twice?), or pass unique=False"
            )

    def _check_names(self, fields: Sequence[Field], grid: FieldGrid) -> None:
        where = f"FieldWriter({self.path})"
        if not any(field.in_space for field in fields):
            raise ConfigError(f"{where}: expected at least one field on the grid, got none")
        for name in duplicates(field.name for field in fields):
            raise ConfigError(
                f"{where}: expected different names of fields and parameters, got {name!r} twice"
            )
        for name in self._parameters:
            if name in schema.RESERVED:
                raise ConfigError(
                    f"{where}: the parameter {name!r} has the name of an attribute of the layout; rename it"
                )
        if "time" in grid.names:
            raise ConfigError(
                f"{where}: expected axes of other names than 'time'; times are an argument of their own"
            )

    def _create(self, field: Field) -> h5py.Dataset:
        shape = field.sample_shape(self.grid, len(self._times))
        group = self._new.file[field.group]
        if field.sample_varying:
            stored = group.create_dataset(
                field.name,
                shape=(0, *shape),
                maxshape=(None, *shape),
                dtype=self._dtype,
                chunks=chunk_shape(shape, self._dtype.itemsize, time_varying=field.time_varying),
                compression="gzip",
                shuffle=True,
            )
        else:
            stored = group.create_dataset(field.name, shape=shape, dtype=self._dtype)
        stored.attrs["sample_varying"], stored.attrs["time_varying"] = (
            field.sample_varying,
            field.time_varying,
        )
        if field.in_space:
            stored.attrs["dim_varying"] = np.array(field.dim_varying, dtype=bool)
        if field.order == 2:
            for symmetry in ("symmetric", "antisymmetric"):
                stored.attrs[symmetry] = field.symmetry == symmetry
        return stored

    def _check_complete(self) -> None:
        if self._written == 0:
            raise DataError(f"{self.path}: there is no sample to write; the dataset would be empty")
        if self._n_samples is not None and self._written != self._n_samples:
            raise DataError(f"{self.path}: expected {self._n_samples} samples, got {self._written}")
        for name, field in self._fields.items():
            if not field.sample_varying and name not in self._shared:
                raise DataError(f"{self.path}: {name!r} was never given; give it with share()")

    def _write_description(self) -> None:
        file = self._new.file
        file.attrs.update(
            self._record,
            schema=schema.SCHEMA,
            schema_version=schema.SCHEMA_VERSION,
            sciten_version=sciten.__version__,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            sources=json.dumps([vars(source) for source in self.sources]),
            n_spatial_dims=len(self.grid.axes),
            n_trajectories=self._written,
        )
        set_names(file, "simulation_parameters", list(self._parameters))
        for name, value in self._parameters.items():
            file.attrs[name] = float(value)
        write_dimensions(file.create_group("dimensions"), self.grid, self._times)
        write_boundaries(file.create_group("boundary_conditions"), self.grid)
        group = file.create_group(statistics.GROUP)
        for name, moments in self._moments.items():
            moments.write(group.create_group(name))


def chunk_shape(shape: tuple[int, ...], itemsize: int, *, time_varying: bool) -> tuple[int, ...]:
    """Chunks `[samples, *shape]`: several small samples, or some times of one, or a part of one large time."""
    step = list(shape[1:] if time_varying else shape)
    longest = max(range(len(step)), key=step.__getitem__) if step else 0
    while step and itemsize * int(np.prod(step)) > _LARGEST_CHUNK_BYTES:
        step[longest] = (step[longest] + 1) // 2
        longest = max(range(len(step)), key=step.__getitem__)
    room = max(1, _CHUNK_BYTES // (itemsize * int(np.prod(step))))
    if not time_varying:
        return (room, *step)
    times = min(room, shape[0])
    return (max(1, room // shape[0]), times, *step)


def check_symmetry(field: Field, values: np.ndarray, place: str) -> None:
    """Raise `DataError` where tensors lack the symmetry that their field declares."""
    if not field.symmetry or len(field.components or ()) != 2:
        return
    mirrored = np.swapaxes(values, -1, -2) * (1 if field.symmetry == "symmetric" else -1)
    if np.abs(values - mirrored).max() > 1e-5 * np.abs(values).max():
        raise DataError(
            f"{place}: field {field.name!r} is declared {field.symmetry}, its values are not; leave the symmetry out"
        )


def set_names(place: h5py.Group, attribute: str, names: Sequence[str]) -> None:
    """Write a list of names, which may be empty, as an attribute."""
    place.attrs.create(attribute, np.array(names, dtype=object), dtype=h5py.string_dtype())


def write_dimensions(group: h5py.Group, grid: FieldGrid, times: np.ndarray) -> None:
    """Write the group `dimensions`."""
    set_names(group, "spatial_dims", grid.names)
    group.create_dataset("time", data=times)
    group["time"].attrs["sample_varying"] = False
    for axis in grid.axes:
        group.create_dataset(axis.name, data=axis.coordinates)
        group[axis.name].attrs["sample_varying"] = group[axis.name].attrs["time_varying"] = False


def write_boundaries(group: h5py.Group, grid: FieldGrid) -> None:
    """Write the group `boundary_conditions`: for each axis and kind a mask of the ends where it holds."""
    for axis in grid.axes:
        for kind in dict.fromkeys((axis.lower, axis.upper)):
            condition = group.create_group(f"{axis.name}_{kind}")
            set_names(condition, "associated_dims", [axis.name])
            set_names(condition, "associated_fields", [])
            condition.attrs["bc_type"] = kind.upper()
            condition.attrs["sample_varying"] = condition.attrs["time_varying"] = False
            mask = np.zeros(len(axis), dtype=bool)
            mask[0], mask[-1] = axis.lower == kind, axis.upper == kind
            condition.create_dataset("mask", data=mask)


def _check_times(
    path: Path, times: Sequence[float] | np.ndarray | None, fields: Sequence[Field]
) -> np.ndarray:
    varying = [field.name for field in fields if field.time_varying]
    if times is None and varying:
        raise ConfigError(
            f"FieldWriter({path}): {varying[0]!r} varies in time: give times, or Field(..., time_varying=False)"
        )
    found = np.asarray([0.0] if times is None else times, dtype=np.float64)
    if found.ndim != 1 or len(found) == 0 or not np.isfinite(found).all() or not (np.diff(found) > 0).all():
        raise ConfigError(
            f"FieldWriter({path}): expected finite, ascending times [n_times], got shape {list(found.shape)}"
        )
    return found
