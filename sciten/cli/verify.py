"""`sciten verify`."""

from pathlib import Path
from typing import Annotated

import typer


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
    json: Annotated[Path | None, typer.Option(help="Write the results to this file too.")] = None,
    device: Annotated[str, typer.Option(help="Where to compute.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of random rotations, displacements and velocities.")] = 0,
) -> None:
    """Check symmetries, forces, stress, smoothness and energy conservation; exit code 1 where one fails."""
    from sciten.cli.structures import read_structure
    from sciten.simulation.verify import verify as run

    structures = [read_structure(path) for path in structure] if structure else None
    verification = run(model, structures, device=device, seed=seed, progress=True)
    if json is not None:
        verification.write_json(json)
    print(verification)
    if not verification.passed:
        raise typer.Exit(1)
