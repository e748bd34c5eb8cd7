import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from sciten.datasets import (
    AtomsDataset,
    Structure,
    batch_from_structures,
    import_structures,
    write_structures,
)
from sciten.errors import ConfigError, DataError
from sciten.files import sha256
from tests.datasets.conftest import assert_same, make_structure


def labelled(n: int = 4) -> list[Atoms]:
    frames = []
    for i in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.05, seed=i)
        atoms.calc = EMT()
        results = {name: atoms.calc.get_property(name, atoms) for name in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["config_type"] = "rattled"
        frames.append(atoms)
    return frames


def write(path, frames):
    ase.io.write(path, frames)
    return path


@pytest.mark.parametrize("name", ["a.xyz", "a.traj", "a.extxyz", "a.xyz.gz", "a.json"])
def test_formats_of_ase(tmp_path, name):
    frames = labelled()
    import_structures([write(tmp_path / name, frames)], tmp_path / "out.h5")
    for read, atoms in zip(AtomsDataset(tmp_path / "out.h5"), frames, strict=True):
        np.testing.assert_allclose(read.positions, atoms.positions, atol=1e-7)
        np.testing.assert_allclose(read.cell, atoms.cell.array, atol=1e-7)
        np.testing.assert_allclose(read.energy, atoms.get_potential_energy(), atol=1e-7)
        np.testing.assert_allclose(read.forces, atoms.get_forces(), atol=1e-7)
        np.testing.assert_allclose(read.stress, atoms.get_stress(), atol=1e-7)
        assert read.pbc.all()


def test_a_format_without_labels(tmp_path):
    census = import_structures([write(tmp_path / "POSCAR.vasp", labelled(1))], tmp_path / "out.h5")
    assert (census.total.frames, census.total.energy, census.total.forces, census.total.stress) == (
        1,
        0,
        0,
        0,
    )
    assert "no frame carries energy" in census.warnings


def test_several_inputs_are_joined_and_recorded(tmp_path):
    first, second = write(tmp_path / "a.xyz", labelled(3)), write(tmp_path / "b.traj", labelled(2))
    census = import_structures([first, second], tmp_path / "out.h5", command="cmd", licence="MIT")
    dataset = AtomsDataset(tmp_path / "out.h5")
    assert len(dataset) == census.total.frames == 5
    assert dataset.attributes["sources"] == [
        {"file": "a.xyz", "sha256": sha256(first), "frames": 3},
        {"file": "b.traj", "sha256": sha256(second), "frames": 2},
    ]
    assert dataset.attributes["licence"] == "MIT" and dataset.attributes["command"] == "cmd"


def test_atoms_files_are_joined_unchanged(tmp_path):
    frames = [make_structure(0, info={"t": np.asarray(1.0)}), make_structure(1, periodic=False, energy=None)]
    write_structures(tmp_path / "a.h5", frames)
    import_structures([tmp_path / "a.h5", tmp_path / "a.h5"], tmp_path / "out.h5")
    for a, b in zip(AtomsDataset(tmp_path / "out.h5"), [*frames, *frames], strict=True):
        assert_same(a, b)


def test_keys_and_configuration_types(tmp_path):
    frames = []
    for atoms in labelled(2):
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = None
        atoms.info.update(REF_energy=energy, kind="k")
        atoms.set_array("REF_forces", forces)
        frames.append(atoms)
    path = write(tmp_path / "a.xyz", frames)
    bare = import_structures([path], tmp_path / "bare.h5")
    assert (bare.total.energy, bare.total.forces) == (0, 0)
    options = "--energy-key REF_energy", "--forces-key REF_forces"
    assert all(any(option in text for text in bare.warnings) for option in options)
    census = import_structures(
        [path], tmp_path / "out.h5", energy_key="REF_energy", forces_key="REF_forces", config_type_key="kind"
    )
    assert (census.total.energy, census.total.forces, list(census.config_types)) == (2, 2, ["k"])
    census = import_structures([path], tmp_path / "out.h5", energy_key="REF_enrgy", config_type="mine")
    assert census.total.energy == 0 and list(census.config_types) == ["mine"]
    assert census.warnings[0] == "the key 'REF_enrgy' was found in no frame"


def test_isolated_atoms_by_name_and_by_file(tmp_path):
    atom = Atoms("Cu")
    atom.calc = SinglePointCalculator(atom, energy=-1.25)
    lone = write(tmp_path / "lone.xyz", [atom])
    data = write(tmp_path / "data.xyz", labelled(2))
    atom.info["config_type"] = "isolated_atom"
    named = write(tmp_path / "named.xyz", [atom])
    for options in ({"inputs": [data, named]}, {"inputs": [data], "isolated_atoms": [lone]}):
        census = import_structures(**options, output=tmp_path / "out.h5", overwrite=True)
        dataset = AtomsDataset(tmp_path / "out.h5")
        assert dataset.isolated_atom_energies == {29: -1.25} and dataset.isolated_atoms.tolist() == [2]
        assert census.isolated_atom_energies == {"Cu": -1.25} and census.total.frames == 2
    assert len(import_structures([data, lone], tmp_path / "out.h5").isolated_atom_energies) == 0
    with pytest.raises(
        DataError, match=r"data\.xyz: frame 0: the frame is named 'IsolatedAtom', but has 4 atoms"
    ):
        import_structures([data], tmp_path / "x.h5", isolated_atoms=[data])


def test_a_configuration_type_for_all_spares_isolated_atoms(tmp_path):
    atom = Atoms("Cu", info={"config_type": "IsolatedAtom"})
    path = write(tmp_path / "a.xyz", [atom, *labelled(1)])
    census = import_structures([path], tmp_path / "out.h5", config_type="mine")
    assert list(census.config_types) == ["IsolatedAtom", "mine"]


def spoil(frames, index, change):
    change(frames[index])
    return frames


def set_nan(atoms):
    atoms.calc.results["forces"][1, 2] = np.nan


def set_close(atoms):
    atoms.positions[3] = atoms.positions[2] + [0.05, 0, 0]
    atoms.calc.atoms = atoms.copy()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_nan, "forces of atom 1 is nan"),
        (set_close, r"atoms (2 and 3|3 and 2) are 0\.05 Å apart"),
        (lambda atoms: atoms.calc.results.update(energy=np.inf), "energy is inf"),
    ],
)
def test_bad_frames_are_named_and_nothing_is_written(tmp_path, change, message):
    path = write(tmp_path / "bad.xyz", spoil(labelled(), 2, change))
    with pytest.raises(DataError, match=rf"bad\.xyz: frame 2: {message}"):
        import_structures([path], tmp_path / "out.h5")
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.xyz"]


def test_a_periodic_frame_without_a_cell(tmp_path):
    (tmp_path / "bad.xyz").write_text('1\nProperties=species:S:1:pos:R:3 pbc="T T T"\nH 0 0 0\n')
    with pytest.raises(DataError, match=r"bad\.xyz: frame 0: .*without a cell"):
        import_structures([tmp_path / "bad.xyz"], tmp_path / "out.h5")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"in\.xyz: (holds no frame|frame 0: ASE cannot read it)"),
        ("3\n\nH 0 0 0\n", r"in\.xyz: frame 0: ASE cannot read it"),
        ("1\n\nH 0 0 0\n1\n\nH 0 zero 0\n", r"in\.xyz: frame 1: ASE cannot read it"),
        ("0\n\n", r"in\.xyz: frame 0: "),
        ("1\n\nQq 0 0 0\n", r"in\.xyz: frame 0: ASE cannot read it"),
        ("1\n\nX 0 0 0\n", r"in\.xyz: frame 0: atom 0 has the atomic number 0"),
    ],
)
def test_unreadable_inputs(tmp_path, content, message):
    (tmp_path / "in.xyz").write_text(content)
    with pytest.raises(DataError, match=message):
        import_structures([tmp_path / "in.xyz"], tmp_path / "out.h5")
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.xyz"]


def test_unusable_paths(tmp_path):
    data = write(tmp_path / "a.xyz", labelled(1))
    with pytest.raises(DataError, match=r"none\.xyz: no such file"):
        import_structures([tmp_path / "none.xyz"], tmp_path / "out.h5")
    with pytest.raises(ConfigError, match=r"a\.xyz: the output comes last and its name ends in \.h5"):
        import_structures([data], data)
    with pytest.raises(ConfigError, match="nothing to import"):
        import_structures([], tmp_path / "out.h5")
    write_structures(tmp_path / "a.h5", [make_structure()])
    with pytest.raises(ConfigError, match=r"a\.h5: is an input and the output at once"):
        import_structures([tmp_path / "a.h5"], tmp_path / "a.h5")
    (tmp_path / "notes.bin").write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match=r"notes\.bin: frame 0: ASE cannot read it"):
        import_structures([tmp_path / "notes.bin"], tmp_path / "out.h5")


REFERENCE = {
    "acac": (["acac/train_300K.xyz"], ["acac/isolated_atoms.xyz"], 500, {"H", "C", "O"}, 0),
    "3bpa": (["3bpa/train_300K.xyz"], ["3bpa/iso_atoms.xyz"], 500, {"H", "C", "N", "O"}, 0),
    "aspirin": (["rmd17_aspirin/train_50.xyz", "rmd17_aspirin/test_500.xyz"], [], 550, set(), 0),
    "silicon": (["silicon/train.xyz", "silicon/test.xyz"], [], 239, set(), 239),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_public_datasets_import_whole_and_without_suspicion(tmp_path, reference_data, name):
    inputs, isolated, frames, isolated_elements, stress = REFERENCE[name]
    census = import_structures(
        [reference_data / path for path in inputs],
        tmp_path / "out.h5",
        isolated_atoms=[reference_data / path for path in isolated],
    )
    total = census.total
    assert (total.frames, total.energy, total.forces, total.stress) == (frames, frames, frames, stress)
    assert set(census.isolated_atom_energies) == isolated_elements
    assert census.warnings == ()
    first = ase.io.read(reference_data / inputs[0], 0)
    assert_same(AtomsDataset(tmp_path / "out.h5")[0], Structure.from_ase(first))


def test_what_stands_at_the_output_is_replaced_by_the_same_files_only(tmp_path):
    first, second = write(tmp_path / "a.xyz", labelled(2)), write(tmp_path / "b.xyz", labelled(3))
    output = tmp_path / "out.h5"
    import_structures([first], output)
    import_structures([first], output)
    before = output.read_bytes()
    with pytest.raises(ConfigError, match=r"out\.h5 exists and was not imported from b\.xyz: name another"):
        import_structures([second], output)
    assert output.read_bytes() == before
    import_structures([second], output, overwrite=True)
    assert len(AtomsDataset(output)) == 3
    (tmp_path / "other.h5").write_text("something else")
    with pytest.raises(ConfigError, match=r"other\.h5 exists"):
        import_structures([first], tmp_path / "other.h5")


def test_a_file_given_twice_and_a_type_key_that_nothing_has_are_noticed(tmp_path):
    first, second = write(tmp_path / "a.xyz", labelled(2)), write(tmp_path / "b.xyz", labelled(2))
    census = import_structures([first, second], tmp_path / "out.h5", config_type_key="knd")
    assert "b.xyz has the same content as a.xyz: its frames are doubled" in census.warnings
    assert "the key 'knd' was found in no frame" in census.warnings


def test_charge_and_spin_come_from_info_into_the_batch(tmp_path):
    frames = labelled(3)
    frames[0].info["charge"], frames[1].info["charge"], frames[1].info["spin"] = 1, -2.0, 3
    import_structures([write(tmp_path / "a.xyz", frames)], tmp_path / "out.h5")
    batch = batch_from_structures(list(AtomsDataset(tmp_path / "out.h5")), 3.0)
    np.testing.assert_array_equal(batch.charge, [1.0, -2.0, np.nan])
    np.testing.assert_array_equal(batch.spin, [np.nan, 3.0, np.nan])
