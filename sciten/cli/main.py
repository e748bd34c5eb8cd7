"""The `sciten` command."""

import sys
from typing import Annotated

import typer

import sciten
from sciten.cli.benchmark import app as benchmark_app
from sciten.cli.data import app as data_app
from sciten.cli.evaluate import evaluate
from sciten.cli.md import md
from sciten.cli.relax import relax
from sciten.cli.train import train
from sciten.cli.verify import verify
from sciten.errors import SciTenError

app = typer.Typer(
    name="sciten",
    help="Train, verify and run interatomic potentials; train neural operators.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")
app.add_typer(benchmark_app, name="benchmark")
for verb in (train, evaluate, verify, md, relax):
    app.command()(verb)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"sciten {sciten.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; a user's mistake ends in one sentence and exit code 2."""
    try:
        app()
    except SciTenError as error:
        print(f"sciten: error: {error}", file=sys.stderr)
        sys.exit(2)
