"""Labels from GFN-xTB through tblite, and datasets of them: what the workflows that use it share."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from sciten.errors import MissingExtraError
from workflows.script import require_replaceable
from workflows.tasks import Arrays, load_result, run_tasks

if TYPE_CHECKING:
    from ase import Atoms

    from sciten.datasets import Structure

LICENCE = "CC0-1.0"
LABEL_ACCURACY = 0.01  # tblite's factor on its own convergence thresholds


class Sampled(Protocol):
    """What a dataset needs to know of the task that sampled some of its frames."""

    @property
    def split(self) -> str:
        """`train` or `test`."""

    @property
    def config_type(self) -> str:
        """Configuration type of the frames."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """Atomic numbers of each frame."""

    @property
    def seed(self) -> int:
        """What the random numbers came from."""


Task = TypeVar("Task", bound=Sampled)


def calculator(method: str, *, accuracy: float = 1.0, multiplicity: int | None = None) -> Any:
    """tblite's ASE calculator.

    Args:
        method: `GFN1-xTB` or `GFN2-xTB`.
        accuracy: factor on tblite's convergence thresholds; 1 suits dynamics, labels take `LABEL_ACCURACY`.
        multiplicity: spin multiplicity; by default the lowest possible.
    """
    try:
        from tblite.ase import TBLite
    except ImportError as error:
        raise MissingExtraError("tblite is not installed; pip install 'sciten[xtb]'") from error
    return TBLite(method=method, accuracy=accuracy, multiplicity=multiplicity, verbosity=0)


def version() -> str:
    """The version of tblite, as `tblite 0.4.0`; raises `MissingExtraError` where it is not installed."""
    try:
        from tblite.library import get_version
    except ImportError as error:
        raise MissingExtraError("tblite is not installed; pip install 'sciten[xtb]'") from error
    return "tblite " + ".".join(map(str, get_version()))


def label(frames: "Iterable[Atoms]", method: str) -> Arrays:
    """Label frames of the same atoms.

    Every calculation starts afresh, so that a label depends on its own structure alone.

    Returns:
        `positions` and `forces` `[n_frames, n_atoms, 3]` (Å, eV/Å), `energy` `[n_frames]` (eV), `cell`
        `[n_frames, 3, 3]` (Å) and, where the frames are periodic, `stress` `[n_frames, 6]` (eV/Å³, Voigt
        xx yy zz yz xz xy, tension positive).
    """
    labels: dict[str, list[Any]] = {}
    for frame in frames:
        atoms = frame.copy()
        atoms.calc = calculator(method, accuracy=LABEL_ACCURACY)
        values = {
            "positions": atoms.positions,
            "cell": atoms.cell.array,
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces(),
        }
        if atoms.pbc.all():
            values["stress"] = atoms.get_stress()
        for name, value in values.items():
            labels.setdefault(name, []).append(value)
    return {name: np.stack(values) for name, values in labels.items()}


def isolated_atoms(numbers: Iterable[int], method: str) -> "list[Structure]":
    """One frame for each element: a single atom with its energy, in its ground state's multiplicity."""
    from ase import Atoms
    from ase.data import ground_state_magnetic_moments

    from sciten.datasets import Structure

    structures = []
    for number in sorted(set(numbers)):
        atom = Atoms(numbers=[number], positions=[[0.0, 0.0, 0.0]])
        multiplicity = 1 + round(float(ground_state_magnetic_moments[number]))
        atom.calc = calculator(method, accuracy=LABEL_ACCURACY, multiplicity=multiplicity)
        structures.append(
            Structure(
                positions=atom.positions,
                numbers=atom.numbers,
                energy=float(atom.get_potential_energy()),
                forces=np.zeros((1, 3)),
                config_type="IsolatedAtom",
                spin=float(multiplicity),
            )
        )
    return structures


def make_datasets(
    name: str,
    function: Callable[[Task], Arrays],
    tasks: Sequence[Task],
    output: Path,
    *,
    method: str,
    sampling: str,
    executor: Executor,
    work: Path,
    command: str = "",
    overwrite: bool = False,
    progress: bool = True,
) -> list[Path]:
    """Run tasks that give labels, and write `NAME_train.h5` and `NAME_test.h5` in the order of the tasks.

    The isolated atoms of all elements come first in the training file.

    Args:
        name: how the files' names begin.
        function: runs one task; its labels are as `label` gives them.
        tasks: what to sample and label.
        output: the folder of the datasets.
        method: `GFN1-xTB` or `GFN2-xTB`, for the isolated atoms and the record.
        sampling: how the frames were sampled, for the record.
        executor: where the tasks run.
        work: the folder where finished tasks are kept.
        command: what the datasets say they were made with.
        overwrite: whether to replace files that were not made with this command.
        progress: show a progress bar.

    Raises:
        ConfigError: a file stands there that was made otherwise.
        TaskError: tasks failed; the results of the others are kept.
    """
    from sciten.datasets import write_structures

    splits = {split: output / f"{name}_{split}.h5" for split in ("train", "test")}
    for file in splits.values():
        require_replaceable(file, command, overwrite=overwrite)
    results = run_tasks(function, tasks, executor=executor, folder=work, version=version(), progress=progress)
    for split, file in splits.items():
        chosen = {i: task for i, task in enumerate(tasks) if task.split == split}
        elements = {z for task in tasks for z in task.numbers} if split == "train" else set()
        isolated = isolated_atoms(elements, method)
        sampled = (
            frame for i, task in chosen.items() for frame in _structures(load_result(results[i]), task, i)
        )
        metadata = {
            "method": method,
            "program": version(),
            "sampling": sampling,
            "isolated_atoms": f"{method}, multiplicity of the ground state, electronic temperature 300 K",
            "seeds": json.dumps({i: task.seed for i, task in chosen.items()}),
        }
        write_structures(
            file, itertools.chain(isolated, sampled), command=command, licence=LICENCE, metadata=metadata
        )
    return list(splits.values())


def _structures(labels: Arrays, task: Sampled, index: int) -> "Iterator[Structure]":
    from sciten.datasets import Structure

    for frame in range(len(labels["energy"])):
        yield Structure(
            positions=labels["positions"][frame],
            numbers=np.array(task.numbers),
            cell=labels["cell"][frame],
            pbc=np.full(3, "stress" in labels),
            energy=float(labels["energy"][frame]),
            forces=labels["forces"][frame],
            stress=labels["stress"][frame] if "stress" in labels else None,
            config_type=task.config_type,
            # Frames of one trajectory are alike: whoever splits the data should not part them.
            info={"task": np.array(index)},
        )
