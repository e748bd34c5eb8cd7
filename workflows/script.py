"""What the scripts of this folder share: their common options, and how they end."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from sciten.errors import SciTenError
from workflows.executors import ExecutorKind

Output = Annotated[Path, typer.Option(help="Folder for the datasets.")]
Work = Annotated[Path, typer.Option(help="Folder where finished tasks are kept for a later run.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Small = Annotated[bool, typer.Option("--small", help="Only a few frames, to try things out.")]
Kind = Annotated[ExecutorKind, typer.Option("--executor", help="Where the tasks run.")]
Workers = Annotated[
    int | None,
    typer.Option(help="Processes of the executors process and parsl.", show_default="one for each core"),
]
SlurmOptions = Annotated[
    list[str],
    typer.Option(
        "--slurm-option", metavar="KEY=VALUE", help="For submitit, as partition=cpu; may be repeated."
    ),
]


def recorded_command(script: str, *arguments: str, seed: int, small: bool) -> str:
    """The command that makes the same data, for the record: what decides them, not where they were made."""
    return shlex.join(
        ["python", f"workflows/{script}", *arguments, "--seed", str(seed), *(["--small"] if small else [])]
    )


def run(main: Callable[..., None]) -> None:
    """Run a typed function as a command line; a user's mistake ends in one sentence and exit code 2."""
    try:
        typer.run(main)
    except SciTenError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
