"""Functions as tensor trains on the points of a grid."""

import cmath
from collections.abc import Callable, Sequence
from math import prod
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor import TensorTrain
from sciten.tensor.decompose import tt_cross, tt_svd
from sciten.tensor.formats import Format
from sciten.tensor.formats.convert import to_tensor_train

#: Up to so many entries a function is evaluated everywhere, which no sampling can be wrong about.
_DENSE = 2**16

#: What a field may be given as: a number, a function of points `[n_points, d]`, or values on the grid.
Source = float | complex | Callable[[Tensor], Any] | Format | Tensor | np.ndarray


def sample(
    function: Callable[[Tensor], Any],
    points: Sequence[Tensor],
    tolerance: float = 1e-10,
    *,
    name: str = "function",
) -> TensorTrain:
    """A function on a product of points as a tensor train, by cross approximation where there are many.

    Args:
        function: of points `[n_points, d]` to values `[n_points]`, torch or NumPy, real or complex.
        points: `[n]` for each dimension.
        tolerance: relative, in the Frobenius norm.
        name: of the function, for messages.

    Raises:
        ConfigError: the function does not return one finite value for each point; or cross approximation did not
            resolve it, as independent samples show.
    """

    def places(indices: Tensor) -> Tensor:
        return torch.stack([one[index] for one, index in zip(points, indices.T, strict=True)], -1)

    return sample_at(function, places, [len(one) for one in points], tolerance, name=name)


def sample_at(
    function: Callable[[Tensor], Any],
    places: Callable[[Tensor], Tensor],
    shape: Sequence[int],
    tolerance: float = 1e-10,
    *,
    name: str = "function",
) -> TensorTrain:
    """As `sample`, for points `[n_points, d]` that follow from indices `[n_points, len(shape)]` in any way."""

    def at(indices: Tensor) -> Tensor:
        return evaluated(function, places(indices), name)

    if prod(shape) <= _DENSE:
        every = torch.cartesian_prod(*(torch.arange(n) for n in shape)).reshape(-1, len(shape))
        return tt_svd(at(every).reshape(tuple(shape)), tolerance)
    found = tt_cross(at, shape, tolerance)
    if not found.converged:
        raise ConfigError(
            f"{name}: cross approximation did not resolve it to {tolerance:.1e} on {tuple(shape)} points: "
            f"{found.message}"
        )
    return found.tensor


def evaluated(function: Callable[[Tensor], Any], places: Tensor, name: str) -> Tensor:
    """Values of a user's function at `[n_points, d]`, checked: finite, one for each point, float64 or complex128."""
    values = torch.as_tensor(function(places))
    require_cpu(name, values)
    if values.shape != places.shape[:1]:
        raise ConfigError(
            f"{name}: expected a function of points [{len(places)}, {places.shape[1]}] to return values "
            f"[{len(places)}], got {list(values.shape)}"
        )
    values = values.to(torch.complex128 if values.is_complex() else torch.float64)
    if not bool(torch.isfinite(values).all()):
        worst = places[~torch.isfinite(values)][0].tolist()
        raise ConfigError(f"{name}: expected finite values, got inf or NaN at the point {worst}")
    return values


def as_field(
    source: Source, points: Sequence[Tensor], tolerance: float = 1e-10, *, name: str = "source"
) -> TensorTrain:
    """Any of the ways to give a field, as a tensor train on a product of points.

    Raises:
        ConfigError: its shape is another one, it is not on the CPU, its entries are not finite, or it cannot be
            resolved.
    """
    shape = tuple(len(one) for one in points)
    if isinstance(source, Number):
        number = complex(source)  # type: ignore[call-overload]  # any number of Python's or NumPy's
        if not cmath.isfinite(number):
            raise ConfigError(f"{name}: expected a finite number, got {source}")
        return TensorTrain.ones(shape) * (number if number.imag else number.real)
    if isinstance(source, np.ndarray | Tensor):
        tensor = torch.as_tensor(source)
        require_cpu(name, tensor)
        _require_shape(name, tuple(tensor.shape), shape)
        found = tt_svd(tensor.to(torch.complex128 if tensor.is_complex() else torch.float64), tolerance)
    elif isinstance(source, Format):
        require_cpu(name, source)
        _require_shape(name, source.shape, shape)
        found = to_tensor_train(source)
    elif callable(source):
        return sample(source, points, tolerance, name=name)
    else:
        raise ConfigError(
            f"{name}: expected a number, a function of points, an array or a TensorTrain, got a "
            f"{type(source).__name__}"
        )
    if not all(bool(torch.isfinite(core).all()) for core in found.cores):
        raise ConfigError(f"{name}: expected finite entries, got inf or NaN")
    return found


def require_cpu(name: str, given: Tensor | Format) -> None:
    """Raise `ConfigError` unless a tensor, by its name for messages, lies where grids and operators do."""
    if given.device.type != "cpu":
        raise ConfigError(
            f"{name}: expected values on the CPU, where grids and operators are, got some on {given.device}; move them "
            "by .to(device='cpu')"
        )


def _require_shape(name: str, given: tuple[int, ...], shape: tuple[int, ...]) -> None:
    if given != shape:
        raise ConfigError(f"{name}: expected values on the {shape} points of the grid, got {given}")
