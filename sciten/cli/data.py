"""`sciten data`: import structures or fields, and say what a dataset holds."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sciten.errors import ConfigError

app = typer.Typer(help="Import structures or fields, and look at datasets.", no_args_is_help=True)


@app.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT [INPUT ...] OUT.h5",
            help="Files that ASE reads, or files of fields; then the HDF5 file to make.",
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
    config_type_key: Annotated[
        str | None, typer.Option(help="Key of the configuration type; without it, config_type.")
    ] = None,
    config_type: Annotated[
        str | None, typer.Option(help="Configuration type of every frame of the inputs.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Fields: name of the dataset.")] = None,
    boundary: Annotated[
        Literal["periodic", "wall", "open"] | None,
        typer.Option(help="Fields: what holds at the ends of all axes, where the files do not say."),
    ] = None,
    points: Annotated[
        Literal["ends", "left", "centres"] | None,
        typer.Option(
            help="Fields in plain arrays: points of an axis at both ends too, at i/n, or at centres of cells."
        ),
    ] = None,
    time_step: Annotated[
        float | None,
        typer.Option(help="Fields in plain arrays: their second axis is time, in steps of this."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.h5 whatever it holds.")] = False,
    licence: Annotated[str, typer.Option(help="Licence of the data, for the record.")] = "",
) -> None:
    """Import structures or fields into one HDF5 file and print what it holds.

    HDF5 files of The Well or of PDEBench, and plain arrays in HDF5, .npz or .npy (samples first, then time where
    --time-step is given, then the grid) give fields, with their statistics. All other files give structures, with their
    label census.

    A label that a frame lacks is masked. Frames whose configuration type is IsolatedAtom or isolated_atom
    give isolated-atom energies.
    """
    if len(files) < 2:
        raise ConfigError(f"sciten data import: expected INPUT [INPUT ...] OUT.h5, got only {files[0]}")
    record = {
        "command": shlex.join(["sciten", *sys.argv[1:]]),
        "licence": licence,
        "overwrite": overwrite,
        "progress": True,
    }
    of_structures = {
        "isolated_atoms": isolated_atoms,
        "energy_key": energy_key,
        "forces_key": forces_key,
        "stress_key": stress_key,
        "virial_key": virial_key,
        "config_type_key": config_type_key,
        "config_type": config_type,
    }
    of_fields = {"name": name, "boundary": boundary, "points": points, "time_step": time_step}
    if _are_fields(files[:-1]):
        _refuse("structures", of_structures)
        _import_fields(files, {**_given(of_fields), **record})
    else:
        _refuse("fields", of_fields)
        _import_structures(files, {**_given(of_structures), **record})
    print(f"written: {files[-1]}")


@app.command()
def info(file: Annotated[Path, typer.Argument(metavar="FILE.h5", help="A dataset.")]) -> None:
    """Print the provenance of a dataset, and its label census, or its grid and fields."""
    from sciten.datasets import AtomsDataset
    from sciten.datasets.fields import is_field_file, summary

    if is_field_file(file):
        print(summary(file))
        return
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


def _are_fields(files: list[Path]) -> bool:
    from sciten.datasets.fields import is_importable

    kinds = {is_importable(file) for file in files if file.is_file()} or {False}
    if len(kinds) > 1:
        raise ConfigError(
            "sciten data import: expected files of structures or of fields, got both; import each alone"
        )
    return kinds.pop()


def _import_structures(files: list[Path], options: Mapping[str, Any]) -> None:
    from sciten.datasets import import_structures

    print(import_structures(files[:-1], files[-1], **options))


def _import_fields(files: list[Path], options: Mapping[str, Any]) -> None:
    from sciten.datasets.fields import import_fields, summary

    named = {"times" if name == "time_step" else name: value for name, value in options.items()}
    print(import_fields(files[:-1], files[-1], **named))
    print(summary(files[-1]))


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _refuse(what: str, options: Mapping[str, Any]) -> None:
    """Raise `ConfigError` where an option was given that is for files of another kind."""
    for name in _given(options):
        raise ConfigError(
            f"sciten data import: --{name.replace('_', '-')} is for {what}, which these files are not; leave it out"
        )
