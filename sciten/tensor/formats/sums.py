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

#: The error of the projections may be half the tolerance; it is estimated to be at most a fifth of that.
_PROJECTED, _ESTIMATED, _ROUNDED = 0.5, 0.1, 0.85


def round_sum(
    terms: Sequence[TensorTrain],
    tolerance: float | None = None,
    *,
    rank: int | None = None,
    generator: torch.Generator,
) -> TensorTrain:
    """The sum of tensor trains with small ranks.

    With a tolerance, ‖sum - result‖ ≤ tolerance ‖sum‖ but for a probability of less than 2e-4 d: columns are added
    until independent ones, at least 4 d of them, estimate the error of the projections at a tenth of the tolerance,
    and the result is rounded by singular values within what is left. The probability bounds that of an estimate which
    is five times too small, which is most likely where the error is a product of vectors: its square is then that of
    the error times d - 1 averages of 4 d squared normal numbers (Chernoff's bound). Rounding errors are those of the
    terms: where they cancel, a tolerance below the precision relative to the largest term cannot be kept.

    With a rank alone, that of the best approximation of the sum is projected onto `rank + 10` random columns, whose
    error is within a small factor of the best one where singular values decay, but is not known.

    The cost is that of m terms of rank r in d modes of length n with s columns, d n m r s (r + s), and s is about the
    largest rank of the result; a deterministic rounding of the formed sum costs d n (m r)³.

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
        limits = _largest_ranks(parts)
        if rank is not None:
            limits = [min(limit, rank + _OVERSAMPLING) for limit in limits]
        swept = _swept_within(parts, tolerance or 0.0, limits, generator)
        return first._like(chains.rounded(swept, _ROUNDED * (tolerance or 0.0), [rank] * len(limits)))


def _largest_ranks(parts: Sequence[Chain]) -> list[int]:
    """For each bond the rank that the sum can have at most: of as many columns no error is left."""
    lengths = [core.shape[-2] for core in parts[0]]
    return [
        min(sum(part[k - 1].shape[-1] for part in parts), prod(lengths[:k]), prod(lengths[k:]))
        for k in range(1, len(lengths))
    ]


def _swept_within(
    parts: Sequence[Chain], tolerance: float, limits: Sequence[int], generator: torch.Generator
) -> list[Tensor]:
    """The projected sum, with as many columns as the tolerance needs, and at most `limits`; without one just those."""
    columns = list(limits)
    if tolerance:
        ranks = [max(part[k].shape[-1] for part in parts) for k in range(len(limits))]
        columns = [min(limit, r + _OVERSAMPLING) for limit, r in zip(limits, ranks, strict=True)]
    while True:
        cores, missed = _swept(parts, columns, generator)
        norm = torch.linalg.vector_norm(
            cores[-1], dim=(-3, -2, -1)
        )  # of all, as the other cores are orthonormal
        bound = norm * (tolerance * _ESTIMATED / sqrt(max(1, len(limits))))
        short = [k for k, lost in enumerate(missed) if bool((lost > bound).any())]
        # The columns at a bond are made of those at bonds to its right.
        more = [
            min(limit, 2 * n) if short and k >= short[0] else n
            for k, (n, limit) in enumerate(zip(columns, limits, strict=True))
        ]
        if more == columns:
            return cores
        columns = more


def _swept(
    parts: Sequence[Chain], columns: Sequence[int], generator: torch.Generator
) -> tuple[list[Tensor], list[Tensor]]:
    """The sum projected with so many columns at each bond, left cores orthonormal; and what each bond lost, `[*batch]`.

    The estimates are root mean squares over columns that the projections do not depend on.
    """
    d = len(parts[0])
    samples = max(20, 4 * d)
    sketch, test = (_sketch(parts[0], n, generator) for n in (columns, [samples] * (d - 1)))
    sketches, tests = ([_sketched(part, random) for part in parts] for random in (sketch, test))
    carried = [
        part[0] for part in parts
    ]  # the core of each term behind what was projected, [..., columns, n, r]
    cores, missed = [], []
    for k in range(d - 1):
        rows = [core.flatten(-3, -2) for core in carried]
        seen, probed = (
            _total([a @ b[k] for a, b in zip(rows, found, strict=True)]) for found in (sketches, tests)
        )
        basis = torch.linalg.qr(seen).Q
        lost = probed - basis @ (basis.mH @ probed)
        missed.append(torch.linalg.vector_norm(lost, dim=(-2, -1)) / sqrt(samples))
        cores.append(basis.unflatten(-2, carried[0].shape[-3:-1]))
        carried = [
            torch.einsum("...ab,...bnc->...anc", basis.mH @ a, part[k + 1])
            for a, part in zip(rows, parts, strict=True)
        ]
    return [*cores, _total(carried)], missed


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


def _sketched(part: Chain, sketch: Chain) -> list[Tensor]:
    """For each bond what is right of it times the columns, `[..., r, columns]`."""
    matrix = part[0].new_ones(1, 1)
    found = []
    for core, random in zip(reversed(part[1:]), reversed(sketch), strict=True):
        matrix = torch.einsum("...and,bnd->...ab", torch.einsum("...anc,...cd->...and", core, matrix), random)
        found.append(matrix)
    return found[::-1]


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
