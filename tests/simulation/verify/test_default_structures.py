import numpy as np
import pytest
from ase.data import covalent_radii

from sciten.simulation.verify import default_structures


@pytest.mark.parametrize(
    "elements", [(1, 6, 8), (1,), (14,), (29,), (8, 14), (26, 28), (92,), (2, 54), tuple(range(1, 90))]
)
def test_structures_have_only_the_elements_at_sensible_distances(elements):
    free, periodic = default_structures(elements)
    assert not free.pbc.any()
    assert periodic.pbc.all()
    assert periodic.get_volume() > 0
    for atoms in (free, periodic):
        assert set(atoms.numbers.tolist()) <= set(elements)
        assert 2 <= len(atoms) <= 16
        distances = atoms.get_all_distances(mic=True) + 10 * np.eye(len(atoms))
        bonds = covalent_radii[atoms.numbers][:, None] + covalent_radii[atoms.numbers][None]
        assert (distances > 0.7 * bonds).all()


def test_a_molecule_has_all_the_elements_it_can():
    free, _ = default_structures((1, 6, 8))
    assert set(free.numbers.tolist()) == {1, 6, 8}
    assert len(free) <= 12
