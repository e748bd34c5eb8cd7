"""Checks that the products share, worded alike."""

import torch
from torch import Tensor

from sciten.errors import ConfigError


def require_features(product: str, name: str, value: Tensor, dim: int, of: object) -> None:
    """Raise `ConfigError` unless `value` is a floating-point tensor `[..., dim]`; `of` says what has that length."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = f"{value.dtype} tensor" if isinstance(value, Tensor) else type(value).__name__
        raise ConfigError(f"{product}: expected {name} to be a floating-point tensor, got a {kind}")
    if value.ndim == 0 or value.shape[-1] != dim:
        raise ConfigError(
            f"{product}: expected {name} of shape [..., {dim}] for {of}, got {list(value.shape)}"
        )


def require_alike(product: str, tensors: dict[str, Tensor]) -> None:
    """Raise `ConfigError` unless all tensors have one dtype and one device."""
    kinds = {name: (tensor.dtype, tensor.device) for name, tensor in tensors.items()}
    if len(set(kinds.values())) > 1:
        given = ", ".join(f"{name} of {dtype} on {device}" for name, (dtype, device) in kinds.items())
        raise ConfigError(f"{product}: expected one dtype and one device, got {given}")


def require_same_batch(product: str, tensors: dict[str, Tensor]) -> torch.Size:
    """The leading axes that all tensors share; raises `ConfigError` where they differ: nothing is broadcast."""
    shapes = {name: tensor.shape[:-1] for name, tensor in tensors.items()}
    first = next(iter(shapes.values()))
    if any(shape != first for shape in shapes.values()):
        given = ", ".join(f"{name} of shape {list(tensors[name].shape)}" for name in tensors)
        raise ConfigError(f"{product}: expected equal leading axes, got {given}; expand the smaller one")
    return first
