"""From files of PDEBench, of The Well, or of plain arrays to one file of fields with statistics."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import h5py
import numpy as np
from tqdm import tqdm

from sciten.datasets import hdf5
from sciten.datasets.fields import foreign
from sciten.datasets.fields.grid import BOUNDARIES, Boundary, FieldGrid
from sciten.datasets.fields.layout import is_layout, open_fields, read_layout, root_numbers
from sciten.datasets.fields.pdebench import pdebench_source
from sciten.datasets.fields.plain import NUMPY_SUFFIXES, Times, numpy_arrays, plain_source
from sciten.datasets.fields.sources import FieldSource, Points, well_source
from sciten.datasets.fields.writer import FieldWriter
from sciten.datasets.schema import SCHEMA as ATOMS_SCHEMA
from sciten.datasets.tensors import FILE_SCHEMA as TENSORS_SCHEMA
from sciten.datasets.writer import Source
from sciten.errors import ConfigError, DataError

_HDF5_SUFFIXES = (".h5", ".hdf5")


def import_fields(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    name: str = "",
    boundary: Boundary | None = None,
    points: Points | None = None,
    times: Times | None = None,
    command: str = "",
    licence: str = "",
    overwrite: bool = False,
    progress: bool = False,
) -> str:
    """Read fields and write them, the samples of one file after those of another, with their statistics.

    Samples are read one at a time, so that files may be larger than memory, but for arrays in `.npz`.

    Args:
        inputs: a file or several, of one kind and grid: of The Well (or sciten), of PDEBench (`sciten.datasets.fields.
            pdebench` says which), or with plain arrays: HDF5 with arrays at its root, `.npz`, `.npy` (see `plain`).
        output: the HDF5 file to make; its name ends in `.h5` or `.hdf5`.
        name: of the dataset; by default that of the first input.
        boundary: what holds at the ends of all axes, where the inputs do not say, or PDEBench's say otherwise.
        points: where the points of plain arrays stand on the unit interval; see `sources.Points`.
        times: of plain arrays `[n_samples, n_times, *grid]`, or a time step; without them all axes are of the grid.
        command: what made this call, for the record.
        licence: of the data.
        overwrite: whether to replace an `output` that was not imported from files of the same names.
        progress: whether to show a progress bar (on a terminal).

    Returns:
        How the arrays of a sample were read, axis by axis.

    Raises:
        ConfigError: the output is no HDF5 name, an input, or holds something else; or the boundary is not known.
        DataError: a file cannot be read, is of no known kind, or does not go with the first.
        StorageError: the output cannot be written; nothing half-written remains.
    """
    files = [Path(path) for path in ([inputs] if isinstance(inputs, str | os.PathLike) else inputs)]
    target = Path(output)
    _check_paths(files, target, overwrite=overwrite)
    if boundary is not None and boundary not in BOUNDARIES:
        raise ConfigError(f"boundary: expected {', '.join(BOUNDARIES)}, got {boundary!r}")
    with contextlib.ExitStack() as stack:
        sources = [stack.enter_context(_open(path, boundary, points, times)) for path in files]
        first = sources[0]
        for path, other in zip(files[1:], sources[1:], strict=True):
            _check_same(files[0], first, path, other)
        writer = FieldWriter(
            target,
            name=name or first.name,
            axes=first.axes,
            fields=first.fields,
            times=first.times,
            parameters=first.parameters,
            n_samples=sum(source.n_samples for source in sources),
            unique=False,
            command=command,
            licence=licence,
            grid_type=first.grid_type,
        )
        with writer:
            writer.share(first.shared())
            for path, source in zip(files, sources, strict=True):
                _copy(path, source, writer, progress=progress)
                writer.sources.append(Source.of(path, source.n_samples))
        return _reading(first)


def is_field_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file is HDF5 in the layout of fields; missing and damaged files are not."""
    return _is_hdf5(path, is_layout)


def is_importable(path: str | os.PathLike[str]) -> bool:
    """Whether a file is for `import_fields`, be it to be refused there: arrays of numpy, torch or MATLAB, or HDF5.

    So are damaged files with a name of HDF5; files of atoms and of tensors are not.
    """
    path = Path(path)
    if not path.is_file() or path.suffix.lower() in (*NUMPY_SUFFIXES, *foreign.SUFFIXES):
        return path.is_file()
    return _is_hdf5(
        path,
        lambda file: file.attrs.get("schema") not in (ATOMS_SCHEMA, TENSORS_SCHEMA),
        damaged=path.suffix.lower() in _HDF5_SUFFIXES,
    )


def _is_hdf5(
    path: str | os.PathLike[str], is_kind: Callable[[h5py.File], bool], *, damaged: bool = False
) -> bool:
    try:
        with hdf5.open_readonly(path) as file:
            return is_kind(file)
    except DataError:
        return damaged


@contextlib.contextmanager
def _open(
    path: Path, boundary: Boundary | None, points: Points | None, times: Times | None
) -> Iterator[FieldSource]:
    foreign.refuse(path)
    is_numpy = path.suffix.lower() in NUMPY_SUFFIXES
    with contextlib.nullcontext() if is_numpy else open_fields(path) as file:
        try:
            source = (
                plain_source(path, numpy_arrays(path), {}, boundary, points, times)
                if file is None
                else _source(path, file, boundary, points, times)
            )
        except ConfigError as error:
            # The sentences of axes and fields do not name the file.
            raise type(error)(str(error) if str(path) in str(error) else f"{path}: {error}") from error
        except (OSError, RuntimeError, KeyError) as error:
            text = " ".join(str(error).split())[:160]
            raise DataError(f"{path}: damaged or incomplete file ({text}); copy it again") from error
        if source.n_samples == 0:
            raise DataError(f"{path}: holds no sample; leave it out or replace it")
        yield source


def _source(
    path: Path, file: h5py.File, boundary: Boundary | None, points: Points | None, times: Times | None
) -> FieldSource:
    if is_layout(file):
        if not (points is times is None):
            raise ConfigError(
                f"{path}: says itself what its grid and its times are; leave out points and times"
            )
        source = well_source(path, file, boundary)
        said = {end for axis in source.axes for end in (axis.lower, axis.upper)}
        if boundary is not None and said != {boundary}:
            raise ConfigError(
                f"{path}: says itself what holds at its boundaries ({', '.join(sorted(said))}), which is not "
                f"{boundary}; leave out boundary"
            )
        return source
    found = pdebench_source(path, file, boundary)
    if found is None:
        arrays = {name: stored for name, stored in file.items() if isinstance(stored, h5py.Dataset)}
        return plain_source(path, arrays, root_numbers(file), boundary, points, times)
    if not (points is times is None):
        raise ConfigError(
            f"{path}: a file of PDEBench, whose points and times are known; leave out points and times"
        )
    return found


def _reading(source: FieldSource) -> str:
    """`u [time 11, x 64, y 64], a [x 64, y 64]`, and what else is to be said."""
    grid, n_times = FieldGrid(source.axes), 0 if source.times is None else len(source.times)
    parts = []
    for field in source.fields:
        varying = field.on(grid).dim_varying or ()
        names = ["time"] if field.time_varying else []
        names += [name for name, varies in zip(grid.names, varying, strict=True) if varies]
        shape = field.sample_shape(grid, n_times)
        labels = zip_longest(names, map(str, shape), fillvalue="component")
        parts.append(f"{field.name} [{', '.join(map(' '.join, labels))}]")
    return f"of each sample: {', '.join(parts)}" + (f" ({source.remark})" if source.remark else "")


def _copy(path: Path, source: FieldSource, writer: FieldWriter, *, progress: bool) -> None:
    for i in tqdm(
        range(source.n_samples), desc=path.name, unit=" samples", disable=None if progress else True
    ):
        try:
            sample = source.read(i)
        except (OSError, RuntimeError, KeyError) as error:
            text = " ".join(str(error).split())[:160]
            raise DataError(f"{path}: sample {i} is damaged ({text}); copy the file again") from error
        try:
            writer.append(sample)
        except DataError as error:
            raise DataError(f"{path}: sample {i} cannot be imported: {error}") from error


def _check_paths(inputs: Sequence[Path], output: Path, *, overwrite: bool) -> None:
    if not inputs:
        raise ConfigError("nothing to import: give at least one input file before the output")
    if output.suffix.lower() not in _HDF5_SUFFIXES:
        raise ConfigError(f"{output}: the output comes last and its name ends in .h5 or .hdf5")
    for path in inputs:
        if not path.is_file():
            raise DataError(f"{path}: no such file")
        if output.exists() and path.samefile(output):
            raise ConfigError(f"{output}: is an input and the output at once; write to another file")
    if output.exists() and not overwrite and _imported_from(output) != sorted(path.name for path in inputs):
        raise ConfigError(
            f"{output} exists and was not imported from {', '.join(path.name for path in inputs)}: name another "
            "output, or replace it with --overwrite (overwrite=True)"
        )


def _imported_from(output: Path) -> list[str]:
    try:
        return sorted(str(source["file"]) for source in read_layout(output).sources)
    except DataError:
        return []


def _check_same(first_path: Path, first: FieldSource, path: Path, other: FieldSource) -> None:
    differs = FieldGrid(first.axes).difference(FieldGrid(other.axes))
    if not differs and first.fields != other.fields:
        differs = f"fields {', '.join(f.name for f in first.fields)} against {', '.join(f.name for f in other.fields)}"
    if not differs and not _same_times(first.times, other.times):
        differs = "other times"
    if not differs and first.parameters != other.parameters:
        differs = f"parameters {dict(first.parameters)} against {dict(other.parameters)}"
    shared, others = first.shared(), other.shared()
    if not differs and any(not np.array_equal(shared[name], others[name]) for name in shared):
        differs = "other values of what all samples share"
    if differs:
        raise DataError(
            f"{first_path} and {path} do not go into one file: {differs}; import each into a file of its own "
            "(FieldDataset takes several)"
        )


def _same_times(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is None or b is None:
        return a is b
    return len(a) == len(b) and bool(np.allclose(a, b, rtol=1e-5, atol=1e-5 * np.ptp(a)))
