"""Functions of the index of 2^L points as trains of bits, with the ranks that they have.

An index is a sum over its bits, so that exponentials factorise, and what obeys an addition theorem has the rank of that
theorem: 2 for sine and cosine, p + 1 for polynomials of degree p (Khoromskij, Constr. Approx. 34, 257 (2011);
Oseledets, Constr. Approx. 37, 1 (2013)). The points are `x_i = start + i step`.
"""

from collections.abc import Sequence
from math import comb, cos, sin

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde.quantised.automata import require_levels, train, working_dtype
from sciten.tensor import TensorTrain


def unit(
    levels: int, index: int, *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> TensorTrain:
    """One at an index, from the end where it is negative, and zero elsewhere; rank 1.

    Raises:
        ConfigError: no levels, or the index lies outside.
    """
    require_levels("unit", levels)
    n = 2**levels
    if not -n <= index < n:
        raise ConfigError(f"unit: expected an index from {-n} to {n - 1}, got {index}")
    eye = torch.eye(2, dtype=dtype, device=device)
    return TensorTrain.rank_one([eye[(index % n >> (levels - 1 - k)) & 1] for k in range(levels)])


def constant(
    levels: int,
    value: complex = 1.0,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> TensorTrain:
    """The same value everywhere; rank 1.

    Raises:
        ConfigError: no levels, or a complex value for a real dtype.
    """
    require_levels("constant", levels)
    working_dtype("constant", dtype, value)
    return TensorTrain.ones([2] * levels, dtype=dtype, device=device) * value


def ramp(
    levels: int,
    start: float = 0.0,
    step: float = 1.0,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> TensorTrain:
    """The points themselves, `start + i step`; rank 2.

    Raises:
        ConfigError: no levels.
    """
    return polynomial(levels, [0.0, 1.0], start, step, dtype=dtype, device=device)


def polynomial(
    levels: int,
    coefficients: Sequence[complex],
    start: float = 0.0,
    step: float = 1.0,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> TensorTrain:
    """`c_0 + c_1 x + ... + c_p x^p` at the points; rank p + 1.

    The binomial theorem, bit by bit: accurate to the precision relative to the sum of the magnitudes of the terms.

    Args:
        levels: bits of an index.
        coefficients: c_0, ..., c_p.
        start: the first point.
        step: from a point to the next.
        dtype, device: of the cores.

    Raises:
        ConfigError: no levels, no coefficients, or a complex one for a real dtype.
    """
    require_levels("polynomial", levels)
    if not coefficients:
        raise ConfigError("polynomial: expected at least one coefficient, got none")
    here = working_dtype("polynomial", dtype, *coefficients)
    degree = len(coefficients) - 1
    given = torch.tensor(list(coefficients), dtype=here)
    steps = [step * 2.0 ** (levels - 1 - k) for k in range(levels)]
    # The first shift holds the start, and no bit stands before it.
    cores = [torch.stack([_shift(degree, 0.0), _shift(degree, value)], 1) for value in steps]
    nothing_left = torch.zeros(degree + 1, dtype=here)
    nothing_left[0] = 1
    begin = given @ _shift(degree, start).to(here)
    return train(begin, cores, nothing_left, operator=False).to(dtype=dtype, device=device)


def _shift(degree: int, value: float) -> Tensor:
    """`[q, m]`: (value + y)^q = sum over m of shift[q, m] y^m."""
    rows = [
        [comb(q, m) * value ** (q - m) if m <= q else 0.0 for m in range(degree + 1)]
        for q in range(degree + 1)
    ]
    return torch.tensor(rows, dtype=torch.float64)


def exponential(
    levels: int,
    rate: complex,
    start: float = 0.0,
    step: float = 1.0,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> TensorTrain:
    """`exp(rate x)` at the points; rank 1.

    Raises:
        ConfigError: no levels, or a complex rate for a real dtype.
    """
    require_levels("exponential", levels)
    here = working_dtype("exponential", dtype, rate)
    exponents = torch.tensor(
        [[0.0, rate * step * 2.0 ** (levels - 1 - k)] for k in range(levels)], dtype=here
    )
    factors = [factor.exp().to(dtype=dtype, device=device) for factor in exponents]
    factors[0] = factors[0] * torch.tensor(rate * start, dtype=here).exp().item()
    return TensorTrain.rank_one(factors)


def sine(
    levels: int,
    frequency: float,
    start: float = 0.0,
    step: float = 1.0,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> TensorTrain:
    """`sin(frequency x)` at the points; rank 2.

    Raises:
        ConfigError: no levels.
    """
    return _wave("sine", levels, frequency, start, step, 0).to(dtype=dtype, device=device)


def cosine(
    levels: int,
    frequency: float,
    start: float = 0.0,
    step: float = 1.0,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> TensorTrain:
    """`cos(frequency x)` at the points; rank 2.

    Raises:
        ConfigError: no levels.
    """
    return _wave("cosine", levels, frequency, start, step, 1).to(dtype=dtype, device=device)


def _wave(name: str, levels: int, frequency: float, start: float, step: float, part: int) -> TensorTrain:
    """Sine and cosine turned by the angle of each bit; `part` says which of the two to read in the end."""
    require_levels(name, levels)
    angles = [frequency * step * 2.0 ** (levels - 1 - k) for k in range(levels)]
    cores = [torch.stack([_turn(0.0), _turn(angle)], 1) for angle in angles]
    begin = _turn(frequency * start)[1]  # (sin, cos) of the start
    return train(begin, cores, torch.eye(2, dtype=torch.float64)[part], operator=False)


def _turn(angle: float) -> Tensor:
    """`(sin a, cos a) @ turn(b) = (sin(a + b), cos(a + b))`."""
    return torch.tensor([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]], dtype=torch.float64)
