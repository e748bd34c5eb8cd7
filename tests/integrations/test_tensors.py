"""The arrays here have the layouts of torchTT 0.5, quimb 1.15 and TT-Toolbox 2.2; none of them is needed."""

import numpy as np
import pytest
import scipy.io
import torch
from scipy.io.matlab import MatlabObject

from sciten.errors import ConfigError, DataError
from sciten.integrations.tensors import (
    from_quimb_arrays,
    from_torchtt,
    from_tt_toolbox,
    load_tt_toolbox,
    save_tt_toolbox,
    to_quimb_arrays,
    to_torchtt,
    to_tt_toolbox,
)
from sciten.tensor import TensorTrain


def vector(shape: tuple[int, ...] = (2, 3, 4), dtype: torch.dtype = torch.float64) -> TensorTrain:
    return TensorTrain.random(shape, 2, generator=torch.Generator().manual_seed(0), dtype=dtype)


def operator(
    modes: tuple[tuple[int, int], ...] = ((2, 3), (4, 2), (1, 3)), **kind: torch.dtype
) -> TensorTrain:
    merged = vector(tuple(n * m for n, m in modes), **kind)
    cores = (core.unflatten(1, mode) for core, mode in zip(merged.cores, modes, strict=True))
    return TensorTrain(tuple(cores), operator=True)


def matrix(x: TensorTrain) -> np.ndarray:
    return x.full().reshape(int(np.prod([n for n, _ in x.modes])), -1).numpy()


TRAINS = [
    vector(),
    vector(dtype=torch.complex128),
    vector((5,)),
    operator(),
    operator(dtype=torch.complex128),
    operator(((2, 3),)),
]


def assert_same(found: TensorTrain, expected: TensorTrain) -> None:
    assert found.operator == expected.operator
    assert all(map(torch.equal, found.cores, expected.cores))


@pytest.mark.parametrize("train", TRAINS, ids=repr)
def test_there_and_back(train: TensorTrain, tmp_path) -> None:
    assert_same(from_torchtt(to_torchtt(train)), train)
    assert_same(from_torchtt([core.numpy() for core in to_torchtt(train)]), train)
    assert_same(from_tt_toolbox(to_tt_toolbox(train)), train)
    for shape in ("lrud", "udlr", "lurd") if train.operator else ("lrp", "plr", "rpl"):
        assert_same(from_quimb_arrays(to_quimb_arrays(train, shape), shape), train)
    save_tt_toolbox(tmp_path / "a.mat", {"x": train, "y": vector()})
    assert_same(load_tt_toolbox(tmp_path / "a.mat", "x"), train)
    assert_same(load_tt_toolbox(tmp_path / "a.mat", "y"), vector())


def test_operators_of_torchtt_have_rows_first() -> None:
    a, b = np.arange(6.0).reshape(2, 3), np.arange(8.0).reshape(4, 2)
    found = from_torchtt([a[None, :, :, None], b[None, :, :, None]])
    np.testing.assert_array_equal(matrix(found), np.kron(a, b))


def test_states_of_quimb() -> None:
    """`MatrixProductState([left, middle, right])`, whose dense vector runs through the last site fastest."""
    rng = np.random.default_rng(0)
    left, middle, right = (
        rng.random((2, 3)),
        rng.random((2, 4, 5)),
        rng.random((4, 2)),
    )  # [r p], [l r p], [l p]
    found = from_quimb_arrays([left, middle, right])
    np.testing.assert_allclose(found.full().numpy(), np.einsum("ap,abq,br->pqr", left, middle, right))
    again = to_quimb_arrays(found)
    assert [array.shape for array in again] == [(2, 3), (2, 4, 5), (4, 2)]


def test_operators_of_quimb() -> None:
    """`MatrixProductOperator([left, right])`: u is the index of the ket, so that of rows."""
    rng = np.random.default_rng(0)
    left, right = rng.random((2, 3, 4)), rng.random((2, 5, 2))  # [r u d], [l u d]
    found = from_quimb_arrays([left, right], "lrud")
    np.testing.assert_allclose(found.full().numpy(), np.einsum("aud,avw->uvdw", left, right))


def test_one_site_of_quimb_has_no_bonds() -> None:
    assert to_quimb_arrays(vector((5,)))[0].shape == (5,)
    np.testing.assert_array_equal(matrix(from_quimb_arrays([np.eye(2, 3)], "lrud")), np.eye(2, 3))


def test_vectors_of_tt_toolbox() -> None:
    """Cores [1, 2, 2] and [2, 3, 1], one after the other, the first index fastest."""
    core = np.arange(1.0, 11)
    found = from_tt_toolbox({"core": core, "n": [2, 3], "r": [1, 2, 1]})
    first, second = core[:4].reshape((2, 2), order="F"), core[4:].reshape((2, 3), order="F")
    np.testing.assert_array_equal(found.full().numpy(), first @ second)
    fields = to_tt_toolbox(found)
    np.testing.assert_array_equal(fields["core"][:, 0], core)
    assert fields["ps"].tolist() == [[1], [5], [11]] and fields["d"] == 2


def test_operators_of_tt_toolbox_have_rows_fastest() -> None:
    """As `full` of a `tt_matrix`: its modes are those of columns of matrices, first index fastest."""
    a, b = np.arange(6.0).reshape(2, 3), np.arange(8.0).reshape(4, 2)
    core = np.concatenate([a.ravel(order="F"), b.ravel(order="F")])
    tt = {"core": core[:, None], "n": [[6], [8]], "r": [1, 1, 1]}
    found = from_tt_toolbox({"tt": tt, "n": [2, 4], "m": [3, 2]})
    np.testing.assert_array_equal(found.full().numpy(), np.einsum("im,jn->ijmn", a, b))


def test_objects_in_a_mat_file(tmp_path) -> None:
    """`save -v7` of a variable writes the class; scipy reads it as an array of one record."""

    def stored(fields: dict, kind: str) -> MatlabObject:
        array = np.empty((1, 1), dtype=[(name, object) for name in fields])
        for name, value in fields.items():
            array[name][0, 0] = value
        return MatlabObject(array, kind)

    a = operator()
    fields = to_tt_toolbox(a)
    tt = stored(fields["tt"], "tt_tensor")
    scipy.io.savemat(tmp_path / "a.mat", {"a": stored({**fields, "tt": tt}, "tt_matrix"), "x": tt})
    assert_same(load_tt_toolbox(tmp_path / "a.mat", "a"), a)
    assert load_tt_toolbox(tmp_path / "a.mat", "x").shape == (6, 8, 3)


def test_files_that_are_none(tmp_path) -> None:
    path = tmp_path / "a.mat"
    with pytest.raises(DataError, match="no such file"):
        load_tt_toolbox(path, "x")
    path.write_text(
        "no MATLAB file, but long enough to look for a header of one hundred and twenty-eight bytes" * 3
    )
    with pytest.raises(DataError, match="not a MATLAB file"):
        load_tt_toolbox(path, "x")
    scipy.io.savemat(path, {"x": np.ones(3), "s": {"core": 1.0}})
    with pytest.raises(DataError, match=r"has no variable 'y'; it has: x, s"):
        load_tt_toolbox(path, "y")
    with pytest.raises(
        DataError, match=r"'x' is no tensor train of TT-Toolbox: .*the fields of one tt_tensor"
    ):
        load_tt_toolbox(path, "x")
    with pytest.raises(DataError, match="expected a field 'n', got core"):
        load_tt_toolbox(path, "s")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 20])
    with pytest.raises(DataError, match=r"a\.mat"):
        load_tt_toolbox(path, "s")


BATCHED = TensorTrain.random((2, 3), 2, generator=torch.Generator().manual_seed(0), batch_shape=(2,))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: from_torchtt([]), "from_torchtt: expected at least one array"),
        (lambda: from_torchtt([np.ones((1, 2))]), r"three axes each, or of four, got \[1, 2\]"),
        (lambda: from_torchtt([np.ones((1, 2, 1)), np.ones((1, 2, 2, 1))]), "three axes each, or of four"),
        (lambda: from_torchtt([np.ones((2, 2, 1))]), "core 0 of left rank 1"),
        (lambda: from_torchtt([np.ones((1, 2, 1), dtype=int)]), "core 0 to be a real or complex tensor"),
        (lambda: to_torchtt(BATCHED), "a train without a batch"),
        (
            lambda: from_quimb_arrays([np.ones((2, 2))] * 2, "lrx"),
            "permutation of 'lrp' or 'lrud', got 'lrx'",
        ),
        (lambda: from_quimb_arrays([np.ones((2, 2, 2))] * 2), r"array 0 with the axes 'rp' of open ends"),
        (lambda: from_quimb_arrays([np.ones((2, 2)), np.ones((3, 2))]), "core 1 of left rank 2"),
        (lambda: to_quimb_arrays(vector(), "lrud"), "a permutation of 'lpr', got 'lrud'"),
        (lambda: to_quimb_arrays(BATCHED), "a train without a batch"),
        (lambda: to_tt_toolbox(BATCHED), "a train without a batch"),
        (lambda: from_tt_toolbox({"core": np.ones(5), "n": [2, 3], "r": [1, 2, 1]}), "and 5 numbers"),
        (lambda: from_tt_toolbox({"core": np.ones(5), "n": [2.5], "r": [1, 1]}), "whole numbers in 'n'"),
        (lambda: from_tt_toolbox({"core": np.ones(5), "n": "two", "r": [1, 1]}), "whole numbers in 'n'"),
        (
            lambda: from_tt_toolbox({"core": np.ones(2), "n": [2], "r": [1, 1], "ps": [3, 5]}),
            "one after the other",
        ),
        (
            lambda: from_tt_toolbox({"tt": {"core": np.ones(6), "n": [6], "r": [1, 1]}, "n": [2], "m": [2]}),
            r"modes of n m = \[2\] \[2\] in tt, got \(6,\)",
        ),
        (lambda: from_tt_toolbox(np.ones(3)), "the fields of one tt_tensor or tt_matrix"),
        (lambda: save_tt_toolbox("a.mat", {"1x": vector()}), "a name that MATLAB takes, got '1x'"),
    ],
)
def test_what_does_not_fit_is_named(wrong, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong()
