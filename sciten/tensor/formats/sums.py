"""Sums of many tensor trains, rounded by random sketches without forming the large cores of the sum.

The sum is swept from left to right. At each bond its unfolding is multiplied with random columns, the product is
orthogonalised, and the sum is projected onto what that spans; each term carries a small matrix along, so that nothing
as large as the cores of the sum is made ("randomise, then orthogonalise": Al Daas, Ballard, Cazeaux, Hallman, Miedlar,
Pasha, Reid and Saibaba, SIAM J. Sci. Comput. 45, A74 (2023)). The columns are tensor trains of normal numbers
themselves.

The squares of what the projections lose add up to that of the error. Further random columns, which the projections do
not depend on, tell how much that is.
"""

from collections.abc import Sequence
from functools import reduce
from math import prod, sqrt

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.formats import chains
from sciten.tensor.formats.chains import Chain
from sciten.tensor.formats.tensor_train import TensorTrain

#: Columns beyond the rank that is sought.
_OVERSAMPLING = 10

#: Parts of the tolerance: what the error of the projections may be estimated at, so that five times as much leaves room
#: for the other, that of rounding what was projected; they are at right angles.
_ESTIMATED, _ROUNDED = 0.1, 0.85


def round_sum(
    terms: Sequence[TensorTrain],
    tolerance: float | None = None,
    *,
    rank: int | None = None,
    generator: torch.Generator,
) -> TensorTrain:
    """The sum of tensor trains with small ranks.

    With a tolerance, ‖sum - result‖ ≤ tolerance ‖sum‖, but for a probability of less than 4e-5 d each time that columns
    are doubled: that happens until independent ones, at least 4 d of them, estimate the error of the projections at a
    tenth of the tolerance, and the result is rounded by singular values within what is left. The probability bounds
    that of an estimate which is five times too small, which is most likely where the error is a product of vectors: the
    square of the estimate is then that of the error times d - 1 averages of 4 d squared normal numbers (Chernoff's
    bound). Rounding errors are those of the terms: where they cancel, a tolerance below the precision relative to the
    largest term cannot be kept.

    With a rank alone, that of the best approximation of the sum is projected onto `rank + 10` random columns, whose
    error is within a small factor of the best one where singular values decay, but is not known.

    The cost for m terms of rank r in d modes of length n with s columns is d n m r s (r + s), where s is about the
    largest rank of the result, and with a tolerance 4 d at least; to form the sum and `round` it costs d n (m r)³,
    which is less where that rank is not far below m r.

    Args:
        terms: vectors or operators with the same modes, dtype, device and batch.
        tolerance: relative error.
        rank: at most this for each bond; with a tolerance too, what it costs is not bounded.
        generator: of random numbers, on the device of the terms.

    Raises:
        ConfigError: terms do not go together, or neither a tolerance nor a rank is given; or a gradient is to be
            recorded, which random projections do not have: add the terms and `round` the sum instead.
    """
    _check(terms, tolerance, rank)
    first = terms[0]
    parts = [term._chain() for term in terms]
    with torch.no_grad():
        limits = _most_columns(parts)
        if rank is not None:
            limits = [min(limit, rank + _OVERSAMPLING) for limit in limits]
        swept = _swept_within(parts, tolerance or 0.0, limits, generator)
        return first._like(chains.rounded(swept, _ROUNDED * (tolerance or 0.0), [rank] * len(limits)))


def _most_columns(parts: Sequence[Chain]) -> list[int]:
    """For each bond so many that no error is left: those of all rows, or more than the rank that the sum can have."""
    lengths = [core.shape[-2] for core in parts[0]]
    ranks = [sum(part[k].shape[-1] for part in parts) for k in range(len(lengths) - 1)]
    # Of just as many columns as that rank some may nearly depend on each other.
    return [
        min(prod(lengths[:k]), min(rank, prod(lengths[k:])) + _OVERSAMPLING)
        for k, rank in enumerate(ranks, 1)
    ]


def _swept_within(
    parts: Sequence[Chain], tolerance: float, limits: Sequence[int], generator: torch.Generator
) -> list[Tensor]:
    """The projected sum, with as many columns as the tolerance needs, and at most `limits`; without one just those."""
    d = len(parts[0])
    columns, samples = list(limits), 1
    if tolerance:
        samples = max(20, 4 * d)
        ranks = [max(part[k].shape[-1] for part in parts) for k in range(d - 1)]
        columns = [min(limit, r + _OVERSAMPLING) for limit, r in zip(limits, ranks, strict=True)]
    tests = _sketched(parts, [samples] * (d - 1), generator)
    while True:
        cores, missed = _swept(parts, _sketched(parts, columns, generator), tests)
        # That of all, as the other cores are orthonormal.
        norm = torch.linalg.vector_norm(cores[-1], dim=(-3, -2, -1))
        bound = norm * (tolerance * _ESTIMATED / sqrt(max(1, d - 1)))
        if columns == list(limits) or all(bool((lost <= bound).all()) for lost in missed):
            return cores
        # At all bonds, as the columns at one are made of those at bonds to its right; and whatever the tests said, as
        # the next projections must not depend on them either.
        columns = [min(limit, 2 * n) for limit, n in zip(limits, columns, strict=True)]


def _swept(
    parts: Sequence[Chain], sketches: Sequence[Chain], tests: Sequence[Chain]
) -> tuple[list[Tensor], list[Tensor]]:
    """The sum projected onto its sketches, left cores orthonormal; and an estimate of what each bond lost, `[*batch]`.

    The estimates are root mean squares over the tests, which the projections do not depend on.
    """
    # Of each term the core behind what was projected, [..., columns, n, r].
    carried = [part[0] for part in parts]
    cores, missed = [], []
    for k in range(len(parts[0]) - 1):
        rows = [core.flatten(-3, -2) for core in carried]
        seen, probed = (
            _total([a @ b[k] for a, b in zip(rows, found, strict=True)]) for found in (sketches, tests)
        )
        basis = torch.linalg.qr(seen).Q
        lost = probed - basis @ (basis.mH @ probed)
        missed.append(torch.linalg.vector_norm(lost, dim=(-2, -1)) / sqrt(lost.shape[-1]))
        cores.append(basis.unflatten(-2, carried[0].shape[-3:-1]))
        carried = [
            ((basis.mH @ a) @ part[k + 1].flatten(-2)).unflatten(-1, part[k + 1].shape[-2:])
            for a, part in zip(rows, parts, strict=True)
        ]
    return [*cores, _total(carried)], missed


def _sketched(
    parts: Sequence[Chain], columns: Sequence[int], generator: torch.Generator
) -> list[list[Tensor]]:
    """For each term, and each bond of it, what is right of it times random columns, `[..., r, columns]`."""
    sketch = _sketch(parts[0], columns, generator)
    found = []
    for part in parts:
        products = [part[0].new_ones(1, 1)]
        for core, random in zip(reversed(part[1:]), reversed(sketch), strict=True):
            through = (core @ products[-1].unsqueeze(-3)).flatten(-2)
            products.append(through @ random.flatten(1).mT)
        found.append(products[:0:-1])
    return found


def _sketch(like: Chain, columns: Sequence[int], generator: torch.Generator) -> list[Tensor]:
    """Random columns for each bond as one chain, cores `[columns, n, columns]`, entries of unit variance."""
    ends = [*columns, 1]
    return [
        torch.randn(
            (left, core.shape[-2], right), generator=generator, dtype=core.dtype, device=generator.device
        )
        / sqrt(right)
        for left, core, right in zip(columns, like[1:], ends[1:], strict=True)
    ]


def _check(terms: Sequence[TensorTrain], tolerance: float | None, rank: int | None) -> None:
    if not terms:
        raise ConfigError("round_sum: expected at least one term, got none")
    for other in terms:
        terms[0]._require_alike("round_sum", other)
        if torch.is_grad_enabled() and any(core.requires_grad for core in other.cores):
            raise ConfigError(
                "round_sum: expected terms without gradients, which random projections do not have; "
                "add them and `round` the sum"
            )
    if tolerance is None and rank is None:
        raise ConfigError("round_sum: expected a tolerance or a rank, got neither")
    if tolerance is not None and not 0 <= tolerance < 1:
        raise ConfigError(f"round_sum: expected a tolerance from 0 to 1, got {tolerance}")
    if rank is not None and rank < 1:
        raise ConfigError(f"round_sum: expected a rank of at least 1, got {rank}")


def _total(parts: Sequence[Tensor]) -> Tensor:
    return reduce(torch.add, parts)
