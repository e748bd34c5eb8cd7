import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

import sciten
from sciten.datasets import AtomsDataset, AtomsWriter, Source, Structure, write_structures
from sciten.errors import DataError, StorageError
from sciten.files import sha256
from tests.datasets.conftest import assert_same, make_structure


def varied_structures() -> list[Structure]:
    generator = np.random.default_rng(0)
    return [
        make_structure(0, 5, config_type="bulk", info={"temperature": np.asarray(300.0)}),
        make_structure(1, 3, periodic=False, forces=None, charge=-1.0, spin=2.0, config_type="ion"),
        make_structure(
            2, 1, energy=None, stress=None, info={"note": np.asarray("first: ä"), "a/b": np.arange(3.0)}
        ),
        make_structure(3, 7, energy=None, forces=None, stress=None, arrays={"tag": np.arange(7)}),
        make_structure(4, 2, arrays={"q": generator.normal(size=(2, 4)), "name": np.array(["CA", "CB"])}),
        make_structure(5, 1, periodic=False, config_type="IsolatedAtom", numbers=np.array([6])),
        make_structure(
            6, 4, pbc=np.array([True, True, False]), info={"flag": np.asarray(True), ".": np.asarray(1.0)}
        ),
    ]


def test_everything_comes_back_bit_identical(tmp_path):
    structures = varied_structures()
    write_structures(tmp_path / "a.h5", structures)
    for written, read in zip(structures, AtomsDataset(tmp_path / "a.h5"), strict=True):
        assert_same(read, written)


def test_many_blocks_come_back_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr("sciten.datasets.writer._BLOCK_ATOMS", 11)
    structures = varied_structures() * 9
    write_structures(tmp_path / "a.h5", iter(structures))
    for written, read in zip(structures, AtomsDataset(tmp_path / "a.h5"), strict=True):
        assert_same(read, written)


def test_layout_on_disk(tmp_path):
    structures = varied_structures()
    write_structures(tmp_path / "a.h5", structures)
    with h5py.File(tmp_path / "a.h5") as file:
        pointers = file["atoms_ptr"][:]
        assert pointers.tolist() == np.cumsum([0] + [len(s) for s in structures]).tolist()
        assert file["positions"].shape == (pointers[-1], 3) and file["positions"].compression == "gzip"
        np.testing.assert_array_equal(file["positions"][5:8], structures[1].positions)
        # A missing label is NaN and masked, never zero.
        assert file["energy_mask"][:].tolist() == [s.energy is not None for s in structures]
        assert np.isnan(file["energy"][:][~file["energy_mask"][:]]).all()
        assert np.isnan(file["forces"][5:8]).all() and np.isnan(file["stress"][1]).all()
        assert not file["forces_mask"][1] and file["forces_mask"][0]
        assert file["forces"].attrs["unit"] == "eV/Å"
        names = file["config_type_names"].asstr()[:]
        assert [names[i] for i in file["config_type"]] == [s.config_type for s in structures]
        assert file["frame/temperature"][0] == 300.0 and np.isnan(file["frame/temperature"][1])
        assert file["frame_present/temperature"][:].tolist() == [True] + [False] * 6


def test_the_record_says_where_the_data_come_from(tmp_path):
    source = tmp_path / "source.xyz"
    source.write_text("anything")
    write_structures(
        tmp_path / "a.h5",
        [make_structure()],
        source_files=[source],
        command="make it",
        licence="CC-BY-4.0",
        metadata={"level of theory": "PBE"},
    )
    record = AtomsDataset(tmp_path / "a.h5").attributes
    assert record["sources"] == [{"file": "source.xyz", "sha256": sha256(source), "frames": None}]
    assert (record["command"], record["licence"]) == ("make it", "CC-BY-4.0")
    assert record["metadata"] == {"level of theory": "PBE"}
    assert record["units"]["stress"].startswith("eV/Å³, tension positive")
    assert record["sciten_version"] == sciten.__version__ and record["created"].endswith("+00:00")
    assert (record["schema"], record["schema_version"]) == ("sciten-atoms", 1)


def test_arrays_that_change_are_left_out_and_noted(tmp_path):
    structures = [
        make_structure(0, info={"k": np.arange(3.0)}),
        make_structure(1, info={"k": np.arange(2.0)}),
        make_structure(2, info={"k": np.asarray("text")}),
        make_structure(3, info={"k": np.array([7, 8, 9])}),
        make_structure(4, periodic=False, stress=np.zeros(6)),
    ]
    census = write_structures(tmp_path / "a.h5", structures)
    dataset = AtomsDataset(tmp_path / "a.h5")
    assert [set(s.info) for s in dataset] == [{"k"}, set(), set(), {"k"}, set()]
    assert dataset[3].info["k"].tolist() == [7.0, 8.0, 9.0]
    assert dataset[4].stress is None
    assert "the array 'k' changed its shape or kind and was left out (2 frames)" in census.warnings
    assert "a stress of a frame that is not periodic was left out (1 frame)" in census.warnings
    assert dataset.census() == census


def test_a_bad_structure_leaves_nothing(tmp_path):
    structures = [make_structure(0), make_structure(1, energy=np.nan)]
    with pytest.raises(DataError, match=r"a\.h5: frame 1: energy is nan"):
        write_structures(tmp_path / "a.h5", structures)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_caller_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.h5"
    write_structures(path, [make_structure()])
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), AtomsWriter(path) as writer:
        writer.add(make_structure(1))
        raise KeyboardInterrupt
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_an_empty_dataset_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.h5: there is no frame"):
        write_structures(tmp_path / "a.h5", [])
    assert list(tmp_path.iterdir()) == []


def test_isolated_atoms_that_disagree_are_refused(tmp_path):
    def atom(energy):
        return make_structure(
            0, 1, periodic=False, config_type="isolated_atom", numbers=np.array([6]), energy=energy
        )

    write_structures(tmp_path / "same.h5", [atom(-1.0), atom(-1.0), atom(None)])
    with pytest.raises(
        DataError, match=r"frame 1: the isolated atom with atomic number 6 .* -2\.0 eV, but -1\.0 eV"
    ):
        write_structures(tmp_path / "a.h5", [atom(-1.0), atom(-2.0)])


def test_source_of_a_file(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert Source.of(path, 3) == Source("x", empty, 3)


_FULL_DISK = """
import json, resource, sys
from pathlib import Path
from sciten.datasets import write_structures
from sciten.errors import StorageError
from tests.datasets.conftest import make_structure

folder, outcomes = Path(sys.argv[1]), []
structures = [make_structure(i, 50) for i in range(700)]
for limit in [100, 3000, 40_000, 300_000, 1_000_000, 1_500_000]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_structures(folder / "full.h5", structures)
        outcome = "written"
    except StorageError as error:
        outcome = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    outcomes.append([outcome, [path.name for path in folder.iterdir()]])
print(json.dumps(outcomes))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files through the resource module")
def test_no_space_left_ends_in_one_sentence_and_leaves_nothing(tmp_path):
    # In a process of its own: HDF5 is known to crash at exit after a failed write, which must not happen.
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = {**os.environ, "PYTHONPATH": root}
    command = [sys.executable, "-c", _FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and done.stderr == ""
    outcomes = json.loads(done.stdout)
    assert len(outcomes) == 6
    for message, left in outcomes:
        assert message == f"{tmp_path / 'full.h5'}: cannot be written: File too large"
        assert left == []


def test_a_folder_that_is_a_file_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        write_structures(tmp_path / "file" / "a.h5", [make_structure()])
