"""Settings of the benchmark of neural operators, and the data that it is trained on."""

from dataclasses import dataclass
from pathlib import Path

from sciten.cli.benchmarks import parts

_NAVIER_STOKES = (
    "python workflows/make_navier_stokes_dataset.py --resolution 64 --solver-resolution {points} "
    "--viscosity {viscosity} --final-time 10 --snapshots 10 --initial-scale 343 --train-samples 100 --test-samples 20 "
    "--batch {batch} --name ns_{viscosity}"
)
_COMMANDS = {
    "ns_1e-3": _NAVIER_STOKES.format(viscosity="1e-3", points=64, batch=10),
    "ns_1e-5": _NAVIER_STOKES.format(viscosity="1e-5", points=256, batch=2),
    "burgers": (
        "python workflows/make_burgers_dataset.py --resolution 1024 --solver-resolution 1024 --viscosity 0.1 "
        "--train-samples 1000 --test-samples 200 --batch 50 --name burgers"
    ),
}


@dataclass(frozen=True)
class Settings(parts.Settings):
    """What to measure; see also `sciten.cli.benchmarks.parts.Settings`.

    Args:
        data: folder of the datasets that the workflows make.
        work: folder where finished trainings are kept.
        seconds: of each training on Navier-Stokes data.
        processes: trainings at a time, with a thread each.
    """

    data: Path = Path("runs/data")
    work: Path = Path("runs/benchmark_neural_operators")
    seconds: float = 60.0
    processes: int = 2

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of initial weights and of the order of samples."""
        return (0,) if self.small else (0, 1, 2)

    def files(self, name: str) -> tuple[Path, Path]:
        """The files of a dataset: to train on, and to test on."""
        return self.data / f"{name}_train.h5", self.data / f"{name}_test.h5"

    def missing(self, name: str) -> str | None:
        """The command that makes a dataset, where it is not there."""
        if all(file.is_file() for file in self.files(name)):
            return None
        return f"{_COMMANDS[name]} --output {self.data}"

    @property
    def complete(self) -> bool:
        """Whether all data are there."""
        return not any(map(self.missing, _COMMANDS))
