from typing import Any

import numpy as np
import pytest
import torch
from ase.build import molecule

from sciten.errors import ModelError
from sciten.potentials import select_elements
from tests.potentials.models import small
from tests.toys import ToyPotential


@pytest.mark.parametrize(
    ("kind", "changes"),
    [("MACE", {"residual": True, "lmax": 2}), ("MACE", {"residual": False, "lmax": 2}), ("TensorNet", {})],
)
def test_selected_elements_give_the_same_energies_and_forces(kind: str, changes: dict[str, Any]) -> None:
    big = small(
        kind,
        (1, 6, 7, 8, 16),
        isolated_atom_energies=[-1.0, -2.0, -3.0, -4.0, -5.0],
        scale=0.7,
        dtype=torch.float64,
        **changes,
    )
    smaller = select_elements(big, [8, 1])
    assert smaller.elements == (1, 8)
    expected, found = (model.evaluate([molecule("H2O")])[0] for model in (big, smaller))
    assert found["energy"] == pytest.approx(expected["energy"], abs=1e-12)
    np.testing.assert_allclose(found["forces"], expected["forces"], atol=1e-12)


def test_unknown_elements_are_named() -> None:
    with pytest.raises(ModelError, match=r"does not know atomic numbers \[79\]"):
        select_elements(small(), [1, 79])


def test_a_potential_that_cannot_be_restricted_says_so() -> None:
    with pytest.raises(ModelError, match="ToyPotential: cannot be restricted to fewer elements"):
        select_elements(ToyPotential(), [1])
