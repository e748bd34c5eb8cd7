"""Low-rank tensors in HDF5: several in a file, each a group of its own.

The file says `schema = "sciten-tensors"`. A group has the name of its tensor and the attributes `schema =
"sciten-tensor"`, `schema_version`, `format` (the class) and `attributes` (a user's, as JSON); its datasets are those of
the tensor's `to_arrays`, bit for bit. Files are replaced as a whole, never changed in place, so that an interrupted
write leaves what was there.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sciten.datasets import hdf5
from sciten.datasets.schema import escape, unescape
from sciten.errors import ConfigError, DataError
from sciten.tensor.formats import CP, Format, TensorTrain, TreeTensor, Tucker

FILE_SCHEMA = "sciten-tensors"
SCHEMA = "sciten-tensor"
SCHEMA_VERSION = 1

#: HDF5 keeps an attribute in 64 KiB.
_LARGEST_RECORD = 60_000

_FORMATS = {kind.__name__: kind for kind in (CP, Tucker, TensorTrain, TreeTensor)}


def write_tensor(
    path: str | os.PathLike[str],
    tensor: Format,
    name: str = "tensor",
    *,
    attributes: Mapping[str, Any] | None = None,
    replace: bool = False,
) -> None:
    """Write a tensor to a file, beside those that the file has.

    Args:
        path: the HDF5 file, which need not exist; neither need its folders. Any suffix does, `.h5` is the custom.
        tensor: `CP`, `Tucker`, `TensorTrain` or `TreeTensor`; gradients are not stored.
        name: what it is read by.
        attributes: facts about it, by name; whatever JSON can hold.
        replace: whether it may take the place of a tensor of this name.

    Raises:
        ConfigError: the tensor is none of these, has a dtype that NumPy does not know, or attributes are no JSON.
        DataError: the file is no file of tensors, or has one of this name.
        StorageError: the file cannot be written; what was there still stands.
    """
    path = Path(path)
    kind = type(tensor).__name__
    if type(tensor) is not _FORMATS.get(kind) or not name:
        raise ConfigError(
            f"write_tensor: expected a name and one of {', '.join(_FORMATS)}, got {name!r} and {kind}"
        )
    arrays, record = tensor.to_arrays(), _json(attributes or {})
    present = tensor_names(path) if path.exists() else ()
    if name in present and not replace:
        raise DataError(f"{path}: has a tensor {name!r} already; choose another name, or pass replace=True")
    with hdf5.create(path) as new:
        new.file.attrs.update(schema=FILE_SCHEMA, schema_version=SCHEMA_VERSION)
        if present:
            with _opened(path) as old:
                for other in present:
                    if other != name:
                        old.copy(escape(other), new.file)
                        new.check()
        group = new.file.create_group(escape(name))
        group.attrs.update(schema=SCHEMA, schema_version=SCHEMA_VERSION, format=kind, attributes=record)
        for key, array in arrays.items():
            group.create_dataset(key, data=array)


def read_tensor(path: str | os.PathLike[str], name: str = "tensor") -> Format:
    """Read a tensor that `write_tensor` wrote, on the CPU.

    Raises:
        DataError: the file or the tensor is missing, foreign, of another version, truncated or damaged.
    """
    with _opened(path) as file:
        group = _group(Path(path), file, name)
        kind = str(group.attrs.get("format"))
        if kind not in _FORMATS:
            raise DataError(
                f"{path}: tensor {name!r} is in the unknown format {kind!r}, not {', '.join(_FORMATS)}"
            )
        try:
            arrays = {key: np.asarray(group[key][()]) for key in group}
            return _FORMATS[kind].from_arrays(arrays)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, IndexError, RecursionError) as error:
            raise DataError(
                f"{path}: tensor {name!r} is damaged: {' '.join(str(error).split())[:160]}"
            ) from error


def tensor_names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The names of the tensors in a file, sorted; raises `DataError` where it is none of tensors."""
    with _opened(path) as file:
        _check(Path(path), "file", file, FILE_SCHEMA)
        return tuple(sorted(unescape(name) for name in file))


def tensor_attributes(path: str | os.PathLike[str], name: str = "tensor") -> dict[str, Any]:
    """The attributes that a tensor was written with; raises `DataError` as `read_tensor`."""
    with _opened(path) as file:
        group = _group(Path(path), file, name)
        try:
            found: dict[str, Any] = json.loads(group.attrs["attributes"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: the attributes of tensor {name!r} are damaged") from error
        return found


def _opened(path: str | os.PathLike[str]) -> h5py.File:
    return hdf5.open_readonly(path, remedy="tensors are read from files that `write_tensor` wrote")


def _group(path: Path, file: h5py.File, name: str) -> h5py.Group:
    _check(path, "file", file, FILE_SCHEMA)
    group = file.get(escape(name))
    if not isinstance(group, h5py.Group):
        names = ", ".join(sorted(unescape(one) for one in file)) or "none"
        raise DataError(f"{path}: has no tensor {name!r}; it has: {names}")
    _check(path, f"tensor {name!r}", group, SCHEMA)
    return group


def _check(path: Path, what: str, place: h5py.Group, expected: str) -> None:
    schema, version = place.attrs.get("schema"), place.attrs.get("schema_version")
    if schema != expected:
        raise DataError(
            f"{path}: the {what} is none that `write_tensor` wrote (schema {schema!r}, expected {expected!r})"
        )
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{path}: the {what} is of schema version {version}, this sciten reads version {SCHEMA_VERSION}; "
            "write it again or install a matching sciten"
        )


def _json(attributes: Mapping[str, Any]) -> str:
    try:
        record = json.dumps(dict(attributes), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"write_tensor: expected attributes that JSON can hold, {error}") from error
    if len(record.encode()) > _LARGEST_RECORD:
        raise ConfigError(
            f"write_tensor: expected attributes of at most {_LARGEST_RECORD} bytes as JSON, got {len(record.encode())}"
        )
    return record
