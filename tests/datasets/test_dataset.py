import multiprocessing
import pickle

import h5py
import numpy as np
import pytest
import torch

from sciten.datasets import AtomsDataset, Structure, write_structures
from sciten.errors import DataError
from tests.datasets.conftest import assert_same, make_structure


def structures(n: int = 40) -> list[Structure]:
    frames = [make_structure(i, 1 + i % 6, config_type="odd" if i % 2 else "even") for i in range(n)]
    for z, energy in ((6, -1000.0), (1, -13.0), (14, None)):
        atom = {"numbers": np.array([z]), "energy": energy, "config_type": "IsolatedAtom", "forces": None}
        frames.insert(z, make_structure(z, 1, periodic=False, **atom))
    return frames


@pytest.fixture
def written(tmp_path, monkeypatch):
    # Small blocks, so that a small file has many of them.
    monkeypatch.setattr("sciten.datasets.blocks._BLOCK_ATOMS", 20)
    frames = structures()
    write_structures(tmp_path / "data.h5", frames)
    return tmp_path / "data.h5", frames


def test_indexing(written):
    path, frames = written
    with AtomsDataset(path) as dataset:
        assert len(dataset) == len(frames) == 43
        assert dataset.n_atoms == sum(map(len, frames))
        assert dataset.atom_counts.tolist() == [len(frame) for frame in frames]
        for i in (0, 42, 17, -1, -43, np.int64(5)):
            assert_same(dataset[i], frames[i])
        for index in (slice(3, 9), slice(None, None, -7), slice(50, 60), [4, 4, 2], np.array([40, 1])):
            expected = frames[index] if isinstance(index, slice) else [frames[i] for i in index]
            for a, b in zip(dataset[index], expected, strict=True):
                assert_same(a, b)
        chosen = dataset.has_label("energy") & (np.arange(43) > 30)
        assert [frame.energy for frame in dataset[chosen]] == [
            frame.energy for frame in frames[31:] if frame.energy is not None
        ]
        with pytest.raises(IndexError, match="a mask of 43 frames, got 40"):
            dataset[chosen[:40]]
        for i in (43, -44):
            with pytest.raises(IndexError, match=f"no frame {i}"):
                dataset[i]


def test_iterating_twice_and_after_closing(written):
    path, frames = written
    dataset = AtomsDataset(path)
    for _ in range(2):
        for a, b in zip(dataset, frames, strict=True):
            assert_same(a, b)
        dataset.close()
    assert repr(dataset).endswith("43 frames, 139 atoms")


def test_frames_belong_to_the_caller(written):
    path, frames = written
    dataset = AtomsDataset(path)
    for name in ("positions", "numbers", "cell", "forces", "pbc"):
        getattr(dataset[0], name)[:] = 0
    assert_same(dataset[0], frames[0])


def test_what_the_file_knows(written):
    path, frames = written
    dataset = AtomsDataset(path)
    assert dataset.elements == (1, 6, 14)
    assert dataset.isolated_atoms.tolist() == [1, 7, 14]
    assert sorted([*dataset.isolated_atoms, *dataset.frames]) == list(range(43))
    assert dataset.isolated_atom_energies == {6: -1000.0, 1: -13.0}
    assert dataset.config_types == [frame.config_type for frame in frames]
    for label in ("energy", "forces", "stress"):
        assert dataset.has_label(label).tolist() == [getattr(frame, label) is not None for frame in frames]
    with pytest.raises(DataError, match="'charge' is not a label"):
        dataset.has_label("charge")


def test_pickle_carries_no_data(written):
    path, frames = written
    dataset = AtomsDataset(path)
    dataset[3]
    data = pickle.dumps(dataset)
    assert len(data) < 500
    assert_same(pickle.loads(data)[3], frames[3])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_several_worker_processes(written, method):
    path, frames = written
    dataset = AtomsDataset(path)
    dataset[0]  # open in the parent before the workers start
    loader = torch.utils.data.DataLoader(
        dataset,  # type: ignore[arg-type]
        num_workers=2,
        batch_size=5,
        collate_fn=list,
        multiprocessing_context=multiprocessing.get_context(method),
    )
    found = [frame for batch in loader for frame in batch]
    for a, b in zip(found, frames, strict=True):
        assert_same(a, b)
    assert_same(dataset[1], frames[1])


def test_memory_of_blocks_is_bounded(written, monkeypatch):
    monkeypatch.setattr("sciten.datasets.dataset._CACHE_BYTES", 5000)
    path, frames = written
    dataset = AtomsDataset(path)
    order = np.random.default_rng(0).permutation(len(frames))
    for i in order:
        assert_same(dataset[i], frames[i])
    assert 1 < len(dataset._cache) < 6


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(DataError, match=r"none\.h5: no such file"):
        AtomsDataset(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("H 0 0 0")
    with pytest.raises(DataError, match=r"text\.h5: not an HDF5 file"):
        AtomsDataset(tmp_path / "text.h5")
    (tmp_path / "empty.h5").write_bytes(b"")
    with pytest.raises(DataError, match=r"empty\.h5: not an HDF5 file"):
        AtomsDataset(tmp_path / "empty.h5")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(
        DataError, match=r"foreign\.h5: an HDF5 file, but not an atoms file of sciten \(schema None"
    ):
        AtomsDataset(tmp_path / "foreign.h5")
    with pytest.raises(DataError, match="no such file"):
        AtomsDataset(tmp_path)


@pytest.mark.parametrize("kept", [0.03, 0.3, 0.6, 0.9, 0.999])
def test_truncated_files(written, kept):
    path, _ = written
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match=r"data\.h5: truncated or damaged"):
        AtomsDataset(path)


def test_another_schema_version(written):
    path, _ = written
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 99
    with pytest.raises(
        DataError, match=r"data\.h5: atoms file of schema version 99, this sciten reads version 1"
    ):
        AtomsDataset(path)


@pytest.mark.parametrize("name", ["forces", "energy", "config_type", "atoms_ptr", "stress_mask"])
def test_a_dataset_that_is_gone_or_short(written, name):
    path, _ = written
    with h5py.File(path, "r+") as file:
        if name == "stress_mask":
            file[name].resize(3, axis=0)
        else:
            del file[name]
    with pytest.raises(DataError, match=rf"data\.h5: damaged atoms file: .*'{name}'"):
        AtomsDataset(path)


def test_pointers_that_do_not_ascend(written):
    path, _ = written
    with h5py.File(path, "r+") as file:
        file["atoms_ptr"][3] = 1000
    with pytest.raises(DataError, match="does not ascend"):
        AtomsDataset(path)


def test_damaged_content_is_an_error_of_the_file(written):
    path, _ = written
    with h5py.File(path) as file:
        chunk = file["positions"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    middle = chunk.byte_offset + chunk.size // 2
    content[middle : middle + 8] = bytes(255 - byte for byte in content[middle : middle + 8])
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"data\.h5: damaged file"):
        AtomsDataset(path)[0]


@pytest.mark.parametrize("damage", ["no names", "no JSON"])
def test_damaged_descriptions_are_errors_of_the_file(written, damage):
    path, _ = written
    with h5py.File(path, "r+") as file:
        if damage == "no names":
            del file["config_type_names"]
        else:
            file.attrs["units"] = "{"
    with pytest.raises(DataError, match=r"data\.h5: "):
        AtomsDataset(path)
