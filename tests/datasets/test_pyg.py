import sys

import pytest
import torch
from torch_geometric.data import Batch

from sciten.datasets import AtomsDataset, batch_from_structures, write_structures
from sciten.errors import MissingExtraError
from tests.datasets.conftest import make_structure


def test_data_of_one_frame_and_of_all(tmp_path):
    frames = [
        make_structure(0, config_type="a", charge=1.0),
        make_structure(1, 3, periodic=False, forces=None),
    ]
    write_structures(tmp_path / "a.h5", frames)
    dataset = AtomsDataset(tmp_path / "a.h5")
    first, second = dataset.to_pyg()
    assert torch.equal(first.pos, torch.from_numpy(frames[0].positions))
    assert first.z.tolist() == frames[0].numbers.tolist()
    assert first.energy.item() == frames[0].energy and first.charge.item() == 1.0 and first.config_type == "a"
    assert first.edge_index is None and first.num_nodes == 5
    assert second.forces.isnan().all() and not second.forces_mask.any() and second.energy_mask.all()
    assert second.stress.isnan().all() and not second.stress_mask.any()
    assert torch.equal(dataset.to_pyg(1).pos, second.pos)


def test_edges_and_batching(tmp_path):
    frames = [make_structure(0), make_structure(1, 3, periodic=False)]
    write_structures(tmp_path / "a.h5", frames)
    batch = Batch.from_data_list(AtomsDataset(tmp_path / "a.h5").to_pyg(cutoff=3.0))
    expected = batch_from_structures(frames, 3.0)
    assert torch.equal(batch.edge_index, torch.stack([expected.senders, expected.receivers]))
    assert torch.equal(batch.shifts, expected.shifts)
    assert torch.equal(batch.batch, expected.frame)
    assert torch.equal(batch.cell, expected.cell) and torch.equal(batch.pbc, expected.pbc)
    assert torch.equal(batch.energy, expected.energy) and batch.stress.shape == (2, 6)


def test_without_torch_geometric_the_extra_is_named(tmp_path, monkeypatch):
    write_structures(tmp_path / "a.h5", [make_structure(0)])
    monkeypatch.setitem(sys.modules, "torch_geometric.data", None)
    with pytest.raises(MissingExtraError, match=r"sciten\[pyg\]"):
        AtomsDataset(tmp_path / "a.h5").to_pyg(0)
