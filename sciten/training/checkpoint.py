"""Checkpoints: one safetensors file that holds tensors and, as its metadata, the rest of the state as JSON.

One file, replaced atomically, so that a kill at any moment leaves the old or the new checkpoint whole.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sciten.errors import ConfigError, ModelError
from sciten.files import sha256, write_tensors
from sciten.training.run_config import RunConfig

_FORMAT = "sciten-checkpoint-1"
_MAY_DIFFER = (
    "output",
    "tensorboard",
    "checkpoint_every",
    "cache_megabytes",
    "max_time",
    "train_file",  # files compare by content
    "valid_file",
)


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write `tensors` and the JSON `state` to `path`; where that fails, an earlier checkpoint stays."""
    write_tensors(path, tensors, {"format": _FORMAT, "state": json.dumps(state)})


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the state of a checkpoint; raises `ModelError` where the file is none."""
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: not a checkpoint ({error}); choose another output") from error
    if metadata.get("format") != _FORMAT:
        raise ModelError(
            f"{path}: expected format {_FORMAT}, got {metadata.get('format')}; choose another output"
        )
    return tensors, json.loads(metadata["state"])


def identity(config: RunConfig, model: Any | None) -> dict[str, Any]:
    """What a checkpoint and its continuation must share: settings by dotted key, files by their content."""
    settings = {key: value for key, value in config.model_dump(mode="json").items() if key not in _MAY_DIFFER}
    # After initial_model: where a run is started from another model, that is what differs first.
    settings["model"] = settings.pop("model")
    if model is not None:
        settings["model"] = {"kind": type(model).__name__, **model.arguments()}
    task = config.task()
    for key, path in (("train_file", config.train_file), ("valid_file", config.valid_file)):
        if path is not None:
            task.check_file(path)  # a missing or foreign file is refused here, with its name
            settings[key] = sha256(path)
    return _flat(json.loads(json.dumps(settings)))


def require_same(path: Path, stored: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Raise `ConfigError` naming the first setting in which a checkpoint's identity differs from ours."""
    for key in [*ours, *(key for key in stored if key not in ours)]:
        if stored.get(key) != ours.get(key):
            raise ConfigError(
                f"{path}: a checkpoint from another configuration: {key} was {stored.get(key)!r} there and "
                f"is {ours.get(key)!r} now; choose another output, or delete the folder to start over"
            )


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` with `prefix.` before each name."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose name starts with `prefix.`, without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser by `index.name`; it is all tensors for the optimisers that sciten offers."""
    return {
        f"{index}.{name}": value
        for index, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put `optimizer_tensors` back, bit for bit."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
