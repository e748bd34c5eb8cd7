import h5py
import numpy as np
import pytest

from sciten.datasets import hdf5
from sciten.errors import DataError, StorageError


def test_a_finished_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "a.h5"
    for value in (1, 2):
        with hdf5.create(path) as new:
            new.file["x"] = np.full(3, value)
            new.check()
    with hdf5.open_readonly(path) as file:
        assert file["x"][:].tolist() == [2, 2, 2]
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_inside_leaves_nothing_and_is_passed_on(tmp_path):
    with pytest.raises(OSError, match="mine") as caught, hdf5.create(tmp_path / "a.h5") as new:
        new.file["x"] = np.zeros(3)
        raise OSError("mine")
    assert not isinstance(caught.value, StorageError)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_is_reported_by_check_and_at_the_end(tmp_path):
    for checks in (True, False):
        with (
            pytest.raises(StorageError, match=r"a\.h5: cannot be written: .*full"),
            hdf5.create(tmp_path / "a.h5") as new,
        ):
            new._stream.error = OSError(28, "the disk is full")
            if checks:
                new.check()
                pytest.fail("check() said nothing")
        assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        hdf5.open_readonly(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.zeros(1000)
    content = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(content[:-100])
    with pytest.raises(DataError, match="truncated or damaged"):
        hdf5.open_readonly(tmp_path / "a.h5")
