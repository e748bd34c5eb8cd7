"""The neural operator that a run starts from: built from the configuration and the data, or an earlier model."""

from typing import Any

from torch import Tensor

from sciten.datasets import FieldDataset
from sciten.datasets.fields import ChannelStatistics
from sciten.model_files import DTYPES
from sciten.neural_operators import NeuralOperator
from sciten.neural_operators.files import load_operator
from sciten.neural_operators.patching import patching_from
from sciten.training.operator_config import OperatorConfig, operator_class

_MODES = 16


def build(config: OperatorConfig, dataset: FieldDataset) -> NeuralOperator:
    """The operator of a configuration, for the channels, the axes and the scales of a dataset.

    Raises:
        DataError: the dataset has no statistics, and the configuration does not say the scales.
        ConfigError: an argument does not fit.
    """
    if config.initial_model is not None:
        return load_operator(config.initial_model, dtype=DTYPES[config.dtype])
    arguments: dict[str, Any] = {key: value for key, value in config.model.items() if key != "kind"}
    known = _from_data(dataset, arguments)
    arguments |= {key: value for key, value in known.items() if arguments.get(key) is None}
    kind: Any = operator_class(config.model["kind"])
    model: NeuralOperator = kind(**arguments, seed=config.seed, dtype=DTYPES[config.dtype])
    return model


def _from_data(dataset: FieldDataset, given: dict[str, Any]) -> dict[str, Any]:
    grid: tuple[int, ...] = dataset.grid.shape
    if given.get("patching") is not None:
        grid = patching_from(given["patching"], dataset.grid.periodic).patch_shape(grid)
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
