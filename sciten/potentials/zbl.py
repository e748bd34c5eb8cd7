"""Screened nuclear repulsion in the form of Ziegler, Biersack and Littmark, with mace-torch's screening length.

The universal potential of the 1985 book has the screening length 0.8854 a0 / (Za^0.23 + Zb^0.23). mace-torch
0.3.16 and the models trained with it have 0.4543 a0 / (Za^0.3 + Zb^0.3), about half of it between carbon atoms,
which makes the repulsion weaker. Equal numbers with these models come first here.
"""

import torch
from torch import Tensor

from sciten.potentials.radial import polynomial_cutoff

#: Weights and exponents of the universal screening function.
_SCREENING = ((0.1818, 3.2), (0.5099, 0.9423), (0.2802, 0.4028), (0.02817, 0.2016))
_COULOMB = 14.3996  # e²/(4 pi epsilon_0), eV Å


def zbl_pair_energies(distances: Tensor, za: Tensor, zb: Tensor, bond_lengths: Tensor, power: int) -> Tensor:
    """Half the pair repulsion, `[n_edges]`, eV, so that both directions of an edge add up to the whole.

    Ziegler, Biersack, Littmark, The Stopping and Range of Ions in Matter (1985), with another screening length, see
    above. It is faded out by the polynomial cutoff at the sum of the covalent radii.

    Args:
        distances: `[n_edges]`, Å.
        za, zb: atomic numbers, `[n_edges]`.
        bond_lengths: sums of the covalent radii, `[n_edges]`, Å.
        power: exponent of the polynomial cutoff.
    """
    za, zb = za.to(distances.dtype), zb.to(distances.dtype)
    x = distances * (za**0.3 + zb**0.3) / (0.4543 * 0.529)
    screening = sum((c * torch.exp(-b * x) for c, b in _SCREENING), torch.zeros_like(x))
    return (
        0.5 * _COULOMB * za * zb / distances * screening * polynomial_cutoff(distances, bond_lengths, power)
    )
