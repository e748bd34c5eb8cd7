"""What the scripts of this folder share: their common options, and how they end."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from sciten.errors import ConfigError, DataError, SciTenError
from workflows.executors import ExecutorKind

_INTERRUPTED = 130  # what typer makes of a KeyboardInterrupt

Output = Annotated[Path, typer.Option(help="Folder for the datasets.")]
Work = Annotated[Path, typer.Option(help="Folder where finished tasks are kept for a later run.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Small = Annotated[bool, typer.Option("--small", help="Only a few frames, to try things out.")]
Kind = Annotated[ExecutorKind, typer.Option("--executor", help="Where the tasks run.")]
Workers = Annotated[
    int | None,
    typer.Option(help="Processes of the executors process and parsl.", show_default="one for each core"),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace datasets of these names whatever they hold.")
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


def require_replaceable(file: Path, command: str, *, overwrite: bool) -> None:
    """Raise `ConfigError` where a file stands that another command made, or that does not say what made it."""
    if overwrite or not file.exists():
        return
    from sciten.datasets import hdf5  # which takes a second that `--help` need not wait for

    try:
        with hdf5.open_readonly(file) as content:
            made_by = str(content.attrs.get("command", ""))
    except DataError:  # damaged, or of another kind
        made_by = ""
    if not made_by or made_by != command:
        by = f"was made by `{made_by}`" if made_by else "is there, and does not say that this command made it"
        raise ConfigError(f"{file}: {by}; choose another --output, or replace it with --overwrite")


def run(main: Callable[..., None]) -> None:
    """Run a typed function as a command line; a user's mistake ends in one sentence and exit code 2.

    An interruption ends with a word on how to go on, and exit code 130: every script keeps what is finished.
    """
    try:
        typer.run(main)
    except SciTenError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            print("interrupted; the same command continues", file=sys.stderr)
        raise
