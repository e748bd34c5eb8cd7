"""What a solver returns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Protocol

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde.solvers.environments import OperatorCore, mirrored, mirrored_operator, mode_first
from sciten.tensor import CP, TensorTrain, TreeTensor

#: Entries of a matrix that is factorised at a time where a residual is computed.
_ENTRIES = 2**23


@dataclass(frozen=True)
class Solution:
    """A field in a low-rank format, and how far it solves the problem.

    Args:
        field: the unknowns; after a failure the best there is.
        converged: whether `residual` is within the tolerance that was asked for; nothing else counts.
        residual: ‖A u - f‖ / ‖f‖, of the field as it is here.
        seconds: wall time.
        iterations: sweeps or iterations of the solver.
        message: what stopped it and, after a failure, what to try.
        history: what was seen of the residual on the way, one number for each iteration; an estimate of the solver's.
    """

    field: TensorTrain | TreeTensor | CP
    converged: bool
    residual: float
    seconds: float
    iterations: int
    message: str
    history: tuple[float, ...] = ()

    @property
    def ranks(self) -> tuple[int, ...]:
        """Of the field."""
        return self.field.ranks


def relative_residual(matrix: TensorTrain, field: TensorTrain, right_side: TensorTrain) -> float:
    """‖A x - b‖ / ‖b‖ by orthogonalisation, accurate to the precision also where the difference is small.

    Of a right side of zero it is zero where A x vanishes too, and infinite otherwise, as where numbers overflow.

    The cores of A x - b, whose ranks are those of A times those of x, are never formed.
    """
    with torch.no_grad():
        operators = [OperatorCore.of(core) for core in matrix.cores]
        x, b = mode_first(field.cores), mode_first(right_side.cores)
        sizes = [
            core.numel() * R * S for core, (R, *_, S) in zip(x, (c.shape for c in matrix.cores), strict=True)
        ]
        middle = sizes.index(max(sizes))  # the dearest core, which is multiplied and not factorised
        after = middle + 1
        one = x[0].new_ones(1, 1)
        left = _factor(operators[:middle], x[:middle], b[:middle], torch.cat([one, -one], 1))
        turned = mirrored_operator(operators[after:]), mirrored(x[after:]), mirrored(b[after:])
        right = _factor(*turned, torch.cat([one, one], 1))
        pieces = _rows(operators[middle], x[middle], b[middle], left)
        norms = [torch.linalg.matrix_norm(rows @ right.mT) for rows in pieces]
        return ratio(torch.linalg.vector_norm(torch.stack(norms)), right_side.norm())


def ratio(residual: Tensor, norm: Tensor) -> float:
    """A norm relative to another one, where nothing is zero times nothing; infinite where numbers overflow."""
    above, below = float(residual), float(norm)
    if not (isfinite(above) and isfinite(below)):
        return inf
    return above / below if below else (inf if above else 0.0)


def _factor(
    operators: Sequence[OperatorCore], x: Sequence[Tensor], b: Sequence[Tensor], factor: Tensor
) -> Tensor:
    """The triangular factor `[s, R r + q]` of a part of A x + b from its end on; the states of A x come first.

    `factor` is that of nothing, `[1, 2]`: the signs of A x and b.
    """
    for operator, core, known in zip(operators, x, b, strict=True):
        triangular = factor.new_zeros(0, operator.dense.shape[-1] * core.shape[-1] + known.shape[-1])
        for rows in _rows(operator, core, known, factor):
            triangular = torch.linalg.qr(torch.cat([triangular, rows]), mode="r").R
        factor = triangular
    return factor


def _rows(operator: OperatorCore, core: Tensor, known: Tensor, factor: Tensor) -> Iterator[Tensor]:
    """A factor times the next core of A x + b, as matrices `[rows, R' r' + q']` of some of the rows.

    Not all rows at once: they are many more than columns.
    """
    R, S = operator.dense.shape[0], operator.dense.shape[-1]
    n, r, s = core.shape
    width = S * s + known.shape[-1]
    image = factor[:, : R * r].unflatten(1, (R, r)).transpose(0, 1)
    given = factor[:, R * r :]
    # Beside a triangular factor of so many rows as columns, few rows would cost as much as many.
    step = max(1, (max(_ENTRIES // width - width, width // 2)) // n)
    for start in range(0, len(factor), step):
        part = slice(start, start + step)
        states = operator.between(image[:, part], core).permute(2, 1, 0, 3).flatten(2)
        yield torch.cat([states, (given[part] @ known).transpose(0, 1)], 2).flatten(0, 1)


class HasTolerance(Protocol):
    """A solver's options."""

    @property
    def tolerance(self) -> float:
        """Of the true residual."""


def require_options(solver: HasTolerance, *counts: str) -> None:
    """Raise `ConfigError` unless the tolerance lies between 0 and 1, and the counts of these names are positive."""
    name = type(solver).__name__
    if not 0 < solver.tolerance < 1:
        raise ConfigError(f"{name}: expected a tolerance between 0 and 1, got {solver.tolerance}")
    for count in counts:
        if getattr(solver, count) < 1:
            raise ConfigError(f"{name}: expected {count} of at least 1, got {getattr(solver, count)}")


def require_system(
    name: str, matrix: TensorTrain, right_side: TensorTrain | None, start: TensorTrain | None
) -> None:
    """Raise `ConfigError` unless these are a square operator, a vector that it maps and a start of its shape, on one
    device."""
    if not isinstance(matrix, TensorTrain) or not matrix.operator or matrix.batch_shape:
        raise ConfigError(
            f"{name}: expected an operator as a TensorTrain without a batch, got {matrix!r:.200}"
        )
    if any(n != m for n, m in matrix.modes):
        raise ConfigError(f"{name}: expected a square operator, got {matrix!r}")
    wanted = tuple(n for n, _ in matrix.modes)
    vectors: Sequence[tuple[str, TensorTrain | None]] = (("right side", right_side), ("start", start))
    for what, vector in vectors:
        if vector is None:
            continue
        if (
            not isinstance(vector, TensorTrain)
            or vector.operator
            or vector.shape != wanted
            or vector.batch_shape
        ):
            raise ConfigError(f"{name}: expected a {what} of shape {wanted}, got {vector!r:.200}")
        if vector.device != matrix.device:
            raise ConfigError(
                f"{name}: expected a {what} on {matrix.device}, where the operator is, got one on {vector.device}; "
                f"move it by .to(device='{matrix.device}')"
            )
    for what, train in (("operator", matrix), *vectors):
        if train is not None and not all(bool(torch.isfinite(core).all()) for core in train.cores):
            raise ConfigError(f"{name}: expected an {what} with finite entries, got inf or NaN")
