import pytest
import torch

from sciten.potentials.zbl import zbl_pair_energies


def pair_energy(distance: float, za: int, zb: int, bond_length: float) -> float:
    arguments = torch.tensor([distance], dtype=torch.float64), torch.tensor([za]), torch.tensor([zb])
    half = zbl_pair_energies(*arguments, torch.tensor([bond_length], dtype=torch.float64), 6)
    return 2 * half.item()


def test_bare_nuclei_repel_by_coulombs_law() -> None:
    # Screening leaves 1 - O(r) of e²/(4 pi eps0) Z Z' / r; the four weights add up to 1.00007.
    assert pair_energy(1e-6, 6, 8, 1.5) == pytest.approx(14.3996 * 48 / 1e-6, rel=1e-3)


def test_known_value_for_two_carbon_atoms() -> None:
    """The universal potential written out for C-C at 0.5 Å."""
    import math

    a = 0.4543 * 0.529 / (2 * 6**0.3)
    x = 0.5 / a
    phi = 0.1818 * math.exp(-3.2 * x) + 0.5099 * math.exp(-0.9423 * x)
    phi += 0.2802 * math.exp(-0.4028 * x) + 0.02817 * math.exp(-0.2016 * x)
    u = 0.5 / 1.52
    fade = 1 - 28 * u**6 + 48 * u**7 - 21 * u**8
    assert pair_energy(0.5, 6, 6, 1.52) == pytest.approx(14.3996 * 36 / 0.5 * phi * fade, rel=1e-12)


def test_vanishes_beyond_the_bond_length() -> None:
    assert pair_energy(1.6, 6, 6, 1.52) == 0.0
