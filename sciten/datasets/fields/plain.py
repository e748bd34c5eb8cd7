"""Plain arrays, as most people have them: at the root of an HDF5 file, in `.npz` or in `.npy`.

Samples come first, then time where `times` say so, then one to three axes of the grid. With times an array may lack
that axis: it is a static field. Single numbers are parameters.
"""

import zipfile
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

import h5py
import numpy as np

from sciten.datasets.fields.grid import Boundary
from sciten.datasets.fields.schema import Field
from sciten.datasets.fields.sources import AXIS_NAMES, FieldSource, Points, unit_axis
from sciten.errors import ConfigError, DataError

NUMPY_SUFFIXES = (".npz", ".npy")

#: A time step, from zero on, or the times themselves.
Times = float | Sequence[float]
Arrays = Mapping[str, h5py.Dataset | np.ndarray]
_REMEDY = "--time-step (times=...)"


def numpy_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file, in memory, or that of an `.npy` file, under the name of the file and on disk.

    Raises:
        DataError: the file is none of numpy's, is damaged, or holds other objects than arrays.
    """
    try:
        content = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(content, np.ndarray):
            return {path.stem: content}
        with content:
            return {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: cannot be read as arrays of numbers ({error}); save it with numpy.savez, by name"
        ) from error


def plain_source(
    path: Path,
    content: Arrays,
    parameters: Mapping[str, float],
    boundary: Boundary | None,
    points: Points | None,
    times: Times | None,
) -> FieldSource:
    """Arrays `[n_samples, *grid]`, or `[n_samples, n_times, *grid]`, on the unit interval, square or cube.

    Raises:
        DataError: the arrays are none of numbers, or their shapes disagree with each other or with the times.
        ConfigError: the boundary is missing, or points or times cannot be.
    """
    numbers = {name: float(a[()]) for name, a in content.items() if a.shape == () and a.dtype.kind in "iuf"}
    arrays = {name: a for name, a in content.items() if name not in numbers}
    n, n_times, grid = _shape(path, arrays, in_time=times is not None)
    if boundary is None:
        raise ConfigError(
            f"{path}: does not say what holds at its boundaries; give --boundary periodic, wall or open "
            "(boundary=...)"
        )
    varying = {name: times is not None and a.ndim == len(grid) + 2 for name, a in arrays.items()}
    return FieldSource(
        name=path.stem,
        axes=tuple(unit_axis(name, m, boundary, points) for name, m in zip(AXIS_NAMES, grid, strict=False)),
        fields=tuple(Field(name, time_varying=varying[name]) for name in arrays),
        times=None if times is None else _times(path, times, n_times),
        parameters={**parameters, **numbers},
        n_samples=n,
        read=lambda i: {name: a[i] for name, a in arrays.items()},
        remark="" if times is not None or len(grid) < 2 else f"where {AXIS_NAMES[0]} is time, give {_REMEDY}",
    )


def _shape(path: Path, arrays: Arrays, *, in_time: bool) -> tuple[int, int, tuple[int, ...]]:
    """Numbers of samples and of times, and the grid."""
    shapes = {a.shape for a in arrays.values()}
    found = ", ".join(f"{name} {list(a.shape)}" for name, a in arrays.items()) or "no arrays"
    longest = max(shapes, key=len, default=())
    if in_time:
        allowed, expected = {longest, longest[:1] + longest[2:]}, "[n_samples, n_times, *grid]"
        alike, remedy = "on one grid, those that are static without times", ""
    else:
        allowed, expected = {longest}, "[n_samples, *grid]"
        alike, remedy = "of one shape", f", or give {_REMEDY} where the second axis is time"
    if other := [name for name, a in arrays.items() if a.dtype.kind not in "biuf"]:
        raise DataError(
            f"{path}: expected arrays of real numbers, got {other[0]} of dtype {arrays[other[0]].dtype}; leave it out, "
            "or write the real and the imaginary parts of complex numbers as two arrays"
        )
    if not shapes or shapes - allowed:
        raise DataError(
            f"{path}: expected a file of The Well, of PDEBench, or arrays of numbers {expected} {alike}, got {found}; "
            f"write it with FieldWriter{remedy}"
        )
    samples, times, grid = longest[0], longest[1:2] if in_time else (1,), longest[2 if in_time else 1 :]
    if not 1 <= len(grid) <= 3 or min(grid) < 2:
        raise DataError(
            f"{path}: expected arrays {expected} on one to three axes, got {found}; reshape them{remedy}"
        )
    return samples, times[0], grid


def _times(path: Path, times: Times, n_times: int) -> np.ndarray:
    if not isinstance(times, Sequence | np.ndarray):
        if not (isfinite(times) and times > 0):
            raise ConfigError(f"times: expected a positive time step, got {times}")
        return times * np.arange(n_times)
    if len(times) != n_times:
        raise DataError(
            f"{path}: expected {n_times} times, as many as the arrays have along their second axis, got {len(times)}"
        )
    return np.asarray(times, dtype=np.float64)
