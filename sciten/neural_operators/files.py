"""Neural operators on disk: a folder with `model.safetensors` and `model.json`, see `sciten.model_files`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from sciten.errors import ConfigError, ModelError
from sciten.model_files import ModelFormat, model_folder, read_document
from sciten.neural_operators.base import NeuralOperator
from sciten.neural_operators.classes import OPERATORS

FORMAT_NAME = "sciten-operator"
_SEVERAL = ("inputs", "targets", "periodic", "lengths")


@dataclass(frozen=True)
class Roles:
    """What the channels of an operator are, in the names of a dataset.

    Attributes:
        inputs, targets: names of fields; inputs also of scalars.
        history: frames among the inputs.
        stride: stored times of the training data from one frame to the next.
        time_step: time from one frame to the next; None where samples have one frame, or none that varies in time.
        periodic: for each axis of the training data, whether it is periodic; None where the file does not say, as those
            written before this entry.
        lengths: of each axis, see `sciten.datasets.Axis.length`; None likewise.
    """

    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    history: int = 1
    stride: int = 1
    time_step: float | None = None
    periodic: tuple[bool, ...] | None = None
    lengths: tuple[float, ...] | None = None


def save_operator(
    model: NeuralOperator,
    folder: str | os.PathLike[str],
    *,
    provenance: Mapping[str, str] | None = None,
    roles: Roles | None = None,
    classes: Mapping[str, type[NeuralOperator]] = OPERATORS,
) -> None:
    """Write a model to `folder`, in the place of one that stands there only when all is written.

    Args:
        model: of one of `classes`.
        folder: made where it is not there.
        provenance: what the model was made from, free text by key.
        roles: what its channels are.
        classes: what a file may hold, by name; classes of your own must be given to `load_operator` as well.

    Raises:
        StorageError: the folder cannot be written.
        ModelError: the class is none of `classes`.
    """
    _format(classes).save(model, folder, provenance, {} if roles is None else {"roles": asdict(roles)})


def load_operator(
    path: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    classes: Mapping[str, type[NeuralOperator]] = OPERATORS,
) -> NeuralOperator:
    """A model, ready for use: in evaluation mode, weights fixed (`requires_grad_(True)` to train it further).

    Args:
        path: a model folder, or a training output folder that holds one as `model/`.
        device: where it is to compute.
        dtype: float32 or float64; by default the one it was saved in.
        classes: the only classes that are built, by name.

    Raises:
        ModelError: the path is no model, or a damaged or pickled one; the message says which and what to do.
        ConfigError: torch cannot use the device here.
    """
    return _format(classes).load(path, device=device, dtype=dtype)


def load_roles(path: str | os.PathLike[str]) -> Roles | None:
    """What the channels of an operator on disk are; None where it does not say.

    Raises:
        ModelError: the path is no model, or its description is damaged.
    """
    place = model_folder(path) / "model.json"
    given = read_document(place).get("roles")
    if given is None:
        return None
    try:
        return Roles(**given | {key: tuple(given[key]) for key in _SEVERAL if given.get(key) is not None})
    except (TypeError, AttributeError) as error:
        raise ModelError(
            f"{place}: the entry 'roles' is damaged ({error}); restore the file from a copy"
        ) from error


def roles_of(
    path: str | os.PathLike[str], inputs: Sequence[str] | None = None, targets: Sequence[str] | None = None
) -> Roles:
    """What the channels of an operator on disk are, with names given here in the place of its own.

    Raises:
        ConfigError: it does not say, and they are not given.
    """
    stored = load_roles(path)
    if stored is None and not (inputs and targets):
        raise ConfigError(
            f"{path}: expected a model that names its inputs and targets; give --inputs and --targets, or save it "
            "with roles=Roles(...)"
        )
    found = stored or Roles((), ())
    return replace(found, inputs=tuple(inputs or found.inputs), targets=tuple(targets or found.targets))


def _format(classes: Mapping[str, type[NeuralOperator]]) -> ModelFormat[NeuralOperator]:
    return ModelFormat(FORMAT_NAME, "operator", 1, classes, _build)


def _build(kind: type[NeuralOperator], arguments: Mapping[str, Any], dtype: torch.dtype) -> NeuralOperator:
    return kind(**arguments).to(dtype)
