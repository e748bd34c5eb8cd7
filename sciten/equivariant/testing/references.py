"""What products should compute, dense and in plain torch: couplings of `wigner_3j`, contracted by einsum.

Written apart from the fast ways: `TensorProduct` path by path from its instructions, `ClebschGordanProduct` likewise,
products of signals from their closed `path_factor`, `SO2Product` from its weights in frames of its own
(`edge_references`), `CartesianProduct` index by index (`cartesian_references`).

Any other product, one that somebody else wrote, is compared with what it gives itself for all pairs of basis vectors.
That proves that it is bilinear and that its derivatives are those of its values. It does not prove that the values are
right: a wrong factor is in both. For that, `check_derivatives` takes a `reference`.
"""

from collections.abc import Callable, Sequence
from copy import copy
from itertools import product as combinations
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from sciten.equivariant.clebsch_gordan import wigner_3j
from sciten.equivariant.irreps import Irrep, Irreps
from sciten.equivariant.products.base import DegreeWeightedProduct
from sciten.equivariant.products.cartesian import CartesianProduct
from sciten.equivariant.products.clebsch_gordan import ClebschGordanProduct
from sciten.equivariant.products.so2 import SO2Product
from sciten.equivariant.products.tensor_product import TensorProduct
from sciten.equivariant.products.variants import TensorSquare
from sciten.equivariant.products.vector_gaunt import VectorGauntProduct, _fields, _nine_j_factor
from sciten.equivariant.testing.cartesian_references import of_indices
from sciten.equivariant.testing.edge_references import of_edges
from sciten.equivariant.testing.subjects import Subject
from sciten.tensor.multilinear.reference import Reference

Function = Callable[..., Tensor]
#: What remains of channels u, v of the couplings `[batch, u, v, 2l + 1]`: with weights (w stands for `z` where they
#: differ between samples), and without.
_MODES = {
    "uvw": ("zuvk,{w}uvw->zwk", None),
    "uvu": ("zuvk,{w}uv->zuk", "zuvk->zuk"),
    "uvv": ("zuvk,{w}uv->zvk", "zuvk->zvk"),
    "uuw": ("zuuk,{w}uw->zwk", "zuuk->zk"),
    "uuu": ("zuuk,{w}u->zuk", "zuuk->zuk"),
    "uvuv": ("zuvk,{w}uv->zuvk", "zuvk->zuvk"),
    "uvu<v": ("zpk,{w}p->zpk", "zpk->zpk"),
    "u<vw": ("zpk,{w}pw->zwk", None),
}


def reference_of(product: Any) -> Function:
    """The dense counterpart of a product, of the arguments of its `Subject`; differentiable by torch to any order."""
    subject = Subject.of(product)
    product = subject.product
    if isinstance(product, TensorProduct):
        return _of_instructions(product)
    if isinstance(product, ClebschGordanProduct):
        return _of_paths(product)
    if isinstance(product, SO2Product):
        return of_edges(subject)
    if isinstance(product, CartesianProduct):
        return of_indices(product)
    if isinstance(product, DegreeWeightedProduct) and hasattr(product, "path_factor"):
        return _of_path_factors(product)
    return _of_basis_vectors(_with_reference_executor(product))


def _coupling(degrees: Sequence[int], like: Tensor) -> Tensor:
    return torch.tensor(wigner_3j(*degrees)).to(like)


def _blocks(x: Tensor, irreps: Irreps) -> list[Tensor]:
    return [
        x[:, where].unflatten(1, (entry.mul, entry.ir.dim))
        for where, entry in zip(irreps.slices(), irreps, strict=True)
    ]


def _of_instructions(product: TensorProduct) -> Function:
    def reference(x: Tensor, *rest: Tensor) -> Tensor:
        y = x if isinstance(product, TensorSquare) else rest[0]
        weights = rest[-1] if product.weight_numel else x.new_zeros(0)
        first, second = _blocks(x, product.irreps_in1), _blocks(y, product.irreps_in2)
        out = [x.new_zeros(len(x), entry.dim) for entry in product.irreps_out]
        start = 0
        for ins in product.instructions:
            a, b = first[ins.i_in1], second[ins.i_in2]
            ls = [i[n].ir.l for i, n in zip(_irreps(product), ins[:3], strict=True)]
            pairs = torch.einsum("zui,zvj,ijk->zuvk", a, b, ins.path_weight * _coupling(ls, x))
            if "<" in ins.connection_mode:
                u, v = torch.triu_indices(pairs.shape[1], pairs.shape[2], 1)
                pairs = pairs[:, u, v]
            weighted, plain = _MODES[ins.connection_mode]
            if ins.has_weight:
                own = weights[..., start : start + ins.weight_numel].unflatten(-1, ins.path_shape)
                start += ins.weight_numel
                result = torch.einsum(
                    weighted.format(w="z" if own.ndim > len(ins.path_shape) else ""), pairs, own
                )
            else:
                result = torch.einsum(str(plain), pairs)
            out[ins.i_out] = out[ins.i_out] + result.flatten(1)
        return torch.cat(out, dim=1)

    return reference


def _irreps(product: Any) -> tuple[Irreps, Irreps, Irreps]:
    return Irreps(product.irreps_in1), Irreps(product.irreps_in2), Irreps(product.irreps_out)


def _of_paths(product: ClebschGordanProduct) -> Function:
    def reference(x: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        first, second = _blocks(x, product.irreps_in1), _blocks(y, product.irreps_in2)
        into = [sum(path[2] == k for path in product.paths) for k in range(len(product.irreps_out))]
        out = [x.new_zeros(len(x), entry.mul, entry.ir.dim) for entry in product.irreps_out]
        for p, (i, j, k) in enumerate(product.paths):
            irs = [irreps[n].ir for irreps, n in zip(product.irreps, (i, j, k), strict=True)]
            coupling = sqrt(irs[2].dim / into[k]) * _coupling([ir.l for ir in irs], x)
            result = torch.einsum("zci,zcj,ijk->zck", first[i], second[j], coupling)
            if weight is not None:
                result = result * weight.view(-1, product.channels, 1)[p]
            out[k] = out[k] + result
        return torch.cat([block.flatten(1) for block in out], dim=1)

    return reference


def _of_path_factors(product: Any) -> Function:
    """A closed factor times `wigner_3j` for each path that parity allows, weights of entries and channels about it."""
    sides = _irreps(product)
    allowed = [
        (i, j, k)
        for i, a in enumerate(sides[0])
        for j, b in enumerate(sides[1])
        for k, c in enumerate(sides[2])
        if abs(a.ir.l - b.ir.l) <= c.ir.l <= a.ir.l + b.ir.l
        and (a.ir.p * b.ir.p == c.ir.p or not getattr(product, "conserves_parity", True))
    ]

    def reference(x: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        blocks = [_blocks(x, sides[0]), _blocks(y, sides[1])]
        out = [x.new_zeros(len(x), entry.mul, entry.ir.dim) for entry in sides[2]]
        scales: list[Tensor] | None = None
        if weight is not None:  # by entry of the inputs and the output, then by channel
            scales = list(weight.view(-1, product.channels, 1).split([len(side) for side in sides]))
        for i, j, k in allowed:
            irs = [side[n].ir for side, n in zip(sides, (i, j, k), strict=True)]
            a, b = blocks[0][i], blocks[1][j]
            coupling = _strength(product, irs) * _coupling([ir.l for ir in irs], x)
            result = torch.einsum("zci,zcj,ijk->zck", a, b, coupling)
            if scales is not None:
                result = result * scales[0][i] * scales[1][j] * scales[2][k]
            out[k] = out[k] + result
        return torch.cat([block.flatten(1) for block in out], dim=1)

    return reference


def _strength(product: Any, irs: Sequence[Irrep]) -> float:
    """`path_factor`, which is for degrees; where parities other than its own matter, the sum over their fields."""
    usual = [ir.is_natural for ir in irs] == [True, True, False]
    if not isinstance(product, VectorGauntProduct) or usual:
        return float(product.path_factor(*(ir.l for ir in irs)))
    fields = combinations(*(_fields(ir, axial=side == 2) for side, ir in enumerate(irs)))
    return sum(_nine_j_factor((a, b, c), (irs[0].l, irs[1].l, irs[2].l)) for a, b, c in fields)


def _with_reference_executor(product: Any) -> Subject:
    """The same product, weights and all, run by plain torch where it takes an executor."""
    if hasattr(product, "executor"):
        product = copy(product)
        product.executor = Reference()
    return Subject.of(product)


def _of_basis_vectors(subject: Subject) -> Function:
    """The contraction with what the product gives for all pairs of basis vectors: a proof of bilinearity alone."""

    def reference(x: Tensor, y: Tensor, *weights: Tensor) -> Tensor:
        first = torch.eye(x.shape[1]).to(x).repeat_interleave(y.shape[1], dim=0)
        second = torch.eye(y.shape[1]).to(y).repeat(x.shape[1], 1)
        if weights and subject.arguments[2].batched:
            each = [subject.call(first, second, w.expand(len(first), -1)) for w in weights[0]]
            tensor = torch.stack(each).unflatten(1, (x.shape[1], y.shape[1]))
            return torch.einsum("zi,zj,zijk->zk", x, y, tensor)
        tensor = subject.call(first, second, *weights).unflatten(0, (x.shape[1], y.shape[1]))
        return torch.einsum("zi,zj,ijk->zk", x, y, tensor)

    return reference
