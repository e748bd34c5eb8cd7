"""Tensor trains of other programs: torchTT, quimb and TT-Toolbox for MATLAB, by their arrays.

None of these programs is needed. What they keep:

- torchTT, `TT.cores`: `[r, n, r']`, and `[r, n, m, r']` of operators, rows before columns, as here.
- quimb, `MatrixProductState.arrays`: axes "lrp" (left, right, physical), of `MatrixProductOperator` "lrud" with u for
  rows and d for columns; the first array has no "l", the last no "r".
- TT-Toolbox, `tt_tensor`: lengths `n`, ranks `r`, and all cores in one column `core`, the first index of each running
  fastest; `tt_matrix`: rows `n`, columns `m`, and `tt`, whose modes are i + n j with i for rows.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciten.errors import ConfigError, DataError
from sciten.files import atomic_path
from sciten.tensor.formats import TensorTrain
from sciten.tensor.formats.base import as_array

# torchTT (https://github.com/ion-g-ion/torchTT).


def from_torchtt(cores: Sequence[Any]) -> TensorTrain:
    """The train of `TT.cores` of torchTT: a vector of cores with three axes, an operator of cores with four.

    Raises:
        ConfigError: cores are of neither kind, or do not fit each other.
    """
    tensors = _tensors("from_torchtt", cores)
    axes = {core.ndim for core in tensors}
    if axes not in ({3}, {4}):
        raise ConfigError(
            f"from_torchtt: expected cores of three axes each, or of four, got {_shapes(tensors)}"
        )
    return TensorTrain(tuple(tensors), axes == {4})


def to_torchtt(train: TensorTrain) -> list[Tensor]:
    """The cores that `torchtt.TT` takes; raises `ConfigError` for a batch."""
    _require_single("to_torchtt", train)
    return list(train.cores)


# quimb (https://quimb.readthedocs.io).


def from_quimb_arrays(arrays: Sequence[Any], shape: str = "lrp") -> TensorTrain:
    """The train of `MatrixProductState.arrays` or `MatrixProductOperator.arrays` of quimb, with open ends.

    quimb keeps axes in whatever order an algorithm left them: call its `permute_arrays(shape)` first.

    Args:
        arrays: one for each site.
        shape: order of their axes, a permutation of "lrp" for states or "lrud" for operators: l and r for bonds, p for
            the physical index, u and d for that of rows and of columns.

    Raises:
        ConfigError: an array has other axes, or the ends are connected (a periodic state).
    """
    tensors = _tensors("from_quimb_arrays", arrays)
    own = {"lpr": "lpr", "dlru": "ludr"}.get("".join(sorted(shape)), "")
    if not own:
        raise ConfigError(f"from_quimb_arrays: expected a permutation of 'lrp' or 'lrud', got {shape!r}")
    cores = []
    for site, tensor in enumerate(tensors):
        present = _axes_at(shape, site, len(tensors))
        if tensor.ndim != len(present):
            raise ConfigError(
                f"from_quimb_arrays: expected array {site} with the axes {present!r} of open ends, got "
                f"{list(tensor.shape)}"
            )
        core = tensor.permute([present.index(axis) for axis in own if axis in present])
        if "l" not in present:
            core = core.unsqueeze(0)
        if "r" not in present:
            core = core.unsqueeze(-1)
        cores.append(core)
    return TensorTrain(tuple(cores), own == "ludr")


def to_quimb_arrays(train: TensorTrain, shape: str | None = None) -> list[np.ndarray]:
    """The arrays that quimb's `MatrixProductState` or `MatrixProductOperator` takes, with its `shape` if that is given.

    Raises:
        ConfigError: the train has a batch, or the shape is not one of its axes.
    """
    _require_single("to_quimb_arrays", train)
    order = shape or ("lrud" if train.operator else "lrp")
    own = "ludr" if train.operator else "lpr"
    if sorted(order) != sorted(own):
        raise ConfigError(f"to_quimb_arrays: expected a permutation of {own!r}, got {shape!r}")
    arrays = []
    for site, core in enumerate(train.cores):
        present = _axes_at(order, site, len(train))
        array = as_array(core.permute([own.index(axis) for axis in order]))
        absent = tuple(place for place, axis in enumerate(order) if axis not in present)
        arrays.append(array.squeeze(absent))
    return arrays


def _axes_at(order: str, site: int, count: int) -> str:
    ends = ("l" if site == 0 else "") + ("r" if site == count - 1 else "")
    return "".join(axis for axis in order if axis not in ends)


# TT-Toolbox (https://github.com/oseledets/TT-Toolbox).


def from_tt_toolbox(fields: Any) -> TensorTrain:
    """The train of a `tt_tensor`, or the operator of a `tt_matrix`, of TT-Toolbox.

    Args:
        fields: its fields by name, `core`, `n` and `r`, or `tt`, `n` and `m`; as a mapping, or as `scipy.io.loadmat`
            gives objects and structs.

    Raises:
        ConfigError: a field is missing, or the core does not have the numbers that `n` and `r` say.
    """
    found = _fields(fields)
    if "tt" in found:
        rows, columns = (_integers(found, name) for name in ("n", "m"))
        train = from_tt_toolbox(found["tt"])
        if train.shape != tuple(n * m for n, m in zip(rows, columns, strict=False)) or len(rows) != len(
            columns
        ):
            raise ConfigError(
                f"from_tt_toolbox: expected modes of n m = {rows} {columns} in tt, got {train.shape}"
            )
        # The row index runs fastest.
        split = (
            core.unflatten(1, (m, n)).transpose(1, 2)
            for core, n, m in zip(train.cores, rows, columns, strict=True)
        )
        return TensorTrain(tuple(split), True)
    lengths, ranks = _integers(found, "n"), _integers(found, "r")
    numbers = np.asarray(found.get("core", ())).ravel(order="F")
    sizes = [r * n * s for r, n, s in zip(ranks, lengths, ranks[1:], strict=False)]
    if len(ranks) != len(lengths) + 1 or sum(sizes) != len(numbers) or not lengths:
        raise ConfigError(
            f"from_tt_toolbox: expected d lengths n, d + 1 ranks r and as many numbers in core as they say, got n = "
            f"{lengths}, r = {ranks} and {len(numbers)} numbers"
        )
    starts = np.cumsum([0, *sizes])
    if "ps" in found and _integers(found, "ps") != [int(start) + 1 for start in starts]:
        raise ConfigError(
            f"from_tt_toolbox: expected cores one after the other, got them at ps = {found['ps']}"
        )
    cores = tuple(
        torch.from_numpy(numbers[start : start + r * n * s].reshape((r, n, s), order="F").copy())
        for start, r, n, s in zip(starts, ranks, lengths, ranks[1:], strict=False)
    )
    return TensorTrain(cores)


def to_tt_toolbox(train: TensorTrain) -> dict[str, Any]:
    """The fields of a `tt_tensor` or a `tt_matrix`, which TT-Toolbox's constructors of these names take as a struct.

    Raises:
        ConfigError: the train has a batch.
    """
    _require_single("to_tt_toolbox", train)
    if train.operator:
        merged = TensorTrain(tuple(core.transpose(1, 2).flatten(1, 2) for core in train.cores))
        rows, columns = zip(*train.modes, strict=True)
        return {"tt": to_tt_toolbox(merged), "n": _column(rows), "m": _column(columns)}
    starts = np.cumsum([1, *(core.numel() for core in train.cores)])
    core = np.concatenate([as_array(core).ravel(order="F") for core in train.cores])
    return {
        "d": float(len(train)),
        "n": _column(train.shape),
        "r": _column(train.ranks),
        "ps": _column(starts),
        "core": core[:, None],
    }


def load_tt_toolbox(path: str | os.PathLike[str], name: str) -> TensorTrain:
    """The variable of a .mat file that holds a `tt_tensor` or `tt_matrix`, or a struct of their fields.

    Raises:
        DataError: there is no such file or variable, or it is not one of TT-Toolbox; files of `save -v7.3` are not
            read, those of `save -v7` are.
    """
    import scipy.io  # slow to import, and seldom needed

    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    try:
        variables = scipy.io.loadmat(os.fspath(path), variable_names=[name], appendmat=False)
    except NotImplementedError as error:
        raise DataError(f"{path}: a MATLAB file of version 7.3; save it by `save -v7`") from error
    except Exception as error:  # scipy raises many kinds for what is not its format
        raise DataError(f"{path}: not a MATLAB file, or a damaged one: {error}") from error
    if name not in variables:
        known = ", ".join(one for one, *_ in scipy.io.whosmat(os.fspath(path), appendmat=False)) or "none"
        raise DataError(f"{path}: has no variable {name!r}; it has: {known}")
    try:
        return from_tt_toolbox(variables[name])
    except ConfigError as error:
        raise DataError(f"{path}: variable {name!r} is no tensor train of TT-Toolbox: {error}") from error


def save_tt_toolbox(path: str | os.PathLike[str], trains: Mapping[str, TensorTrain]) -> None:
    """Write trains to a .mat file as structs: in MATLAB `load` it, then `tt_tensor(x)` or `tt_matrix(a)`.

    Raises:
        ConfigError: a train has a batch, or a name is none of MATLAB's.
        StorageError: the file cannot be written.
    """
    import scipy.io  # slow to import, and seldom needed

    for name in trains:
        if not (name.isidentifier() and name.isascii() and name[0] != "_" and len(name) < 32):
            raise ConfigError(f"save_tt_toolbox: expected a name that MATLAB takes, got {name!r}")
    fields = {name: to_tt_toolbox(train) for name, train in trains.items()}
    with atomic_path(path) as temporary:
        scipy.io.savemat(temporary, fields, appendmat=False)


def _fields(given: Any) -> dict[str, Any]:
    """Fields by name, out of the arrays of one struct that scipy wraps them in."""
    if isinstance(given, Mapping):
        return dict(given)
    array = np.asarray(given)
    while array.dtype == object and array.size == 1 and isinstance(array.item(), np.ndarray):
        array = np.asarray(array.item())
    if array.dtype.names is None or array.size != 1:
        raise ConfigError(
            f"from_tt_toolbox: expected the fields of one tt_tensor or tt_matrix, got {type(given).__name__} of "
            f"{array.dtype}"
        )
    record = array.reshape(())[()]
    return {name: record[name] for name in array.dtype.names}


def _integers(fields: Mapping[str, Any], name: str) -> list[int]:
    if name not in fields:
        raise ConfigError(f"from_tt_toolbox: expected a field {name!r}, got {', '.join(fields)}")
    try:
        numbers = np.asarray(fields[name], dtype=float).ravel(order="F")
        whole = np.array_equal(numbers, np.round(numbers))
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise ConfigError(f"from_tt_toolbox: expected whole numbers in {name!r}, got {fields[name]!r:.80}")
    return [int(number) for number in numbers]


def _column(numbers: Any) -> np.ndarray:
    """As MATLAB keeps whole numbers: doubles, one below the other."""
    return np.asarray(list(numbers), dtype=float)[:, None]


def _tensors(name: str, arrays: Sequence[Any]) -> list[Tensor]:
    if not len(arrays):
        raise ConfigError(f"{name}: expected at least one array, got none")
    return [array if isinstance(array, Tensor) else torch.from_numpy(np.array(array)) for array in arrays]


def _shapes(tensors: Sequence[Tensor]) -> str:
    return ", ".join(str(list(tensor.shape)) for tensor in tensors)


def _require_single(name: str, train: TensorTrain) -> None:
    if train.batch_shape:
        raise ConfigError(f"{name}: expected a train without a batch, got {train!r}")
