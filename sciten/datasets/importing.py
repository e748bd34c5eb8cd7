"""From anything that ASE reads to one atoms file."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from sciten.datasets.census import Census
from sciten.datasets.dataset import AtomsDataset
from sciten.datasets.structure import LabelKeys, Structure
from sciten.datasets.writer import AtomsWriter, Source
from sciten.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ase import Atoms

_HDF5_SUFFIXES = (".h5", ".hdf5")


def import_structures(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    isolated_atoms: Sequence[str | os.PathLike[str]] = (),
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    virial_key: str | None = None,
    config_type_key: str = "config_type",
    config_type: str | None = None,
    command: str = "",
    licence: str = "",
    metadata: dict[str, str] | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Census:
    """Read structures and write them, one file after another, to one atoms file.

    A label that a frame lacks is masked, never refused and never zero. Structures are read one at a time, so
    files may be larger than memory.

    Args:
        inputs: files in any format that ASE reads, or atoms files.
        output: the HDF5 file to make; its name ends in `.h5` or `.hdf5`.
        isolated_atoms: files whose frames are single, isolated atoms, whatever their configuration type.
        energy_key, forces_key, stress_key, virial_key, config_type_key: where the labels stand, see
            `LabelKeys`.
        config_type: configuration type of every frame of `inputs`, in place of what they say.
        command: what made this call, for the record.
        licence: of the data.
        metadata: further facts for the record, by name.
        overwrite: whether to replace an `output` that was not imported from files of the same names.
        progress: whether to show a progress bar (on a terminal).

    Returns:
        The label census of what was written.

    Raises:
        ConfigError: the output is no HDF5 name, one of the inputs, or holds something else.
        DataError: a file cannot be read, or a structure cannot be used.
        StorageError: the output cannot be written; nothing half-written remains.
    """
    keys = LabelKeys(energy_key, forces_key, stress_key, virial_key, config_type_key)
    files = [(Path(path), config_type) for path in inputs]
    files += [(Path(path), "IsolatedAtom") for path in isolated_atoms]
    _check_paths([path for path, _ in files], Path(output))
    if not overwrite:
        _check_replaceable([path for path, _ in files], Path(output))
    seen: set[str] = set()
    with AtomsWriter(output, command=command, licence=licence, metadata=metadata) as writer:
        for path, forced_type in files:
            count = 0
            frames = tqdm(
                _read(path, keys, seen), desc=path.name, unit=" frames", disable=None if progress else True
            )
            for structure in frames:
                if forced_type is not None and not structure.is_isolated_atom:
                    structure = replace(structure, config_type=forced_type)
                writer.add(structure, f"{path}: frame {count}")
                count += 1
            if count == 0:
                raise DataError(f"{path}: holds no frame; leave it out or replace it")
            writer.sources.append(Source.of(path, count))
    census = writer.census()
    warnings = [f"the key {key!r} was found in no frame" for key in keys.explicit() if key not in seen]
    warnings += _repeated(writer.sources)
    return replace(census, warnings=(*warnings, *census.warnings))


def _check_paths(inputs: Sequence[Path], output: Path) -> None:
    if not inputs:
        raise ConfigError("nothing to import: give at least one input file before the output")
    if output.suffix.lower() not in _HDF5_SUFFIXES:
        raise ConfigError(f"{output}: the output comes last and its name ends in .h5 or .hdf5")
    for path in inputs:
        if not path.is_file():
            raise DataError(f"{path}: no such file")
        if output.exists() and path.samefile(output):
            raise ConfigError(f"{output}: is an input and the output at once; write to another file")


def _check_replaceable(inputs: Sequence[Path], output: Path) -> None:
    """Importing the same files again is safe; anything else that stands at `output` would be lost."""
    if not output.exists():
        return
    try:
        sources = AtomsDataset(output).attributes["sources"]
    except DataError:
        sources = []
    if sorted(source["file"] for source in sources) != sorted(path.name for path in inputs):
        raise ConfigError(
            f"{output} exists and was not imported from {', '.join(path.name for path in inputs)}: name another "
            "output, or replace it with --overwrite (overwrite=True)"
        )


def _repeated(sources: Sequence[Source]) -> list[str]:
    first: dict[str, str] = {}
    found = []
    for source in sources:
        if source.sha256 in first:
            found.append(
                f"{source.file} has the same content as {first[source.sha256]}: its frames are doubled"
            )
        first.setdefault(source.sha256, source.file)
    return found


def _read(path: Path, keys: LabelKeys, seen: set[str]) -> Iterator[Structure]:
    if path.suffix.lower() in _HDF5_SUFFIXES:
        yield from AtomsDataset(path)
        return
    for index, atoms in enumerate(_read_ase(path)):
        seen.update(key for key in keys.explicit() if _has(atoms, key))
        try:
            yield Structure.from_ase(atoms, keys)
        except DataError as error:
            raise DataError(f"{path}: frame {index}: {error}") from error


def _has(atoms: "Atoms", key: str) -> bool:
    results = getattr(atoms.calc, "results", None) or {}
    return key in atoms.info or key in atoms.arrays or key in results


def _read_ase(path: Path) -> "Iterator[Atoms]":
    from ase.io import iread

    index = 0
    frames = iread(path, index=":", do_not_split_by_at_sign=True)
    while True:
        try:
            atoms = next(frames)
        except StopIteration:
            return
        # Readers of a hundred formats raise whatever they like on a damaged file.
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise DataError(f"{path}: frame {index}: ASE cannot read it ({text})") from error
        yield atoms
        index += 1
