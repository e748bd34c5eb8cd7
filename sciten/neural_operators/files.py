"""Neural operators on disk: a folder with `model.safetensors` and `model.json`, see `sciten.model_files`."""

import os
from collections.abc import Mapping
from typing import Any

import torch

from sciten.model_files import ModelFormat
from sciten.neural_operators.base import NeuralOperator
from sciten.neural_operators.classes import OPERATORS

FORMAT_NAME = "sciten-operator"


def save_operator(
    model: NeuralOperator,
    folder: str | os.PathLike[str],
    *,
    provenance: Mapping[str, str] | None = None,
    classes: Mapping[str, type[NeuralOperator]] = OPERATORS,
) -> None:
    """Write a model to `folder`, in the place of one that stands there only when all is written.

    Args:
        model: of one of `classes`.
        folder: made where it is not there.
        provenance: what the model was made from, free text by key.
        classes: what a file may hold, by name; classes of your own must be given to `load_operator` as well.

    Raises:
        StorageError: the folder cannot be written.
        ModelError: the class is none of `classes`.
    """
    _format(classes).save(model, folder, provenance)


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


def _format(classes: Mapping[str, type[NeuralOperator]]) -> ModelFormat[NeuralOperator]:
    return ModelFormat(FORMAT_NAME, "operator", 1, classes, _build)


def _build(kind: type[NeuralOperator], arguments: Mapping[str, Any], dtype: torch.dtype) -> NeuralOperator:
    return kind(**arguments).to(dtype)
