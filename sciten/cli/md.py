"""`sciten md`."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sciten.errors import ConfigError

if TYPE_CHECKING:
    from sciten.simulation.ensembles import Ensemble


class EnsembleName(StrEnum):
    """The ensembles by the names they have on the command line."""

    NVE = "nve"
    LANGEVIN = "langevin"
    NOSE_HOOVER = "nose-hoover"
    NPT = "npt"


def md(
    model: Annotated[Path, typer.Argument(help="Model folder or training output folder.")],
    structure: Annotated[
        Path, typer.Argument(help="Initial structure, in any format ASE reads (its last frame).")
    ],
    ensemble: Annotated[EnsembleName, typer.Option(help="What is held fixed.")] = EnsembleName.LANGEVIN,
    steps: Annotated[int, typer.Option(help="Number of steps, counted from the first start.")] = 1000,
    timestep: Annotated[float, typer.Option(help="Time step, fs.")] = 0.5,
    temperature: Annotated[
        float, typer.Option(help="Of the thermostat, and of initial velocities, K.")
    ] = 300.0,
    pressure: Annotated[float, typer.Option(help="Of the barostat, GPa (npt).")] = 0.0,
    friction: Annotated[float, typer.Option(help="1/fs (langevin).")] = 0.01,
    time_constant: Annotated[float, typer.Option(help="Of the thermostat, fs (nose-hoover, npt).")] = 50.0,
    pressure_time_constant: Annotated[float, typer.Option(help="Of the barostat, fs (npt).")] = 500.0,
    output: Annotated[Path, typer.Option(help="Trajectory, H5MD.")] = Path("trajectory.h5"),
    interval: Annotated[int, typer.Option(help="Steps between stored frames.")] = 10,
    extxyz: Annotated[Path | None, typer.Option(help="Write the trajectory as extended XYZ too.")] = None,
    supercell: Annotated[
        tuple[int, int, int], typer.Option(help="Repeat the structure along its cell vectors.")
    ] = (1, 1, 1),
    seed: Annotated[int, typer.Option(min=0, help="Seed of initial velocities and noise.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an existing trajectory.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing trajectory.")] = False,
    device: Annotated[str, typer.Option(help="Where to compute.")] = "cpu",
) -> None:
    """Run molecular dynamics and store the trajectory in H5MD."""
    from sciten.cli.structures import read_structure
    from sciten.integrations.ase import SciTenCalculator
    from sciten.simulation import NPT, NVE, Langevin, NoseHoover, Trajectory, export_extxyz, run_md

    choices: dict[EnsembleName, Callable[[], Ensemble]] = {
        EnsembleName.NVE: NVE,
        EnsembleName.LANGEVIN: lambda: Langevin(temperature, friction),
        EnsembleName.NOSE_HOOVER: lambda: NoseHoover(temperature, time_constant),
        EnsembleName.NPT: lambda: NPT(temperature, pressure, time_constant, pressure_time_constant),
    }
    if min(supercell) < 1:
        raise ConfigError(f"--supercell: expected three numbers of at least 1, got {supercell}")
    start = read_structure(structure)
    if any(n > 1 and not vector.any() for n, vector in zip(supercell, start.cell.array, strict=True)):
        raise ConfigError(
            f"--supercell: {structure} has no lattice vector along an axis to repeat it, got {supercell}"
        )
    result = run_md(
        start.repeat(supercell),
        SciTenCalculator(model, device=device),
        choices[ensemble](),
        steps=steps,
        timestep=timestep,
        initial_temperature=temperature,
        seed=seed,
        output=output,
        interval=interval,
        resume=resume,
        overwrite=overwrite,
        progress=True,
    )
    with Trajectory(output) as trajectory:
        temperatures = trajectory.observable("temperature")
        time = trajectory.times[-1]
        print(
            f"{output}: {len(trajectory)} frames of {len(result.atoms)} atoms to {time:g} fs, "
            f"temperature {temperatures.mean():.0f} ± {temperatures.std():.0f} K"
        )
    if unstored := result.steps % interval:
        print(f"the last {unstored} steps are not in it: it holds every {interval}th step (--interval)")
    if extxyz is not None:
        frames = export_extxyz(output, extxyz)
        print(f"{extxyz}: {frames} frames")
