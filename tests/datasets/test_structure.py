import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from sciten.datasets import LabelKeys, Structure
from sciten.datasets.structure import is_isolated_atom_name
from sciten.errors import ConfigError, DataError

SYMMETRIC = np.array([[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]])


def copper() -> Atoms:
    return Atoms("Cu2", positions=[[0, 0, 0], [1.8, 1.8, 0.1]], cell=[3.6, 3.6, 3.6], pbc=True)


def test_labels_come_from_the_calculator():
    atoms = copper()
    atoms.calc = SinglePointCalculator(atoms, energy=-1.5, forces=np.ones((2, 3)), stress=np.arange(6.0))
    structure = Structure.from_ase(atoms)
    assert structure.energy == -1.5
    np.testing.assert_array_equal(structure.forces, np.ones((2, 3)))
    np.testing.assert_array_equal(structure.stress, np.arange(6.0))
    assert structure.config_type == "default" and structure.charge is None and len(structure) == 2


def test_missing_labels_are_none():
    structure = Structure.from_ase(copper())
    assert structure.energy is None and structure.forces is None and structure.stress is None


def test_stale_results_of_a_live_calculator_are_no_labels():
    atoms = copper()
    atoms.calc = EMT()
    energy = atoms.get_potential_energy()
    assert Structure.from_ase(atoms).energy == energy
    atoms.positions[0, 0] += 0.1
    assert Structure.from_ase(atoms).energy is None


def test_labels_under_other_keys():
    atoms = copper()
    atoms.info.update(REF_energy=-2.0, REF_stress=SYMMETRIC, kind="fcc", charge=1, spin=2, note="kept")
    atoms.set_array("REF_forces", np.full((2, 3), 0.5))
    atoms.calc = SinglePointCalculator(atoms, energy=99.0)
    keys = LabelKeys("REF_energy", "REF_forces", "REF_stress", config_type="kind")
    structure = Structure.from_ase(atoms, keys)
    assert (structure.energy, structure.config_type, structure.charge, structure.spin) == (
        -2.0,
        "fcc",
        1.0,
        2.0,
    )
    np.testing.assert_array_equal(structure.forces, np.full((2, 3), 0.5))
    np.testing.assert_array_equal(structure.stress, full_3x3_to_voigt_6_stress(SYMMETRIC))
    assert set(structure.info) == {"note"} and not structure.arrays


def test_an_absent_key_does_not_fall_back_to_the_calculator():
    atoms = copper()
    atoms.calc = SinglePointCalculator(atoms, energy=99.0)
    assert Structure.from_ase(atoms, LabelKeys(energy="REF_energy")).energy is None


def test_virial_becomes_stress():
    atoms = copper()
    atoms.info["virial"] = SYMMETRIC.flatten()
    structure = Structure.from_ase(atoms, LabelKeys(virial="virial"))
    expected = -full_3x3_to_voigt_6_stress(SYMMETRIC) / atoms.get_volume()
    np.testing.assert_allclose(structure.stress, expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("info", "arrays", "message"),
    [
        ({"E": "much"}, {}, "E: expected numbers"),
        ({"E": [1.0, 2.0]}, {}, "E: expected one number"),
        ({"S": [1.0, 2.0]}, {}, "S: expected 6 Voigt entries"),
        ({"S": np.triu(np.ones((3, 3)))}, {}, "S: expected a symmetric tensor"),
        ({}, {"F": np.ones((2, 2))}, r"F: expected shape \[2, 3\]"),
    ],
)
def test_labels_of_wrong_shape_are_refused(info, arrays, message):
    atoms = copper()
    atoms.info.update(info)
    for name, values in arrays.items():
        atoms.set_array(name, values)
    with pytest.raises(DataError, match=message):
        Structure.from_ase(atoms, LabelKeys("E", "F", "S"))


def test_other_results_and_arrays_are_kept():
    atoms = copper()
    atoms.info.update(temperature=300, tags_list=[1, 2, 3], table={"a": 1}, nothing=None)
    atoms.set_array("charges", np.array([0.1, -0.1]))
    atoms.calc = SinglePointCalculator(atoms, magmoms=np.array([1.0, 2.0]), dipole=np.arange(3.0))
    structure = Structure.from_ase(atoms)
    assert set(structure.info) == {"temperature", "tags_list", "dipole"}
    assert set(structure.arrays) == {"charges", "magmoms"}


def test_round_trip_through_ase():
    atoms = copper()
    atoms.info.update(config_type="bulk", charge=0.0, temperature=300.0, label="x")
    atoms.set_array("charges", np.array([0.1, -0.1]))
    atoms.calc = SinglePointCalculator(atoms, energy=-1.5, forces=np.ones((2, 3)), stress=np.arange(6.0))
    back = Structure.from_ase(atoms).to_ase()
    assert back == atoms
    assert back.info == atoms.info
    np.testing.assert_array_equal(back.arrays["charges"], atoms.arrays["charges"])
    assert back.get_potential_energy() == -1.5
    np.testing.assert_array_equal(back.get_forces(), atoms.get_forces())
    np.testing.assert_array_equal(back.get_stress(), atoms.get_stress())
    assert Structure(positions=np.zeros((1, 3)), numbers=np.ones(1, int)).to_ase().calc is None


def test_the_cell_of_a_molecule_is_dropped_and_that_of_a_slab_kept():
    atoms = copper()
    assert Structure.from_ase(atoms).volume == pytest.approx(3.6**3)
    atoms.pbc = [True, True, False]
    assert Structure.from_ase(atoms).volume == pytest.approx(3.6**3)
    atoms.pbc = False
    assert Structure.from_ase(atoms).volume == 0.0


@pytest.mark.parametrize(
    "name", ["IsolatedAtom", "isolated_atom", "ISOLATED_ATOM", "isolatedatom", "Isolated-Atom"]
)
def test_isolated_atom_names(name):
    assert is_isolated_atom_name(name)
    assert not is_isolated_atom_name(name + "s")


def test_a_virial_beside_a_stress_is_refused():
    with pytest.raises(ConfigError, match="a stress key or a virial key, got both"):
        LabelKeys(stress="stress", virial="virial")
