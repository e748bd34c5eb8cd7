"""Structures for torch-geometric."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from sciten.datasets.graphs import neighbor_list
from sciten.datasets.structure import Structure
from sciten.errors import MissingExtraError

if TYPE_CHECKING:
    from torch_geometric.data import Data


def to_pyg(structure: Structure, cutoff: float | None = None) -> "Data":
    """A torch-geometric `Data` of one structure, in float64.

    It has `pos` `[n, 3]`, `z` `[n]`, `cell` `[1, 3, 3]`, `pbc` `[1, 3]`, `energy` `[1]`, `forces` `[n, 3]`,
    `stress` `[1, 6]`, `charge` `[1]`, `spin` `[1]` and `config_type`; per-frame entries have a leading axis,
    so that batching stacks them. A label that is missing is NaN, and `energy_mask` `[1]`, `forces_mask`
    `[n]`, `stress_mask` `[1]` say which are known. With a cutoff (Å) it also has `edge_index` `[2, n_edges]`
    (senders, receivers) and `shifts` `[n_edges, 3]`; the vector of an edge is `pos[receiver] - pos[sender] +
    shifts @ cell`.
    """
    try:
        from torch_geometric.data import Data
    except ImportError as error:
        raise MissingExtraError(
            "to_pyg needs torch-geometric, which is not installed: pip install 'sciten[pyg]'"
        ) from error

    n = len(structure)
    data = Data(
        pos=torch.from_numpy(structure.positions),
        z=torch.from_numpy(structure.numbers),
        cell=torch.from_numpy(structure.cell)[None],
        pbc=torch.from_numpy(structure.pbc)[None],
        energy=_or_nan(structure.energy, (1,)),
        energy_mask=torch.tensor([structure.energy is not None]),
        forces=_or_nan(structure.forces, (n, 3)),
        forces_mask=torch.full((n,), structure.forces is not None),
        stress=_or_nan(structure.stress, (1, 6)),
        stress_mask=torch.tensor([structure.stress is not None]),
        charge=_or_nan(structure.charge, (1,)),
        spin=_or_nan(structure.spin, (1,)),
        config_type=structure.config_type,
    )
    if cutoff is not None:
        senders, receivers, shifts = neighbor_list(structure.positions, structure.cell, structure.pbc, cutoff)
        data.edge_index = torch.from_numpy(np.stack([senders, receivers]))
        data.shifts = torch.from_numpy(shifts.astype(np.float64))
    return data


def _or_nan(value: float | np.ndarray | None, shape: tuple[int, ...]) -> torch.Tensor:
    if value is None:
        return torch.full(shape, torch.nan, dtype=torch.float64)
    return torch.as_tensor(value, dtype=torch.float64).reshape(shape)
