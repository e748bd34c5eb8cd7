"""What a solver returns."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sciten.errors import ConfigError
from sciten.tensor import CP, TensorTrain, TreeTensor


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
    """‖A x - b‖ / ‖b‖ by orthogonalisation, accurate to the precision also where the difference is small."""
    with torch.no_grad():
        return float((matrix @ field - right_side).norm() / right_side.norm())


def require_system(name: str, matrix: TensorTrain, right_side: TensorTrain, start: TensorTrain | None) -> None:
    """Raise `ConfigError` unless these are a square operator, a vector that it maps and a start of its shape."""
    if not isinstance(matrix, TensorTrain) or not matrix.operator or matrix.batch_shape:
        raise ConfigError(f"{name}: expected an operator as a TensorTrain without a batch, got {matrix!r:.200}")
    if any(n != m for n, m in matrix.modes):
        raise ConfigError(f"{name}: expected a square operator, got {matrix!r}")
    wanted = tuple(n for n, _ in matrix.modes)
    vectors: Sequence[tuple[str, TensorTrain | None]] = (("right side", right_side), ("start", start))
    for what, vector in vectors:
        if vector is None:
            continue
        if not isinstance(vector, TensorTrain) or vector.operator or vector.shape != wanted or vector.batch_shape:
            raise ConfigError(f"{name}: expected a {what} of shape {wanted}, got {vector!r:.200}")
    for what, train in (("operator", matrix), *vectors):
        if train is not None and not all(bool(torch.isfinite(core).all()) for core in train.cores):
            raise ConfigError(f"{name}: expected an {what} with finite entries, got inf or NaN")
