"""`sciten relax`."""

from pathlib import Path
from typing import Annotated

import typer

from sciten.errors import ConfigError


def relax(
    model: Annotated[Path, typer.Argument(help="Model folder or training output folder.")],
    structure: Annotated[
        Path, typer.Argument(help="Initial structure, in any format ASE reads (its last frame).")
    ],
    output: Annotated[Path, typer.Option(help="Relaxed structure, extended XYZ.")] = Path("relaxed.xyz"),
    cell: Annotated[bool, typer.Option("--cell", help="Relax the cell too.")] = False,
    fmax: Annotated[float, typer.Option(help="Converged when no force is larger, eV/Å.")] = 0.01,
    steps: Annotated[int, typer.Option(help="Give up after so many steps.")] = 500,
    pressure: Annotated[float, typer.Option(help="GPa, with --cell.")] = 0.0,
    device: Annotated[str, typer.Option(help="Where to compute.")] = "cpu",
) -> None:
    """Relax atoms, and with --cell their cell; exit code 1 where it does not converge."""
    from ase.io import write

    from sciten.cli.structures import read_structure
    from sciten.files import atomic_path
    from sciten.integrations.ase import SciTenCalculator
    from sciten.simulation import relax as run

    if pressure and not cell:
        raise ConfigError(
            f"--pressure {pressure:g} acts on the cell, which is held fixed; give --cell too, or leave it out"
        )
    calculator = SciTenCalculator(model, device=device)
    outcome = run(
        read_structure(structure),
        calculator,
        cell=cell,
        fmax=fmax,
        max_steps=steps,
        pressure=pressure,
        progress=True,
    )
    with atomic_path(output) as temporary:
        write(temporary, outcome.atoms, format="extxyz")
    verdict = "converged" if outcome.converged else "NOT converged"
    print(
        f"{output}: {verdict} after {outcome.steps} steps, energy {outcome.energy:.6f} eV, "
        f"largest force {outcome.fmax:.2g} eV/Å"
    )
    if not outcome.converged:
        raise typer.Exit(1)
