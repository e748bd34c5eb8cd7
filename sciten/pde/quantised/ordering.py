"""Several dimensions of 2^L points each: which bit of which index comes where.

In *serial* order all bits of the first index come first, then all of the second: products of dimensions are Kronecker
products of trains. In *interleaved* order the first bits of all indices come first, then the second ones: what ties the
scales of the dimensions together, as multilevel preconditioners do, has small ranks in this order only. Interleaved
trains have a core for each bit; `grouped` makes it one for each level, of 2^d values.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor import TensorTrain

Order = Callable[[Sequence[TensorTrain]], TensorTrain]


def serial(factors: Sequence[TensorTrain]) -> TensorTrain:
    """The product of trains of each dimension, all bits of a dimension before those of the next.

    Raises:
        ConfigError: no factors, or they are not alike in dtype, device and batch.
    """
    _require_alike("serial", factors)
    return reduce(TensorTrain.kron, factors)


def interleaved(factors: Sequence[TensorTrain]) -> TensorTrain:
    """The product of trains of each dimension, all dimensions of a level before those of the next.

    Args:
        factors: vectors, or operators, of as many cores each.

    Returns:
        Core d k + a is core k of factor a, where other dimensions hand on their bonds: ranks are products.

    Raises:
        ConfigError: no factors, or they are not alike in length, dtype, device and batch.
    """
    _require_alike("interleaved", factors)
    if len({len(factor) for factor in factors}) != 1:
        raise ConfigError(
            f"interleaved: expected trains of equally many cores, got {[len(factor) for factor in factors]}"
        )
    ranks = [list(factor.ranks) for factor in factors]
    cores = []
    for k in range(len(factors[0])):
        for a, factor in enumerate(factors):
            before = [r[k + 1] for r in ranks[:a]]
            after = [r[k] for r in ranks[a + 1 :]]
            cores.append(widened(factor.cores[k], before, after, factor.operator))
    return TensorTrain(tuple(cores), factors[0].operator)


def widened(core: Tensor, before: Sequence[int], after: Sequence[int], operator: bool) -> Tensor:
    """A core with the identity on bonds of other dimensions before and after its own."""
    left, right = (torch.eye(prod(r), dtype=core.dtype, device=core.device) for r in (before, after))
    if operator:
        wide = torch.einsum("xy,...rnms,zw->...xrznmysw", left, core, right)
        return wide.flatten(-3).flatten(-6, -4)
    wide = torch.einsum("xy,...rns,zw->...xrznysw", left, core, right)
    return wide.flatten(-3).flatten(-5, -3)


def grouped(x: TensorTrain, size: int) -> TensorTrain:
    """Each `size` cores merged into one, whose modes are products: of interleaved trains, a core for each level.

    The first of the merged indices counts most. Back again by `TensorTrain.reshape` for vectors.

    Raises:
        ConfigError: the number of cores is not a multiple of `size`.
    """
    if size < 1 or len(x) % size:
        raise ConfigError(f"grouped: expected groups of a size that divides {len(x)} cores, got {size}")
    merge = _merged_operators if x.operator else _merged
    groups = [x.cores[k : k + size] for k in range(0, len(x), size)]
    return TensorTrain(tuple(reduce(merge, group) for group in groups), x.operator)


def kronecker_sum(operators: Sequence[TensorTrain], order: Order = serial) -> TensorTrain:
    """The sum over dimensions of an operator along one and identities along the others.

    Args:
        operators: `[n, n]` for each dimension, such as the Laplacian along it.
        order: `serial` or `interleaved`.

    Raises:
        ConfigError: no operators, or they do not fit the order.
    """
    _require_alike("kronecker_sum", operators)
    identities = [
        TensorTrain.identity([mode[1] for mode in op.modes], dtype=op.dtype, device=op.device)
        for op in operators
    ]
    terms = [order([*identities[:a], operator, *identities[a + 1 :]]) for a, operator in enumerate(operators)]
    return reduce(TensorTrain.__add__, terms)


def bits(indices: Tensor, levels: int, *, interleave: bool = False) -> Tensor:
    """The indices of bits, for `TensorTrain.at`, of indices of points.

    Args:
        indices: `[n_places, d]`, int64, from 0 to 2^levels - 1.
        levels: bits of each index.
        interleave: for trains in interleaved order; otherwise serial.

    Returns:
        `[n_places, d levels]`, the most significant bit of each index first.

    Raises:
        ConfigError: indices lie outside, or are of another shape or dtype.
    """
    if indices.ndim != 2 or indices.dtype != torch.int64:
        raise ConfigError(
            f"bits: expected int64 indices [n_places, d], got {indices.dtype} {list(indices.shape)}"
        )
    if bool(((indices < 0) | (indices >= 2**levels)).any()):
        raise ConfigError(f"bits: expected indices from 0 to {2**levels - 1}, some lie outside")
    places = torch.arange(levels - 1, -1, -1, device=indices.device)
    found = (indices.unsqueeze(-1) >> places) & 1  # [n_places, d, levels]
    return (found.mT if interleave else found).flatten(1)


def _merged(left: Tensor, right: Tensor) -> Tensor:
    return torch.einsum("...anb,...bmc->...anmc", left, right).flatten(-3, -2)


def _merged_operators(left: Tensor, right: Tensor) -> Tensor:
    product = torch.einsum("...anmb,...bpqc->...anpmqc", left, right)
    return product.flatten(-3, -2).flatten(-4, -3)


def _require_alike(name: str, factors: Sequence[TensorTrain]) -> None:
    if not factors:
        raise ConfigError(f"{name}: expected a train for each dimension, got none")
    kinds = {(f.operator, f.dtype, f.device, f.batch_shape) for f in factors}
    if len(kinds) > 1:
        raise ConfigError(
            f"{name}: expected vectors, or operators, of one dtype, device and batch, got {list(factors)}"
        )
