"""What is measured of MACE, and what we mean to reach."""

from collections.abc import Sequence
from dataclasses import dataclass

#: By task and system, for each L: how many times faster than mace-torch we mean to be.
TARGETS: dict[tuple[str, str], dict[int, float]] = {
    ("train", "acac"): {1: 3.0, 2: 3.0},
    ("evaluate", "acac"): {0: 4.0, 1: 5.0, 2: 5.0},
    ("evaluate", "silicon"): {0: 8.0, 1: 8.0, 2: 8.0},
}
#: Seconds from the model file to our first result, compiling included.
FIRST_RESULT_TARGET = 30.0


@dataclass(frozen=True)
class Settings:
    """What to measure.

    Attributes:
        peer_python: Python of an environment with mace-torch; None to measure sciten alone.
        symmetrix: whether to measure symmetrix-xl too, where that environment has it.
        symmetrix_limit: seconds for all its code generation together; cases beyond are left out.
        rounds: timed calls of every program in each case.
        warm_up: calls before, at least one; the first of them is reported apart.
        threads: of every program.
        channels: features per degree.
        degrees: highest degrees of the node features, MACE's L.
        frames: molecules in the batch.
        repeats: cubic cells of silicon along each axis.
    """

    peer_python: str | None = None
    symmetrix: bool = True
    symmetrix_limit: float = 900.0
    rounds: int = 11
    warm_up: int = 3
    threads: int = 2
    channels: int = 64
    degrees: tuple[int, ...] = (0, 1, 2)
    frames: int = 32
    repeats: int = 3


@dataclass(frozen=True)
class Case:
    """One row of the table: a task ("train" or "evaluate"), a system ("acac" or "silicon"), L."""

    task: str
    system: str
    degree: int

    @property
    def title(self) -> str:
        """For people."""
        task = {"train": "training step", "evaluate": "energy + forces"}[self.task]
        return f"{self.system}, {task}, L = {self.degree}"


def cases(degrees: Sequence[int]) -> list[Case]:
    """What is measured, in the order in which symmetrix-xl may spend its time on generating code."""
    order = [("silicon", 1), ("acac", 1), ("acac", 0), ("acac", 2), ("silicon", 0), ("silicon", 2)]
    evaluations = [Case("evaluate", system, degree) for system, degree in order]
    trainings = [Case("train", "acac", degree) for degree in (0, 1, 2)]
    return [case for case in evaluations + trainings if case.degree in degrees]
