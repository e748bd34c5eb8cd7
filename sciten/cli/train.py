"""`sciten train`."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[Path, typer.Argument(help="YAML file with the settings.", metavar="CONFIG.yaml")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="Settings to change, such as loss.forces=100 or output=run1.", metavar="[KEY=VALUE ...]"
        ),
    ] = None,
) -> None:
    """Train a potential or a neural operator; the same command continues an interrupted run.

    Exits with 130 after an interruption, and with 143 after SIGTERM.
    """
    from sciten import training

    settings = training.read_config(config, overrides or [])
    try:
        result = training.train(settings)
    except KeyboardInterrupt:
        print(f"{settings.output}: interrupted; the same command continues", file=sys.stderr)
        raise typer.Exit(130) from None
    minutes = result.seconds / 60
    if result.rank > 0 and result.finished:
        return  # the first process says it
    if result.already_complete:
        done = f"{result.epochs} of {settings.epochs} epochs, {minutes:.1f} minutes"
        print(f"{result.output}: already complete ({done}); nothing was done")
    elif not result.finished:
        print(f"{result.output}: stopped in epoch {result.epochs}; the same command continues")
        raise typer.Exit(143)
    else:
        if result.validation is not None:
            print(result.validation.table())
        early = f" of {settings.epochs}" if result.epochs < settings.epochs else ""
        print(f"{result.epochs}{early} epochs in {minutes:.1f} minutes; see {result.output / 'report.html'}")
