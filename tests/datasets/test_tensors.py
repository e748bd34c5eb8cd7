from typing import Any

import h5py
import numpy as np
import pytest
import torch

from sciten.datasets import hdf5, read_tensor, tensor_attributes, tensor_names, write_tensor
from sciten.errors import ConfigError, DataError, StorageError
from sciten.tensor import CP, TensorTrain, TreeTensor, Tucker
from sciten.tensor.formats import Format, Tree


def options(seed: int = 0, **kind: Any) -> dict:
    return {"generator": torch.Generator().manual_seed(seed), **kind}


def train(*shape: int, **kind: Any) -> TensorTrain:
    return TensorTrain.random(shape, 2, **options(**kind))


TENSORS: dict[str, Format] = {
    "CP": CP.random((3, 4), 2, **options()),
    "CP, complex batch": CP.random((3, 4), 2, **options(dtype=torch.complex128, batch_shape=(2, 3))),
    "Tucker": Tucker.random((3, 4, 2), (2, 3, 1), **options(dtype=torch.float32)),
    "train": train(3, 4, 2),
    "train, single complex": train(3, 4, 2, dtype=torch.complex64),
    "operator": TensorTrain.identity((2, 3)),
    "conjugate": train(3, 4, dtype=torch.complex128).conj(),
    "not contiguous": train(3, 4, 3, batch_shape=(2,)),
    "tree": TreeTensor.random(Tree((0, (3, 1, 2))), (2, 3, 4, 2), 2, **options(dtype=torch.complex128)),
    "tree operator": TreeTensor.identity(Tree.balanced(3), (2, 3, 2)),
    "one mode": TreeTensor.random(Tree((0,)), (3,), 2, **options()),
}
ALL = pytest.mark.parametrize("tensor", TENSORS.values(), ids=list(TENSORS))


def assert_same(found: Format, expected: Format) -> None:
    assert type(found) is type(expected) and found.operator == expected.operator
    assert getattr(found, "tree", None) == getattr(expected, "tree", None)
    for a, b in zip(found.cores, expected.cores, strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b.resolve_conj())


@ALL
def test_what_is_written_is_read_bit_for_bit(tmp_path, tensor):
    write_tensor(tmp_path / "a.h5", tensor)
    assert_same(read_tensor(tmp_path / "a.h5"), tensor)


def test_special_numbers_and_gradients(tmp_path):
    cores = (torch.tensor([[[np.nan], [np.inf], [-0.0], [5e-324]]], dtype=torch.float64).requires_grad_(),)
    write_tensor(tmp_path / "a.h5", TensorTrain(cores))
    found = read_tensor(tmp_path / "a.h5").cores[0]
    assert not found.requires_grad
    assert found.numpy().tobytes() == cores[0].detach().numpy().tobytes()


def test_many_tensors_in_a_file(tmp_path):
    path = tmp_path / "a.h5"
    for name, tensor in TENSORS.items():
        write_tensor(path, tensor, f"{name}/%.ü", attributes={"what": name, "energy": -1.5, "steps": [1, 2]})
    assert tensor_names(path) == tuple(sorted(f"{name}/%.ü" for name in TENSORS))
    for name, tensor in TENSORS.items():
        assert_same(read_tensor(path, f"{name}/%.ü"), tensor)
        assert tensor_attributes(path, f"{name}/%.ü") == {"what": name, "energy": -1.5, "steps": [1, 2]}
    assert list(tmp_path.iterdir()) == [path]


def test_a_tensor_is_replaced_only_when_asked(tmp_path):
    path = tmp_path / "a.h5"
    write_tensor(path, train(2, 3), "x", attributes={"step": 1})
    write_tensor(path, train(4), "y")
    with pytest.raises(DataError, match=r"a\.h5: has a tensor 'x' already; .* replace=True"):
        write_tensor(path, train(3), "x")
    write_tensor(path, train(3), "x", replace=True)
    assert read_tensor(path, "x").shape == (3,) and tensor_attributes(path, "x") == {}
    assert read_tensor(path, "y").shape == (4,)


@pytest.mark.parametrize("error", [OSError(28, "the disk is full"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_what_was_there(tmp_path, monkeypatch, error):
    path = tmp_path / "a.h5"
    write_tensor(path, train(2, 3), "x")
    before = path.read_bytes()

    def interrupted(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(h5py.Group, "create_dataset", interrupted)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else StorageError):
        write_tensor(path, train(3), "y")
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_missing_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "c.tensors"
    write_tensor(path, train(2, 3))
    assert tensor_names(path) == ("tensor",)


def test_files_say_what_they_are(tmp_path):
    write_tensor(tmp_path / "a.h5", train(2, 3))
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["schema"] == "sciten-tensors" and file.attrs["schema_version"] == 1
        group = file["tensor"]
        assert (group.attrs["schema"], group.attrs["format"]) == ("sciten-tensor", "TensorTrain")
        assert group.attrs["schema_version"] == 1
        assert sorted(group) == ["core_0", "core_1", "n_cores", "operator"]


def test_missing_and_foreign_files(tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(DataError, match="no such file"):
        read_tensor(path)
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(3)
    before = path.read_bytes()
    for action in (read_tensor, tensor_names, tensor_attributes, lambda p: write_tensor(p, train(2))):
        with pytest.raises(
            DataError, match=r"a\.h5: the file is none that `write_tensor` wrote \(schema None"
        ):
            action(path)
    assert path.read_bytes() == before
    path.write_text("no HDF5")
    with pytest.raises(
        DataError, match="not an HDF5 file; tensors are read from files that `write_tensor` wrote"
    ):
        write_tensor(path, train(2))


@pytest.mark.parametrize("kept", [0.03, 0.3, 0.6, 0.9, 0.999])
def test_truncated_files(tmp_path, kept):
    path = tmp_path / "a.h5"
    write_tensor(path, train(20, 30, 20))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match=r"a\.h5: truncated or damaged"):
        read_tensor(path)


def edited(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: f.attrs.update(schema_version=2),
            "the file is of schema version 2, this sciten reads version 1",
        ),
        (lambda f: f["tensor"].attrs.update(schema_version=7), "tensor 'tensor' is of schema version 7"),
        (
            lambda f: f["tensor"].attrs.update(schema="other"),
            r"tensor 'tensor' is none that .* \(schema 'other'",
        ),
        (
            lambda f: f["tensor"].attrs.update(format="os.system"),
            "in the unknown format 'os.system', not CP, Tucker",
        ),
        (lambda f: f["tensor"].pop("core_1"), "tensor 'tensor' is damaged: .*'core_1' is missing"),
        (lambda f: f["tensor"]["n_cores"].__setitem__((), 9), "damaged: .*'core_3' is missing"),
        (lambda f: f.move("tensor", "other"), "has no tensor 'tensor'; it has: other"),
        (lambda f: f["tensor"].move("core_0", "core_2x"), "is damaged"),
        (lambda f: f["tensor"].create_group("core_x"), "is damaged"),
    ],
)
def test_damaged_and_foreign_tensors(tmp_path, change, message):
    path = tmp_path / "a.h5"
    write_tensor(path, train(2, 3, 2))
    edited(path, change)
    with pytest.raises(DataError, match=message):
        read_tensor(path)


@pytest.mark.parametrize(
    "rows", [[[0, 0]], [[1, -1], [0, -1]], [[-1, 5]], [-1, 0], [[2, 0], [2, 0], [-1, -1]]]
)
def test_trees_that_are_none(tmp_path, rows):
    path = tmp_path / "a.h5"
    write_tensor(path, TENSORS["tree"])

    def change(file):
        del file["tensor"]["tree"]
        file["tensor"]["tree"] = np.array(rows)

    edited(path, change)
    with pytest.raises(DataError, match="is damaged"):
        read_tensor(path)


def test_what_cannot_be_written_is_named(tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(
        ConfigError, match="one of CP, Tucker, TensorTrain, TreeTensor, got 'tensor' and Tensor"
    ):
        write_tensor(path, torch.ones(2))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="got '' and TensorTrain"):
        write_tensor(path, train(2), "")
    with pytest.raises(ConfigError, match="attributes that JSON can hold"):
        write_tensor(path, train(2), attributes={"x": object()})
    with pytest.raises(ConfigError, match="attributes of at most 60000 bytes"):
        write_tensor(path, train(2), attributes={"x": "a" * 70_000})
    with pytest.raises(ConfigError, match=r"a dtype that NumPy knows, got torch\.bfloat16"):
        write_tensor(path, train(2).to(dtype=torch.bfloat16))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="no such file"):
        hdf5.open_readonly(path)
