"""Sums of outer products by alternating least squares.

Each factor in turn is the best one for the others (Carroll and Chang 1970, Harshman 1970; Kolda and Bader, SIAM Rev.
51, 455 (2009), section 3.4), here the best one near the one before it: a step costs a small multiple of the squared
change besides the squared error (Li, Kindermann and Navasca, Linear Algebra Appl. 438, 796 (2013)), so that the error
never grows and a rank that is too high is no singular problem. Nonnegative factors are found column by column
(Cichocki and Phan, IEICE Trans. Fundamentals E92-A, 708 (2009), "HALS").

After all factors the step is lengthened, if that makes the error smaller still, and more each time that it does
(Harshman 1970 and Bro 1998 with lengths of their own): where columns are nearly parallel, plain steps go on and on.

Of the tensor only products with columns are needed, so that any format goes in as it is. tensorly's CP takes full
tensors alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.decompose.factor_products import product_but_one

# As a module: it imports decompositions itself.
from sciten.tensor.formats import CP, Format, TreeTensor, convert
from sciten.tensor.linalg import leading_space

#: The iteration rests where so many steps leave the error at more than this part of what it was.
_PATIENCE, _RESTING = 20, 0.999

#: How the lengthening of steps grows and falls, and the least and the largest.
_LONGER, _SHORTER, _LENGTHS = 1.5, 0.5, (1.05, 1e4)

#: Weight of the squared change of a factor in a step: this power of the precision.
_NEARNESS = 0.75


@dataclass(frozen=True)
class CPResult:
    """What alternating least squares found.

    Attributes:
        cp: the sum of outer products, columns of unit norm, descending weights.
        error: ‖x - cp‖ / ‖x‖, computed from the difference (of a tensor in a format through its orthogonalisation, so
            that small errors are as exact as large ones); for the zero tensor zero.
        converged: whether the error is within the tolerance.
        iterations: how often all factors were improved, in the attempt that this is.
        message: why it stopped, and what to try where it did not converge.
    """

    cp: CP
    error: float
    converged: bool
    iterations: int
    message: str


class Start(Protocol):
    """The factors that an iteration begins with."""

    def factors(self, x: Tensor | Format, rank: int, generator: torch.Generator) -> list[Tensor]:
        """`[n_k, rank]` for each mode."""


@dataclass(frozen=True)
class RandomStart:
    """Normal factors."""

    def factors(self, x: Tensor | Format, rank: int, generator: torch.Generator) -> list[Tensor]:
        """`[n_k, rank]` for each mode."""
        return [_normal(x, n, rank, generator) for n in x.shape]


@dataclass(frozen=True)
class SingularStart:
    """The leading left singular vectors of each unfolding, as in the higher-order singular value decomposition.

    They are those of its products with random columns, so that the tensor is not made full. Where a mode is shorter
    than the rank, normal columns follow.

    Args:
        oversampling: random columns beyond the rank.
    """

    oversampling: int = 10

    def factors(self, x: Tensor | Format, rank: int, generator: torch.Generator) -> list[Tensor]:
        """`[n_k, rank]` for each mode."""
        random = [_normal(x, n, rank + self.oversampling, generator) for n in x.shape]
        found = []
        for mode, n in enumerate(x.shape):
            space = leading_space(product_but_one(x, random, mode), rank=rank)
            found.append(torch.cat([space, _normal(x, n, rank - space.shape[1], generator)], 1))
        return found


def cp_als(
    x: Tensor | Format,
    rank: int,
    *,
    nonnegative: bool = False,
    tolerance: float = 1e-8,
    max_iterations: int = 1000,
    attempts: int = 3,
    start: Start | None = None,
    generator: torch.Generator,
) -> CPResult:
    """A sum of `rank` outer products near a tensor, by alternating least squares.

    The problem is not convex: another start or generator may find a better sum, and there is not always a best one.
    Factors that grow without bound while they cancel, and long stretches of slow progress, are what failure looks like;
    the error says how far it came. An iteration costs d products with `rank` columns, each linear in the numbers of the
    tensor, full or in its format, and two errors: of a format that is the orthogonalisation of a difference of ranks
    r + `rank`.

    Args:
        x: `[n_1, ..., n_d]`, a full tensor or a vector in any format, without a batch; no gradient is recorded.
        rank: number of outer products.
        nonnegative: whether factors and weights are to have no negative entries; for real tensors.
        tolerance: relative error at which it stops.
        max_iterations: after which it stops in any case.
        attempts: how many starts are tried at most, until one converges; the best sum is kept.
        start: factors to begin with, by default `SingularStart()`.
        generator: of random numbers, on the device of the tensor.

    Raises:
        ConfigError: the tensor has a batch, is an operator, is not finite or has no entries; or an argument is out of
            range.
    """
    x = _checked(x, rank, tolerance, max_iterations, nonnegative)
    if attempts < 1:
        raise ConfigError(f"cp_als: expected at least one attempt, got {attempts}")
    found: list[CPResult] = []
    with torch.no_grad():
        while len(found) < attempts and not (found and found[-1].converged):
            factors = list((start or SingularStart()).factors(x, rank, generator))
            if nonnegative:
                factors = [factor.abs() for factor in factors]
            found.append(_iterated(x, factors, nonnegative, tolerance, max_iterations))
    return min(found, key=lambda result: result.error)


def _iterated(
    x: Tensor | Format, factors: list[Tensor], nonnegative: bool, tolerance: float, max_iterations: int
) -> CPResult:
    reference = x if isinstance(x, Tensor | TreeTensor) else convert.to_tensor_train(x)
    norm = float(reference.norm())
    if norm == 0 and isinstance(x, Tensor) and bool(x.any()):
        raise ConfigError(f"cp_als: expected entries whose squares {x.dtype} can hold; scale the tensor")
    if norm == 0:
        zero = CP(factors[0].new_zeros(factors[0].shape[1]), tuple(factors))
        return CPResult(zero, 0.0, True, 0, "the tensor is zero")
    # The tensor and each outer product begin with norm one: a step keeps what the tensor does not determine, and that
    # is to be no larger than the tensor.
    x, reference = x * (1 / norm), reference * (1 / norm)
    factors = _units(factors)[1]
    errors: list[float] = []
    length = 2.0
    while True:
        before, factors = factors, _improved(x, factors, nonnegative)
        further = [b + length * (a - b) for a, b in zip(factors, before, strict=True)]
        if nonnegative:
            further = [factor.clamp(min=0) for factor in further]
        error, error_further = (_distance(reference, _sum_of(found)) for found in (factors, further))
        if error_further < error:
            error, factors, length = error_further, further, min(_LENGTHS[1], _LONGER * length)
        else:
            length = max(_LENGTHS[0], 1 + _SHORTER * (length - 1))
        errors.append(error)
        message = _reason(errors, tolerance, max_iterations)
        if message:
            return CPResult(_sum_of(factors) * norm, error, error <= tolerance, len(errors), message)


def _improved(x: Tensor | Format, factors: Sequence[Tensor], nonnegative: bool) -> list[Tensor]:
    """Factor after factor the best one for the others; columns of equal norms in all of them."""
    step = _nonnegative_step if nonnegative else _step
    weights, units = _units(factors)
    for mode in range(len(units)):
        product = product_but_one(x, [factor.conj() for factor in units], mode)
        gram = _gram([factor for k, factor in enumerate(units) if k != mode], product)
        weights, units[mode] = _unit(step(gram, product, units[mode] * weights))
    share = weights ** (1 / len(units))
    return [factor * share for factor in units]


def _sum_of(factors: Sequence[Tensor]) -> CP:
    """The sum of the outer products of columns, with descending weights."""
    weights, units = _units(factors)
    order = weights.argsort(descending=True)
    return CP(weights[order].to(units[0].dtype), tuple(factor[:, order] for factor in units))


def _step(gram: Tensor, product: Tensor, before: Tensor) -> Tensor:
    """The factor `a` with the least ‖x - x(a)‖² + nearness ‖a - before‖², `[n, rank]`."""
    nearness = torch.finfo(gram.dtype).eps ** _NEARNESS
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    found: Tensor = torch.linalg.solve(gram + nearness * eye, (product + nearness * before).mT)
    return found.mT


def _nonnegative_step(gram: Tensor, product: Tensor, before: Tensor) -> Tensor:
    """Column after column the best one without negative entries."""
    factor = before.clone()
    least = torch.finfo(factor.dtype).eps * product.abs().max()
    scales = gram.diagonal().clamp(min=torch.finfo(factor.dtype).tiny)
    for a in range(len(gram)):
        column = (factor[:, a] + (product[:, a] - factor @ gram[:, a]) / scales[a]).clamp(min=0)
        # A column of zeros would take its outer product out of the sum for good.
        factor[:, a] = torch.where(column.any(), column, least)
    return factor


def _gram(others: Sequence[Tensor], product: Tensor) -> Tensor:
    """Inner products of the outer products of columns of all other modes, `[rank, rank]`."""
    gram = product.new_ones(product.shape[1], product.shape[1])
    for factor in others:
        gram = gram * (factor.mH @ factor)
    return gram


def _units(factors: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Norms of outer products of columns, and factors with columns of unit norm."""
    norms, units = zip(*(_unit(factor) for factor in factors), strict=True)
    return torch.stack(norms).prod(0), list(units)


def _unit(factor: Tensor) -> tuple[Tensor, Tensor]:
    """Norms of columns, and columns of unit norm; columns of zeros stay."""
    norms = torch.linalg.vector_norm(factor, dim=0)
    return norms, factor / torch.where(norms == 0, 1.0, norms)


def _distance(reference: Tensor | Format, cp: CP) -> float:
    if isinstance(reference, Tensor):
        return float(torch.linalg.vector_norm(reference - cp.full()))
    if isinstance(reference, TreeTensor):
        return float((reference - convert.to_tree_tensor(cp, reference.tree)).norm())
    return float((reference - convert.to_tensor_train(cp)).norm())


def _reason(errors: Sequence[float], tolerance: float, max_iterations: int) -> str:
    """Why to stop, or nothing."""
    error = errors[-1]
    if error <= tolerance:
        return f"the relative error {error:.2e} is within {tolerance:.2e}"
    advice = "a higher rank, another start or more attempts may do better"
    if len(errors) > _PATIENCE and error > _RESTING * errors[-1 - _PATIENCE]:
        return f"the relative error rests at {error:.2e}, above {tolerance:.2e}; {advice}"
    if len(errors) >= max_iterations:
        return (
            f"the relative error is {error:.2e} after {max_iterations} iterations, above {tolerance:.2e}, and still "
            f"falls; allow more, or {advice}"
        )
    return ""


def _normal(x: Tensor | Format, n: int, columns: int, generator: torch.Generator) -> Tensor:
    return torch.randn((n, columns), generator=generator, dtype=x.dtype, device=generator.device)


def _checked(
    x: Tensor | Format, rank: int, tolerance: float, max_iterations: int, nonnegative: bool
) -> Tensor | Format:
    if rank < 1 or max_iterations < 1 or not 0 <= tolerance < 1:
        raise ConfigError(
            "cp_als: expected a rank and a number of iterations of at least 1 and a tolerance from 0 to 1, got "
            f"{rank}, {max_iterations} and {tolerance}"
        )
    cores = (x,) if isinstance(x, Tensor) else x.cores
    if isinstance(x, Format) and (x.operator or x.batch_shape):
        raise ConfigError(f"cp_als: expected a vector without a batch, got {x!r}")
    if not x.shape or 0 in x.shape or not (cores[0].is_floating_point() or cores[0].is_complex()):
        raise ConfigError(
            f"cp_als: expected a real or complex tensor with entries, got {x.dtype} {list(x.shape)}"
        )
    if not all(bool(torch.isfinite(core).all()) for core in cores):
        raise ConfigError("cp_als: expected finite entries, got inf or NaN")
    if nonnegative and x.dtype.is_complex:
        raise ConfigError(f"cp_als: expected a real tensor for nonnegative factors, got {x.dtype}")
    return x
