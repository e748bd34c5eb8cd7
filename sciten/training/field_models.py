"""The neural operator that a run starts from: built from the configuration and the data, or an earlier model."""

from pathlib import Path
from typing import Any

from torch import Tensor

from sciten.datasets import FieldDataset
from sciten.datasets.fields import ChannelStatistics
from sciten.errors import ConfigError
from sciten.model_files import DTYPES
from sciten.neural_operators import NeuralOperator
from sciten.neural_operators.files import load_operator, load_roles
from sciten.neural_operators.patching import patching_from
from sciten.training.field_data import require_domain
from sciten.training.operator_config import OperatorConfig, operator_class

_MODES = 16


def build(config: OperatorConfig, dataset: FieldDataset) -> NeuralOperator:
    """The operator of a configuration, for the channels, the axes and the scales of a dataset.

    Raises:
        DataError: the dataset has no statistics, and the configuration does not say the scales; or it is of another
            domain than the earlier model was trained on.
        ConfigError: an argument does not fit, or the earlier model has other channels.
    """
    if config.initial_model is not None:
        _require_same_roles(config, dataset, config.initial_model)
        return load_operator(config.initial_model, dtype=DTYPES[config.dtype])
    arguments: dict[str, Any] = {key: value for key, value in config.model.items() if key != "kind"}
    axes = dataset.grid.names
    for key in ("modes", "periodic"):
        given = arguments.get(key)
        if given is not None and not isinstance(given, bool) and len(given) != len(axes):
            raise ConfigError(
                f"model.{key}: expected an entry for each of the axes {', '.join(axes)} of {dataset.paths[0]}, got "
                f"{list(given)}"
            )
    known = _from_data(dataset, arguments)
    arguments |= {key: value for key, value in known.items() if arguments.get(key) is None}
    kind: Any = operator_class(config.model["kind"])
    try:
        model: NeuralOperator = kind(**arguments, seed=config.seed, dtype=DTYPES[config.dtype])
    except ConfigError as error:
        raise ConfigError(f"model: {error}") from None
    return model


def _require_same_roles(config: OperatorConfig, dataset: FieldDataset, path: Path) -> None:
    """Raise where an earlier model says that its channels or its domain are others; many do not say."""
    earlier = load_roles(path)
    if earlier is None:
        return
    for name in ("inputs", "targets", "history"):
        theirs, ours = getattr(earlier, name), getattr(config, name)
        if theirs != ours:
            raise ConfigError(
                f"{name}: expected {_words(theirs)}, as initial_model={path} was trained with, got {_words(ours)}; "
                "set them so, or train a new model"
            )
    require_domain(dataset, earlier, f"that initial_model={path} was trained on", "train it further on")


def _words(value: int | tuple[str, ...]) -> str:
    return f"{value}" if isinstance(value, int) else ", ".join(value)


def _from_data(dataset: FieldDataset, given: dict[str, Any]) -> dict[str, Any]:
    grid: tuple[int, ...] = dataset.grid.shape
    if given.get("patching") is not None:
        levels = patching_from(given["patching"], dataset.grid.periodic).grids(grid)
        shapes = [patching.patch_shape(own) for patching, own in levels]
        grid = tuple(map(min, zip(*shapes, strict=True)))
    found: dict[str, Any] = {
        "in_channels": len(dataset.channels.inputs),
        "out_channels": len(dataset.channels.targets),
        "modes": [min(_MODES, n) for n in grid],
        "periodic": list(dataset.grid.periodic),
    }
    if given.get("input_scale") is None or given.get("output_scale") is None:
        statistics = dataset.statistics
        found |= {
            "input_scale": _scale(statistics.inputs),
            "output_scale": _scale(statistics.targets),
        }
    return found


def _scale(statistics: ChannelStatistics) -> list[tuple[float, float]]:
    columns: tuple[Tensor, Tensor] = (statistics.mean, statistics.std)
    return list(zip(*(column.tolist() for column in columns), strict=True))
