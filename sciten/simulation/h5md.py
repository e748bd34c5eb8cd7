"""Trajectories in H5MD 1.1 (de Buyl, Colberg and Höfling, Comput. Phys. Commun. 185, 1546 (2014)).

The file follows the specification, with its `units` module: `particles/all` holds box, position, velocity,
species and mass, `observables` the scalars and the stress. Two things beyond it make a run resumable: an
attribute of `parameters/sciten` describes the run, and its group `restart` holds, twice in turn, what the
integrator needs to go on bit for bit (momenta as the integrator has them, thermostat, random numbers).
"""

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

import h5py
import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator

import sciten
from sciten.datasets import hdf5
from sciten.errors import DataError, StorageError
from sciten.files import atomic_path

_UNITS = {
    "position": "Angstrom",
    "velocity": "Angstrom fs-1",
    "edges": "Angstrom",
    "potential_energy": "eV",
    "kinetic_energy": "eV",
    "temperature": "K",
    "stress": "eV Angstrom-3",
}
_PARTICLES = "particles/all"
_RUN = "parameters/sciten"
_RESTART = f"{_RUN}/restart"
_RANDOM_BYTES = 1024
_FLUSH_SECONDS = 2.0  # a killed run loses at most so much of its trajectory


@dataclass(frozen=True)
class Frame:
    """One stored moment of a run.

    Attributes:
        step: number of the step; time: fs.
        values: `position` `[n, 3]` (Å), `velocity` `[n, 3]` (Å/fs), for periodic structures `edges` `[3, 3]`
            (Å), and the observables: `potential_energy`, `kinetic_energy` (eV), `temperature` (K), and
            `stress` `[6]` (eV/Å³).
    """

    step: int
    time: float
    values: Mapping[str, np.ndarray | float]


@dataclass(frozen=True)
class Restart:
    """What an integrator needs, beside positions and cell, to go on from a stored frame bit for bit.

    Attributes:
        step: the frame it belongs to.
        momenta: `[n, 3]`, in ASE's units.
        thermostat: `[k]`, as `Ensemble.state` gives it.
        random: state of the random generator, JSON values.
    """

    step: int
    momenta: np.ndarray
    thermostat: np.ndarray
    random: Mapping[str, Any]


class TrajectoryWriter:
    """Appends frames to an H5MD file; what has been flushed survives a kill.

    Frames are gathered in memory and written together every two seconds, so that the file is changed seldom
    and each change is short.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file = _open(self.path, "r+")
        self._pending: list[Frame] = []
        self._restart: Restart | None = None
        self._flushed = time.monotonic()

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        atoms: Atoms,
        run: Mapping[str, Any],
        first: Frame,
        restart: Restart,
    ) -> Self:
        """A new file with its first frame; it appears under its name only when that is complete."""
        with hdf5.create(path) as new:
            _lay_out(new.file, atoms, run, first, restart)
            _append(new.file, [first])
            _store_restart(new.file, restart)
        return cls(path)

    def append(self, frame: Frame, restart: Restart) -> None:
        """Add a frame, with the state from which the run can go on after it."""
        self._pending.append(frame)
        self._restart = restart
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is pending; raises `StorageError` where the disk is full."""
        if self._pending and self._restart is not None:
            hdf5.require_space(self.path, _growth(self._file, len(self._pending)))
            _append(self._file, self._pending)
            _store_restart(self._file, self._restart)
            self._pending = []
        self._file.flush()
        self._flushed = time.monotonic()

    def last(self) -> tuple[Restart, Atoms]:
        """The last complete frame: its state and its structure. Raises `DataError` where there is none."""
        restart = self._load_restart()
        return restart, _read_frame(self._file, self._index(restart.step))

    def cut_after(self, step: int) -> None:
        """Take away what was stored after a step, complete or not."""
        _resize(self._file, self._index(step) + 1)
        self._file.flush()

    def _index(self, step: int) -> int:
        # The last one: a kill may leave rows behind it that hold anything.
        return int(np.flatnonzero(self._file[f"{_PARTICLES}/position/step"][:] == step)[-1])

    @property
    def run(self) -> dict[str, Any]:
        """The description of the run that wrote the file."""
        return json.loads(self._file[_RUN].attrs["run"])

    def close(self) -> None:
        """Flush and close."""
        try:
            self.flush()
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _load_restart(self) -> Restart:
        group = self._file[_RESTART]
        stored = self._file[f"{_PARTICLES}/position/step"][: _complete_frames(self._file)]
        steps = np.where(np.isin(group["step"][:], stored), group["step"][:], -1)
        slot = int(np.argmax(steps))
        if steps[slot] < 0:
            raise DataError(f"{self.path}: no frame has the state to go on from; start the run anew")
        return Restart(
            step=int(steps[slot]),
            momenta=group["momentum"][slot],
            thermostat=group["thermostat"][slot],
            random=json.loads(group["random"][slot]),
        )


class Trajectory:
    """An H5MD file, read lazily; a sequence of ASE structures with velocities, energy and stress.

    Use it in a `with` statement. Raises `DataError` for a file that is not H5MD.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file = _open(self.path, "r")
        self._length = _complete_frames(self._file)

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Atoms: ...
    @overload
    def __getitem__(self, index: slice) -> list[Atoms]: ...
    def __getitem__(self, index: int | slice) -> Atoms | list[Atoms]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._length))]
        if not -self._length <= index < self._length:
            raise IndexError(f"{self.path}: frame {index} of {self._length}")
        return _read_frame(self._file, index % self._length)

    def __iter__(self) -> Iterator[Atoms]:
        return (self[index] for index in range(self._length))

    @property
    def steps(self) -> np.ndarray:
        """Numbers of the stored steps, `[n_frames]`."""
        return self._file[f"{_PARTICLES}/position/step"][: self._length]

    @property
    def times(self) -> np.ndarray:
        """Times of the stored frames, `[n_frames]`, fs."""
        return self._file[f"{_PARTICLES}/position/time"][: self._length]

    @property
    def run(self) -> dict[str, Any]:
        """The description of the run: ensemble, time step, interval, seed."""
        return json.loads(self._file[_RUN].attrs["run"])

    def observable(self, name: str) -> np.ndarray:
        """`potential_energy` (eV), `kinetic_energy` (eV), `temperature` (K), `[n_frames]`; `stress` (eV/Å³),
        `[n_frames, 6]`, of periodic structures. Raises `DataError` for another name."""
        known = sorted(self._file["observables"])
        if name not in known:
            raise DataError(f"{self.path}: there is no observable {name!r}; it has {', '.join(known)}")
        return self._file[f"observables/{name}/value"][: self._length]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def export_extxyz(trajectory: str | os.PathLike[str], output: str | os.PathLike[str]) -> int:
    """Write an H5MD trajectory as extended XYZ, atomically; returns the number of frames."""
    from ase.io.extxyz import write_extxyz

    with Trajectory(trajectory) as frames, atomic_path(output) as temporary, open(temporary, "w") as stream:
        for atoms in frames:
            write_extxyz(stream, [atoms])
        return len(frames)


def _open(path: Path, mode: str) -> h5py.File:
    try:
        file = h5py.File(path, mode)
    except BlockingIOError as error:
        raise StorageError(
            f"{path}: another process is writing this trajectory; wait for it to end"
        ) from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(
            f"{path}: expected an H5MD trajectory, got a file that HDF5 cannot open ({error})"
        ) from error
    if "h5md" not in file or _RUN not in file:
        file.close()
        raise DataError(f"{path}: expected an H5MD trajectory of sciten, got an HDF5 file without {_RUN}")
    return file


def _lay_out(file: h5py.File, atoms: Atoms, run: Mapping[str, Any], first: Frame, restart: Restart) -> None:
    root = file.create_group("h5md")
    root.attrs["version"] = np.array([1, 1], dtype=np.int32)
    root.create_group("author").attrs["name"] = os.environ.get("USER", "unknown")
    root.create_group("creator").attrs.update({"name": "sciten", "version": sciten.__version__})
    root.create_group("modules/units").attrs["version"] = np.array([1, 0], dtype=np.int32)

    particles = file.create_group(_PARTICLES)
    particles["species"] = atoms.numbers.astype(np.int32)
    particles["mass"] = atoms.get_masses()
    particles["mass"].attrs["unit"] = "u"
    box = particles.create_group("box")
    box.attrs["dimension"] = np.int32(3)
    box.attrs["boundary"] = np.array(["periodic" if flag else "none" for flag in atoms.pbc], dtype="S8")

    step = file.create_dataset(
        f"{_PARTICLES}/position/step", (0,), np.int64, maxshape=(None,), chunks=(1024,)
    )
    time_ = file.create_dataset(
        f"{_PARTICLES}/position/time", (0,), np.float64, maxshape=(None,), chunks=(1024,)
    )
    time_.attrs["unit"] = "fs"
    for name, value in first.values.items():
        shape = np.shape(value)
        group = file.require_group(_group(name))
        rows = int(np.clip(2**17 // (8 * max(1, math.prod(shape))), 1, 1024))
        options: dict[str, Any] = {"maxshape": (None, *shape), "chunks": (rows, *shape)}
        group.create_dataset("value", (0, *shape), np.float64, **options).attrs["unit"] = _UNITS[name]
        if (
            "step" not in group
        ):  # every element is sampled at the same steps, so they share them, as H5MD allows
            group["step"], group["time"] = step, time_

    file.create_group(_RUN).attrs["run"] = json.dumps(run)
    state = file.create_group(_RESTART)
    state["step"] = np.full(2, -1, dtype=np.int64)
    state["momentum"] = np.zeros((2, *restart.momenta.shape))
    state["thermostat"] = np.zeros((2, *restart.thermostat.shape))
    state["random"] = np.zeros(2, dtype=f"S{_RANDOM_BYTES}")


def _group(name: str) -> str:
    if name == "edges":
        return f"{_PARTICLES}/box/edges"
    return f"{_PARTICLES}/{name}" if name in ("position", "velocity") else f"observables/{name}"


def _elements(file: h5py.File) -> dict[str, h5py.Dataset]:
    return {name: file[f"{_group(name)}/value"] for name in _UNITS if _group(name) in file}


def _series(file: h5py.File) -> list[h5py.Dataset]:
    shared = file[f"{_PARTICLES}/position"]
    return [shared["time"], *_elements(file).values(), shared["step"]]


def _complete_frames(file: h5py.File) -> int:
    return min(len(dataset) for dataset in _series(file))


def _growth(file: h5py.File, frames: int) -> int:
    """Bytes by which a file may grow when `frames` are appended: whole chunks, and room for their index."""
    growth = 1 << 16
    for dataset in _series(file):
        growth += (frames // dataset.chunks[0] + 2) * (
            math.prod(dataset.chunks) * dataset.dtype.itemsize + 4096
        )
    return growth


def _resize(file: h5py.File, frames: int) -> None:
    for dataset in _series(file):
        dataset.resize(frames, axis=0)


def _append(file: h5py.File, frames: list[Frame]) -> None:
    start = len(file[f"{_PARTICLES}/position/step"])
    columns = {name: np.array([frame.values[name] for frame in frames]) for name in frames[0].values}
    _resize(file, start + len(frames))
    for name, dataset in _elements(file).items():
        dataset[start:] = columns[name]
    file[f"{_PARTICLES}/position/time"][start:] = [frame.time for frame in frames]
    file[f"{_PARTICLES}/position/step"][start:] = [frame.step for frame in frames]


def _store_restart(file: h5py.File, restart: Restart) -> None:
    # The older of two slots is overwritten, so that a kill in the middle leaves the other one whole.
    group = file[_RESTART]
    slot = int(np.argmin(group["step"][:]))
    group["step"][slot] = -1
    group["momentum"][slot] = restart.momenta
    group["thermostat"][slot] = restart.thermostat
    group["random"][slot] = json.dumps(restart.random).encode()
    group["step"][slot] = restart.step


def _read_frame(file: h5py.File, index: int) -> Atoms:
    values = {name: dataset[index] for name, dataset in _elements(file).items()}
    particles = file[_PARTICLES]
    boundary = [bytes(entry) == b"periodic" for entry in particles["box"].attrs["boundary"]]
    atoms = Atoms(
        numbers=particles["species"][:],
        positions=values["position"],
        cell=values.get("edges"),
        pbc=boundary,
        masses=particles["mass"][:],
        velocities=values["velocity"] / units.fs,
        info={
            "step": int(particles["position/step"][index]),
            "time_fs": float(particles["position/time"][index]),
        },
    )
    results = {"energy": float(values["potential_energy"])}
    if "stress" in values:
        results["stress"] = values["stress"]
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
