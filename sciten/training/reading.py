"""Configurations from YAML files and the command line."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sciten.errors import ConfigError
from sciten.model_files import format_name
from sciten.neural_operators.classes import OPERATORS
from sciten.neural_operators.files import FORMAT_NAME as OPERATOR_FORMAT
from sciten.potentials import POTENTIALS
from sciten.training.config import TrainConfig
from sciten.training.operator_config import OperatorConfig
from sciten.training.run_config import RunConfig
from sciten.training.sections import SettingError, nearest

_OF_OPERATORS = {"inputs", "targets"}


def read_config(path: str | os.PathLike[str] | None, overrides: Sequence[str] = ()) -> RunConfig:
    """A configuration from a YAML file and `key=value` overrides.

    Args:
        path: YAML file; None for overrides alone.
        overrides: each `dotted.key=value` with the value in YAML: `loss.forces=100`, `schedule=cosine`.

    Raises:
        ConfigError: the file cannot be read, or a key is unknown (the nearest is named) or unusable.
    """
    source = "command line" if path is None else str(path)
    values = {} if path is None else _read_yaml(Path(path))
    for override in overrides:
        _set(values, override)
    try:
        return _config_class(values)(**values)
    except SettingError as error:
        hint = (
            f"; give it there or as {error.key}=... on the command line" if "required" in error.reason else ""
        )
        raise ConfigError(f"{source}: {error.key}: {error.reason}{hint}") from None


def _config_class(values: Mapping[str, Any]) -> type[RunConfig]:
    """Whose settings these are: what `model.kind` or `initial_model` says, or what an operator's alone have."""
    model = values.get("model") or {}
    kind = model.get("kind") if isinstance(model, Mapping) else model
    if str(kind) in OPERATORS:
        return OperatorConfig
    if kind is not None and str(kind) not in POTENTIALS:
        raise SettingError(
            "model.kind", f"unknown {str(kind)!r}, {nearest(str(kind), [*POTENTIALS, *OPERATORS])}"
        )
    if kind is not None and _OF_OPERATORS & set(values):
        raise SettingError(
            "model.kind",
            f"expected a neural operator ({', '.join(OPERATORS)}), since inputs and targets are given, got the "
            f"potential {kind}; change it, or leave these out",
        )
    initial = values.get("initial_model")
    if initial is not None and not model:
        if not Path(str(initial)).exists():
            raise SettingError(
                "initial_model",
                f"expected a model folder, or the output folder of a training, got {str(initial)!r}, which does not "
                "exist; correct the path",
            )
        return OperatorConfig if format_name(str(initial)) == OPERATOR_FORMAT else TrainConfig
    return OperatorConfig if kind is None and _OF_OPERATORS & set(values) else TrainConfig


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected YAML: {' '.join(str(error).split())}") from error
    if document is not None and not isinstance(document, dict):
        raise ConfigError(f"{path}: expected `key: value` lines, got {str(document)[:60]!r}")
    return _with_text_keys(document or {})


def _with_text_keys(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {str(key): _with_text_keys(entry) for key, entry in value.items()}


def _set(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(
            f"{override!r}: expected an override of the form key=value, such as loss.forces=100"
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{override!r}: expected a value in YAML: {' '.join(str(error).split())}"
        ) from error
    *sections, last = key.split(".")
    for section in sections:
        inner = values.get(section)
        if inner is not None and not isinstance(inner, str | dict):
            raise ConfigError(f"{override!r}: {section} is {inner!r}, which has no settings of its own")
        values[section] = {"kind": inner} if isinstance(inner, str) else dict(inner or {})
        values = values[section]
    values[last] = value
