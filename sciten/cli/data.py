"""`sciten data`: import structures, and say what a dataset holds."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from sciten.errors import ConfigError

app = typer.Typer(help="Import structures and look at datasets.", no_args_is_help=True)


@app.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT [INPUT ...] OUT.h5", help="Files that ASE reads, then the HDF5 file to make."
        ),
    ],
    isolated_atoms: Annotated[
        list[Path] | None,
        typer.Option(help="A file whose frames are single, isolated atoms; may be given several times."),
    ] = None,
    energy_key: Annotated[
        str | None, typer.Option(help="Key of the energy (eV); without it, ASE's calculator results.")
    ] = None,
    forces_key: Annotated[
        str | None, typer.Option(help="Key of the forces (eV/Å); without it, ASE's calculator results.")
    ] = None,
    stress_key: Annotated[
        str | None,
        typer.Option(help="Key of the stress (eV/Å³, tension positive); without it, ASE's results."),
    ] = None,
    virial_key: Annotated[
        str | None, typer.Option(help="Key of a virial (eV); stress = -virial / volume.")
    ] = None,
    config_type_key: Annotated[str, typer.Option(help="Key of the configuration type.")] = "config_type",
    config_type: Annotated[
        str | None, typer.Option(help="Configuration type of every frame of the inputs.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.h5 whatever it holds.")] = False,
    licence: Annotated[str, typer.Option(help="Licence of the data, for the record.")] = "",
) -> None:
    """Import structures into one HDF5 file and print its label census.

    A label that a frame lacks is masked. Frames whose configuration type is IsolatedAtom or isolated_atom
    give isolated-atom energies.
    """
    from sciten.datasets import import_structures

    if len(files) < 2:
        raise ConfigError(f"sciten data import: expected INPUT [INPUT ...] OUT.h5, got only {files[0]}")
    census = import_structures(
        files[:-1],
        files[-1],
        isolated_atoms=isolated_atoms or (),
        energy_key=energy_key,
        forces_key=forces_key,
        stress_key=stress_key,
        virial_key=virial_key,
        config_type_key=config_type_key,
        config_type=config_type,
        command=shlex.join(["sciten", *sys.argv[1:]]),
        licence=licence,
        overwrite=overwrite,
        progress=True,
    )
    print(census)
    print(f"written: {files[-1]}")


@app.command()
def info(file: Annotated[Path, typer.Argument(metavar="FILE.h5", help="A dataset.")]) -> None:
    """Print the provenance and the label census of a dataset."""
    from sciten.datasets import AtomsDataset

    with AtomsDataset(file) as dataset:
        record = dataset.attributes
        print(f"{file}: {len(dataset)} frames, {dataset.n_atoms} atoms, made {record['created']}")
        for source in record["sources"]:
            print(f"from {source['file']}, sha256 {source['sha256']}")
        for name in ("command", "licence"):
            if record[name]:
                print(f"{name}: {record[name]}")
        for name, value in record["metadata"].items():
            print(f"{name}: {value}")
        print(dataset.census())
