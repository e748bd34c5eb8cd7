import numpy as np
import pytest

from sciten.datasets.census import Census, CensusBuilder
from tests.datasets.conftest import make_structure


def census_of(structures) -> Census:
    builder = CensusBuilder()
    for structure in structures:
        builder.add(structure)
    return builder.census()


def test_statistics_equal_numpy():
    frames = [make_structure(i, 2 + i % 4, energy=-1e5 + 0.01 * i) for i in range(30)]
    total = census_of(frames).total
    energies = np.array([frame.energy / len(frame) for frame in frames])
    forces = np.concatenate([frame.forces for frame in frames])
    assert total.frames == 30 and total.atoms == len(forces)
    np.testing.assert_allclose(
        [total.energy_min, total.energy_mean, total.energy_max, total.energy_std],
        [energies.min(), energies.mean(), energies.max(), energies.std()],
        rtol=1e-12,
    )
    np.testing.assert_allclose(total.force_rms, np.sqrt(np.mean(forces**2)), rtol=1e-12)
    assert total.force_max == np.abs(forces).max()


def test_small_spread_on_large_energies_is_not_lost():
    energies = -1e6 + 1e-4 * np.random.default_rng(0).normal(size=1000)
    census = census_of([make_structure(0, 1, energy=float(energy)) for energy in energies])
    np.testing.assert_allclose(census.total.energy_std, energies.std(), rtol=1e-4)


def test_labels_are_counted_by_configuration_type():
    frames = [
        make_structure(0, config_type="a"),
        make_structure(1, config_type="a", forces=None),
        make_structure(2, config_type="b", energy=None, stress=None),
        make_structure(
            3, 1, periodic=False, config_type="IsolatedAtom", numbers=np.array([8]), energy=-5.0, forces=None
        ),
    ]
    census = census_of(frames)
    a, b, isolated = (census.config_types[name] for name in ("a", "b", "IsolatedAtom"))
    assert (a.frames, a.atoms, a.energy, a.forces, a.stress) == (2, 10, 2, 1, 2)
    assert (b.frames, b.energy, b.forces, b.stress) == (1, 0, 1, 0)
    assert (isolated.frames, isolated.energy) == (1, 1)
    assert (census.total.frames, census.total.energy, census.total.forces) == (3, 2, 2)
    assert np.isnan(b.energy_mean) and np.isnan(isolated.force_rms)
    assert dict(census.isolated_atom_energies) == {"O": -5.0}
    counts = np.bincount(np.concatenate([frame.numbers for frame in frames]), minlength=15)
    assert census.elements == {
        name: counts[z] for name, z in (("H", 1), ("C", 6), ("O", 8), ("Si", 14)) if counts[z]
    }
    assert "1 of 3 frames carry no energy" in census.warnings
    assert "1 of 3 frames carry no forces" in census.warnings


def test_the_printed_table():
    text = str(
        census_of([make_structure(0, config_type="one"), make_structure(1, config_type="two", energy=None)])
    )
    lines = text.splitlines()
    assert lines[0].split()[:6] == ["config", "type", "frames", "atoms", "energy", "forces"]
    assert lines[2].split()[:6] == ["one", "1", "5", "1", "1", "1"]
    assert lines[3].split()[:7] == ["two", "1", "5", "0", "1", "1", "-"]
    assert lines[5].startswith("all but isolated atoms")
    assert len({len(line) for line in lines[:6]}) == 1, "the columns line up"
    assert "isolated atoms: none with an energy" in lines


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"energy": None, "info": {"TotEnergy": np.asarray(-1.0)}}, "--energy-key TotEnergy"),
        ({"forces": None, "arrays": {"dft_force": np.zeros((5, 3))}}, "--forces-key dft_force"),
        ({"stress": None, "info": {"REF_stress": np.zeros(9)}}, "--stress-key REF_stress"),
        ({"stress": None, "info": {"virials": np.zeros((3, 3))}}, "--virial-key virials"),
    ],
)
def test_keys_that_look_like_labels_are_named(changes, hint):
    assert any(
        text.endswith(f"import with {hint}") for text in census_of([make_structure(0, **changes)]).warnings
    )
    # Not where the label is known.
    kept = {name: value for name, value in changes.items() if value is not None}
    assert not any(hint in text for text in census_of([make_structure(0, **kept)]).warnings)


def test_nothing_but_isolated_atoms():
    atom = make_structure(0, 1, periodic=False, config_type="IsolatedAtom")
    assert any("nothing to train on" in text for text in census_of([atom]).warnings)
