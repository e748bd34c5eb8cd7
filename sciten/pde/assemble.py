"""Operators of a grid in the tensor-train format, one core for each dimension.

Cores keep the sparsity of differences, and ranks are known beforehand: 2 for the Laplacian in any dimension, twice the
rank of k for a divergence ∇·(k∇u).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sciten.pde.boundary import Data, Periodic
from sciten.pde.chains import Chain, summed
from sciten.pde.differences import differences
from sciten.pde.fields import as_field, sample
from sciten.pde.grid import Grid
from sciten.pde.operators import (
    Coefficient,
    Derivative,
    Diffusion,
    Given,
    Operator,
    Product,
    Term,
    separable_parts,
)
from sciten.tensor import TensorTrain


@dataclass(frozen=True, eq=False)
class AffineMap:
    """`matrix @ u + offset`: an operator with its boundary data; no offset where the data vanish."""

    matrix: TensorTrain
    offset: TensorTrain | None


def assemble(operator: Operator, tolerance: float = 1e-10) -> AffineMap:
    """An operator as a tensor train of `[r, n, n, r']`, with what its boundary data add.

    Args:
        operator: on any grid.
        tolerance: to which coefficients and data given as functions are resolved, relative.

    Raises:
        ConfigError: a function is not finite or cannot be resolved.
    """
    return _Assembly(operator.grid, tolerance).build(operator)


def separable_matrices(operator: Operator) -> list[Tensor] | None:
    """For each axis the matrix `[n, n]` of a sum of terms that act on one axis each, with constant coefficients.

    None where there are other terms. Multiples of the identity are counted to the first axis.
    """
    parts = separable_parts(operator)
    if parts is None:
        return None
    matrices = []
    for axis, terms in zip(operator.grid.axes, parts, strict=True):
        own = differences(axis)
        total = torch.zeros(axis.n, axis.n, dtype=torch.float64)
        for scale, term in terms:
            if isinstance(term, Product):
                matrix = next(iter(term.matrices.values()), torch.eye(axis.n, dtype=torch.float64))
            else:
                matrix = (own.divergence if isinstance(term, Diffusion) else own.average) @ own.gradient
            total = total + scale * matrix  # complex where either is
        matrices.append(total)
    return matrices


class _Assembly:
    """What terms share while an operator is assembled: identities, and coefficients that were sampled."""

    def __init__(self, grid: Grid, tolerance: float) -> None:
        self.grid, self.tolerance = grid, tolerance
        self.differences = [differences(axis) for axis in grid.axes]
        self.points = grid.points()
        self.identities = [_diagonal(torch.ones(1, n, 1, dtype=torch.float64)) for n in grid.shape]
        self.products: dict[tuple[int, int], tuple[Tensor, Tensor, Tensor]] = {}
        self.sampled: dict[int, tuple[Coefficient, _Sampled]] = {}

    def build(self, operator: Operator) -> AffineMap:
        chains = [self.chain(scale, term) for scale, term in operator.terms]
        matrix = TensorTrain(tuple(summed(chains)), operator=True)
        offset: TensorTrain | None = None
        for scale, term in operator.terms:
            if isinstance(term, Diffusion | Derivative):
                for side in (0, 1):
                    part = self.boundary_term(term, side)
                    if part is not None:
                        part = part * scale
                        offset = part if offset is None else _sum(offset, part)
        return AffineMap(matrix, offset)

    def chain(self, scale: complex, term: Term) -> Chain:
        if isinstance(term, Given):
            return Chain((term.train * scale).cores, 0)
        cores = list(self.coefficient_cores(term))
        if isinstance(term, Product):
            for axis, matrix in term.matrices.items():
                cores[axis] = self.multiplied(cores[axis], matrix)
            switch = max(term.matrices, default=0)
        else:
            cores[term.axis] = self.differential(term, self.differences[term.axis].gradient)
            switch = term.axis
        cores[switch] = cores[switch] * scale
        return Chain(tuple(cores), switch)

    def multiplied(self, core: Tensor, matrix: Tensor) -> Tensor:
        """A core times a matrix: one object for the same two, so that terms share it."""
        key = id(core), id(matrix)
        if key not in self.products:
            product = torch.einsum("anmb,mk->ankb", *_alike(core, matrix))
            self.products[key] = core, matrix, product
        return self.products[key][2]

    def coefficient_cores(self, term: "Diffusion | Derivative | Product") -> Sequence[Tensor]:
        """Cores of the multiplication by the coefficient at the unknowns."""
        if term.coefficient is None:
            return self.identities
        return self.sample(term.coefficient).diagonals

    def differential(self, term: "Diffusion | Derivative", gradient: Tensor) -> Tensor:
        """The core of a term on its own axis, after some map `[m, k]` to values at the faces."""
        own = self.differences[term.axis]
        if isinstance(term, Derivative):
            matrix = own.average @ gradient
            if term.coefficient is None:
                return matrix[None, ..., None]
            return torch.einsum(
                "anb,nk->ankb", *_alike(self.sample(term.coefficient).points[term.axis], matrix)
            )
        if term.coefficient is None:
            return (own.divergence @ gradient)[None, ..., None]
        k = self.sample(term.coefficient).faces[term.axis]
        return torch.einsum("nm,amb,mk->ankb", *_alike(own.divergence, k, gradient))

    def boundary_term(self, term: "Diffusion | Derivative", side: int) -> TensorTrain | None:
        """What the data of one face add, or None where they are zero."""
        axis = self.grid.axes[term.axis]
        condition = axis.conditions[side]
        if isinstance(condition, Periodic) or _is_zero(condition.value):
            return None
        cores = list(self.coefficient_cores(term))
        cores[term.axis] = self.differential(term, self.differences[term.axis].data[:, side, None])
        face = (axis.lower, axis.upper)[side]
        places = list(self.points)
        places[term.axis] = torch.tensor([face], dtype=torch.float64)
        data = as_field(condition.value, places, self.tolerance, name="boundary data")
        matrix = TensorTrain(tuple(_alike(*cores)), operator=True)
        dtype = torch.promote_types(matrix.cores[0].dtype, data.dtype)
        return matrix.to(dtype=dtype) @ data.to(dtype=dtype)

    def sample(self, coefficient: Coefficient) -> "_Sampled":
        """A coefficient at the unknowns and, if it is a function, at the faces; sampled once."""
        if id(coefficient) not in self.sampled:
            self.sampled[id(coefficient)] = coefficient, self._sampled(coefficient)
        return self.sampled[id(coefficient)][1]

    def _sampled(self, coefficient: Coefficient) -> "_Sampled":
        if isinstance(coefficient, TensorTrain) or not callable(coefficient):
            train = as_field(coefficient, self.points, self.tolerance, name="coefficient")
            return _Sampled(train.cores, (), tuple(_diagonal(core) for core in train.cores))
        # Once for unknowns and faces together, so that all terms share the cores.
        both = [torch.cat([p, one.faces]) for p, one in zip(self.points, self.differences, strict=True)]
        inside = [self._inside(axis, one) for axis, one in enumerate(both)]
        train = sample(coefficient, inside, self.tolerance, name="coefficient")
        points = tuple(core[:, :n] for core, n in zip(train.cores, self.grid.shape, strict=True))
        faces = tuple(core[:, n:] for core, n in zip(train.cores, self.grid.shape, strict=True))
        return _Sampled(points, faces, tuple(_diagonal(core) for core in points))

    def _inside(self, axis: int, places: Tensor) -> Tensor:
        own = self.grid.axes[axis]
        if own.periodic:
            return torch.where(places < own.lower, places + own.length, places)
        return places.clamp(own.lower, own.upper)  # faces on the boundary, which rounding may put outside


@dataclass(frozen=True, eq=False)
class _Sampled:
    points: tuple[Tensor, ...]  # [r, n, r'] at the unknowns
    faces: tuple[Tensor, ...]  # [r, m, r'] at the faces
    diagonals: tuple[Tensor, ...]  # [r, n, n, r'], one object for each axis, so that terms share them


def _diagonal(core: Tensor) -> Tensor:
    return torch.diag_embed(core.movedim(1, -1)).permute(0, 2, 3, 1)


def _alike(*tensors: Tensor) -> list[Tensor]:
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return [tensor.to(dtype) for tensor in tensors]


def _sum(a: TensorTrain, b: TensorTrain) -> TensorTrain:
    dtype = torch.promote_types(a.dtype, b.dtype)
    return a.to(dtype=dtype) + b.to(dtype=dtype)


def _is_zero(value: Data | Callable[..., Any]) -> bool:
    return not callable(value) and value == 0
