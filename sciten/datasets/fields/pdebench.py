"""Files of PDEBench (Takamoto et al., NeurIPS 2022), told apart by what they hold.

| what | arrays | boundaries, where none are given |
|---|---|---|
| 1D advection, Burgers, reaction-diffusion | `tensor` `[N, T, X]`, `t-coordinate`, `x-coordinate` | periodic |
| 2D Darcy | `nu` `[N, X, Y]`, `tensor` `[N, 1, X, Y]`, coordinates, attribute `beta` | walls |
| 1D to 3D compressible | `density`, `pressure`, `Vx`, ... `[N, T, *grid]`, coordinates | by the name |
| diffusion-reaction, -sorption, dam break | groups with `data` `[T, *grid, C]` and `grid` | see below |
| 2D incompressible | `velocity` `[N, T, X, Y, 2]`, `particles`, `force` `[N, X, Y, 2]`, `t` `[N, T]` | walls |

Groups in two dimensions with one channel are the radial dam break (open), all others have walls. Where there is one
time coordinate too many, as in most of these files, it is left out. The incompressible files have no coordinates: their
points are the centres of cells of the unit square.
"""

from pathlib import Path

import h5py
import numpy as np

from sciten.datasets.fields.grid import Axis, Boundary
from sciten.datasets.fields.layout import root_numbers
from sciten.datasets.fields.schema import Field
from sciten.datasets.fields.sources import (
    AXIS_NAMES,
    FieldSource,
    one_row,
    unit_axis,
)
from sciten.errors import ConfigError, DataError

_VELOCITIES = ("Vx", "Vy", "Vz")


def pdebench_source(path: Path, file: h5py.File, boundary: Boundary | None) -> FieldSource | None:
    """What a file of PDEBench holds; None where it is none.

    Raises:
        DataError: arrays and coordinates disagree.
        ConfigError: the boundaries are neither given nor known.
    """
    if _is_array(file, "density"):
        return _compressible(path, file, boundary)
    if _is_array(file, "tensor") and _is_array(file, "nu"):
        return _darcy(path, file, boundary or "wall")
    if _is_array(file, "tensor") and "t-coordinate" in file:
        return _scalar(path, file, boundary or "periodic")
    if _is_array(file, "velocity") and "t" in file:
        return _incompressible(path, file, boundary or "wall")
    groups = sorted(name for name in file if isinstance(file[name], h5py.Group))
    if groups and all("data" in file[name] and "grid" in file[name] for name in groups):
        return _groups(path, file, groups, boundary)
    return None


def _scalar(path: Path, file: h5py.File, boundary: Boundary) -> FieldSource:
    tensor = _array(path, file, "tensor", None)
    return FieldSource(
        name=path.stem,
        axes=_axes(path, file, tensor.shape[2:], boundary),
        fields=(Field("u"),),
        times=_times(path, file["t-coordinate"][()], tensor.shape[1]),
        parameters=root_numbers(file),
        n_samples=tensor.shape[0],
        read=lambda i: {"u": tensor[i]},
    )


def _darcy(path: Path, file: h5py.File, boundary: Boundary) -> FieldSource:
    coefficient = _array(path, file, "nu", None)
    n, *grid = coefficient.shape
    solution = _array(path, file, "tensor", (n, 1, *grid))
    return FieldSource(
        name=path.stem,
        axes=_axes(path, file, tuple(grid), boundary),
        fields=(Field("nu", time_varying=False), Field("u", time_varying=False)),
        times=None,
        parameters=root_numbers(file),
        n_samples=n,
        read=lambda i: {"nu": coefficient[i], "u": solution[i, 0]},
    )


def _compressible(path: Path, file: h5py.File, boundary: Boundary | None) -> FieldSource:
    density = _array(path, file, "density", None)
    n, n_times, *grid = density.shape
    pressure = _array(path, file, "pressure", density.shape)
    velocities = [_array(path, file, name, density.shape) for name in _VELOCITIES[: len(grid)]]
    return FieldSource(
        name=path.stem,
        axes=_axes(path, file, tuple(grid), boundary or _boundary_in_name(path)),
        fields=(Field("density"), Field("pressure"), Field("velocity", order=1)),
        times=_times(path, file["t-coordinate"][()], n_times),
        parameters=root_numbers(file),
        n_samples=n,
        read=lambda i: {
            "density": density[i],
            "pressure": pressure[i],
            "velocity": np.stack([one[i] for one in velocities], axis=-1),
        },
    )


def _boundary_in_name(path: Path) -> Boundary:
    for word, boundary in (("periodic", "periodic"), ("trans", "open")):
        if word in path.stem.lower():
            return boundary  # type: ignore[return-value]
    raise ConfigError(
        f"{path}: says neither 'periodic' nor 'trans' in its name; give --boundary periodic, wall or open "
        "(boundary=...)"
    )


def _incompressible(path: Path, file: h5py.File, boundary: Boundary) -> FieldSource:
    velocity = _array(path, file, "velocity", None)
    n, n_times, *grid, d = velocity.shape
    if d != len(grid):
        raise DataError(f"{path}: expected 'velocity' of {len(grid)} components on {len(grid)} axes, got {d}")
    arrays = {"velocity": velocity}
    fields = [Field("velocity", order=1)]
    if "particles" in file:
        arrays["particles"] = _array(path, file, "particles", (n, n_times, *grid, 1))
        fields.append(Field("particles"))
    if "force" in file:
        arrays["force"] = _array(path, file, "force", (n, *grid, d))
        fields.append(Field("force", order=1, time_varying=False))

    def read(i: int) -> dict[str, np.ndarray]:
        sample = {name: stored[i] for name, stored in arrays.items()}
        return {name: v[..., 0] if name == "particles" else v for name, v in sample.items()}

    return FieldSource(
        name=path.stem,
        axes=tuple(
            unit_axis(name, m, boundary, "centres") for name, m in zip(AXIS_NAMES, grid, strict=False)
        ),
        fields=tuple(fields),
        times=_times(path, one_row(path, file["t"][()]), n_times),
        parameters=root_numbers(file),
        n_samples=n,
        read=read,
    )


def _groups(path: Path, file: h5py.File, groups: list[str], boundary: Boundary | None) -> FieldSource:
    data = file[groups[0]]["data"]
    n_times, *grid, n_channels = data.shape
    if boundary is None:
        boundary = "open" if len(grid) == 2 and n_channels == 1 else "wall"
    names = ["u"] if n_channels == 1 else [f"u_{i}" for i in range(n_channels)]
    axes = _axes(path, file[groups[0]]["grid"], tuple(grid), boundary, "")

    def read(i: int) -> dict[str, np.ndarray]:
        values = file[groups[i]]["data"][()]
        if values.shape != data.shape:
            raise DataError(
                f"{path}: expected 'data' of group {groups[i]!r} of shape {list(data.shape)}, as in the first, "
                f"got {list(values.shape)}"
            )
        return {name: values[..., channel] for channel, name in enumerate(names)}

    return FieldSource(
        name=path.stem,
        axes=axes,
        fields=tuple(Field(name) for name in names),
        times=_times(path, file[groups[0]]["grid"]["t"][()], n_times),
        parameters=root_numbers(file),
        n_samples=len(groups),
        read=read,
    )


def _axes(
    path: Path, place: h5py.Group, grid: tuple[int, ...], boundary: Boundary, suffix: str = "-coordinate"
) -> tuple[Axis, ...]:
    if not 1 <= len(grid) <= 3:
        raise DataError(f"{path}: expected fields on one to three axes, got shape {list(grid)}")
    axes = []
    for name, n in zip(AXIS_NAMES, grid, strict=False):
        key = name + suffix
        if key not in place or place[key].shape != (n,):
            found = list(place[key].shape) if key in place else "none"
            raise DataError(f"{path}: expected {key!r} of shape [{n}], as the fields have, got {found}")
        axes.append(Axis(name, place[key][()], boundary, boundary))
    return tuple(axes)


def _times(path: Path, times: np.ndarray, n_times: int) -> np.ndarray:
    if len(times) not in (n_times, n_times + 1):
        raise DataError(
            f"{path}: expected {n_times} or {n_times + 1} times, as the fields have, got {len(times)}"
        )
    return times[:n_times]


def _is_array(file: h5py.File, name: str) -> bool:
    return isinstance(file.get(name), h5py.Dataset)


def _array(path: Path, file: h5py.File, name: str, shape: tuple[int, ...] | None) -> h5py.Dataset:
    if not _is_array(file, name):
        raise DataError(f"{path}: expected an array {name!r}, got none; the file is not whole")
    stored = file[name]
    if stored.ndim < 3 or (shape is not None and stored.shape != shape):
        expected = "at least [samples, times, points]" if shape is None else f"shape {list(shape)}"
        raise DataError(f"{path}: expected {name!r} of {expected}, got {list(stored.shape)}")
    return stored
