import numpy as np
import pytest
import torch
from ase.build import molecule

from sciten.errors import ModelError
from sciten.potentials import MACE, select_elements


@pytest.mark.parametrize("residual", [True, False])
def test_selected_elements_give_the_same_energies_and_forces(residual: bool) -> None:
    big = MACE(
        [1, 6, 7, 8, 16],
        isolated_atom_energies=[-1.0, -2.0, -3.0, -4.0, -5.0],
        channels=4,
        lmax=2,
        correlation=2,
        average_neighbors=5.0,
        scale=0.7,
        residual=residual,
        dtype=torch.float64,
    )
    small = select_elements(big, [8, 1])
    assert small.elements == (1, 8)
    expected, found = (model.evaluate([molecule("H2O")])[0] for model in (big, small))
    assert found["energy"] == pytest.approx(expected["energy"], abs=1e-12)
    np.testing.assert_allclose(found["forces"], expected["forces"], atol=1e-12)


def test_unknown_elements_are_named() -> None:
    with pytest.raises(ModelError, match=r"does not know atomic numbers \[79\]"):
        select_elements(MACE([1, 8], channels=2, lmax=1), [1, 79])
