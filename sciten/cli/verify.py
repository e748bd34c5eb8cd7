"""`sciten verify`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sciten.errors import ConfigError

if TYPE_CHECKING:
    from sciten.simulation.verify import Verification


def verify(
    model: Annotated[
        list[Path], typer.Argument(help="Model folder or training output folder; several: a committee.")
    ],
    structure: Annotated[
        list[Path] | None,
        typer.Option(
            help="A structure to test on, in any format ASE reads (its last frame); may be repeated."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="A file of fields to test a neural operator on.", metavar="FILE.h5")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the results to this file too.")] = None,
    device: Annotated[str, typer.Option(help="Where to compute.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of random rotations, displacements and velocities.")] = 0,
) -> None:
    """Check what a model must be; exit code 1 where a check fails.

    A potential: symmetries, forces, stress, smoothness and energy conservation. A neural operator: the same output on
    finer grids, and translation along periodic axes.
    """
    from sciten.model_files import format_name
    from sciten.neural_operators.files import FORMAT_NAME

    if len(model) == 1 and format_name(model[0]) == FORMAT_NAME:
        if structure:
            raise ConfigError(
                f"sciten verify: --structure is for potentials, {model[0]} is none; give --data"
            )
        verification = _operator(model[0], data, device, seed)
    else:
        if data is not None:
            raise ConfigError(
                f"sciten verify: --data is for neural operators, {model[0]} is none; give --structure"
            )
        verification = _potential(model, structure, device, seed)
    if json is not None:
        verification.write_json(json)
    print(verification)
    if not verification.passed:
        raise typer.Exit(1)


def _potential(models: list[Path], structure: list[Path] | None, device: str, seed: int) -> "Verification":
    from sciten.cli.structures import read_structure
    from sciten.simulation.verify import verify as run

    structures = [read_structure(path) for path in structure] if structure else None
    return run(models, structures, device=device, seed=seed, progress=True)


def _operator(model: Path, data: Path | None, device: str, seed: int) -> "Verification":
    from sciten.simulation.verify import verify_operator

    return verify_operator(model, data, device=device, seed=seed, progress=True)
