"""The tensor products of e3nn that choose their own instructions."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from sciten.equivariant.irreps import Irrep, Irreps, IrrepsLike, MulIrrep
from sciten.equivariant.products.tensor_product import TensorProduct
from sciten.errors import ConfigError
from sciten.tensor.multilinear import Executor

#: One irrep: "1o", e3nn's `Irrep`, or (degree, parity).
IrrepLike = str | tuple[int, int] | Any


class FullyConnectedTensorProduct(TensorProduct):
    """Every path between the irreps, every multiplicity with every other: e3nn's `FullyConnectedTensorProduct`.

    Arguments as in `TensorProduct`, less the instructions.
    """

    def __init__(
        self,
        irreps_in1: IrrepsLike,
        irreps_in2: IrrepsLike,
        irreps_out: IrrepsLike,
        irrep_normalization: str | None = None,
        path_normalization: str | None = None,
        *,
        in1_var: Sequence[float] | Tensor | None = None,
        in2_var: Sequence[float] | Tensor | None = None,
        out_var: Sequence[float] | Tensor | None = None,
        internal_weights: bool | None = None,
        shared_weights: bool | None = None,
        compile_left_right: bool = True,
        compile_right: bool = False,
        normalization: str | None = None,
        executor: Executor | None = None,
    ) -> None:
        first, second, out = Irreps(irreps_in1), Irreps(irreps_in2), Irreps(irreps_out)
        instructions = [
            (i, j, k, "uvw", True)
            for i, a in enumerate(first)
            for j, b in enumerate(second)
            for k, c in enumerate(out)
            if c.ir in a.ir * b.ir
        ]
        super().__init__(
            first,
            second,
            out,
            instructions,
            in1_var=in1_var,
            in2_var=in2_var,
            out_var=out_var,
            irrep_normalization=irrep_normalization,
            path_normalization=path_normalization,
            internal_weights=internal_weights,
            shared_weights=shared_weights,
            normalization=normalization,
            executor=executor,
        )


class ElementwiseTensorProduct(TensorProduct):
    """Irrep by irrep, without weights: e3nn's `ElementwiseTensorProduct`.

    Args:
        irreps_in1, irreps_in2: equally many irreps.
        filter_ir_out: the irreps to keep; all by default.
        irrep_normalization, compile_left_right, compile_right, normalization, executor: as in `TensorProduct`.
    """

    def __init__(
        self,
        irreps_in1: IrrepsLike,
        irreps_in2: IrrepsLike,
        filter_ir_out: Iterable[IrrepLike] | None = None,
        irrep_normalization: str | None = None,
        *,
        compile_left_right: bool = True,
        compile_right: bool = False,
        normalization: str | None = None,
        executor: Executor | None = None,
    ) -> None:
        first, second = Irreps(irreps_in1).simplify(), Irreps(irreps_in2).simplify()
        if first.num_irreps != second.num_irreps:
            raise ConfigError(
                f"ElementwiseTensorProduct: expected equally many irreps, got {first.num_irreps} in {first} and "
                f"{second.num_irreps} in {second}"
            )
        first, second = _aligned(first, second)
        wanted = _filter(filter_ir_out)
        out: list[tuple[int, Irrep]] = []
        instructions = []
        for i, (a, b) in enumerate(zip(first, second, strict=True)):
            for ir in a.ir * b.ir:
                if wanted is None or ir in wanted:
                    instructions.append((i, i, len(out), "uuu", False))
                    out.append((a.mul, ir))
        super().__init__(
            first,
            second,
            out,
            instructions,
            irrep_normalization=irrep_normalization,
            normalization=normalization,
            executor=executor,
        )


class FullTensorProduct(TensorProduct):
    """Everything with everything, nothing added up, without weights: e3nn's `FullTensorProduct`.

    Args:
        irreps_in1, irreps_in2: irreps of the inputs.
        filter_ir_out: the irreps to keep; all by default.
        irrep_normalization, compile_left_right, compile_right, normalization, executor: as in `TensorProduct`.
    """

    def __init__(
        self,
        irreps_in1: IrrepsLike,
        irreps_in2: IrrepsLike,
        filter_ir_out: Iterable[IrrepLike] | None = None,
        irrep_normalization: str | None = None,
        *,
        compile_left_right: bool = True,
        compile_right: bool = False,
        normalization: str | None = None,
        executor: Executor | None = None,
    ) -> None:
        first, second = Irreps(irreps_in1).simplify(), Irreps(irreps_in2).simplify()
        wanted = _filter(filter_ir_out)
        paths = [
            (i, j, "uvuv", False, (a.mul * b.mul, ir))
            for i, a in enumerate(first)
            for j, b in enumerate(second)
            for ir in a.ir * b.ir
            if wanted is None or ir in wanted
        ]
        out, instructions = _sorted_outputs(paths)
        super().__init__(
            first,
            second,
            out,
            instructions,
            irrep_normalization=irrep_normalization,
            normalization=normalization,
            executor=executor,
        )


class TensorSquare(TensorProduct):
    """The product of a tensor with itself: e3nn's `TensorSquare`.

    Args:
        irreps_in: irreps of the input.
        irreps_out: irreps of the output, to which everything is then connected by weights; by default all irreps in the
            square, once each and without weights.
        filter_ir_out: without `irreps_out`, the irreps to keep.
        irrep_normalization, path_normalization, internal_weights, shared_weights, compile_left_right, compile_right,
            executor: as in `TensorProduct`.
    """

    def __init__(
        self,
        irreps_in: IrrepsLike,
        irreps_out: IrrepsLike | None = None,
        filter_ir_out: Iterable[IrrepLike] | None = None,
        irrep_normalization: str | None = None,
        *,
        path_normalization: str | None = None,
        internal_weights: bool | None = None,
        shared_weights: bool | None = None,
        compile_left_right: bool = True,
        compile_right: bool = False,
        executor: Executor | None = None,
    ) -> None:
        self_irreps = Irreps(irreps_in).simplify()
        if irreps_out is not None and filter_ir_out is not None:
            raise ConfigError("TensorSquare: expected irreps_out or filter_ir_out, got both; leave one out")
        out = None if irreps_out is None else Irreps(irreps_out).simplify()
        paths = _square(self_irreps, out, _filter(filter_ir_out), irrep_normalization or "component")
        if out is None:
            out, instructions = _sorted_outputs(paths)
        else:
            instructions = [(i, j, k, mode, weight, norm) for i, j, mode, weight, k, norm in paths]
        super().__init__(
            self_irreps,
            self_irreps,
            out,
            instructions,
            irrep_normalization="none",
            path_normalization=path_normalization,
            internal_weights=internal_weights,
            shared_weights=shared_weights,
            executor=executor,
        )
        self.irreps_in = self_irreps
        # The norms of its paths are its own, as an irrep is not independent of itself.
        self.unit_variance = (
            irrep_normalization or "component"
        ) == "component" and path_normalization != "none"

    def forward(self, x: Tensor, weight: Tensor | Sequence[Tensor] | None = None) -> Tensor:  # type: ignore[override]
        """The square of x `[..., irreps_in.dim]`, `[..., irreps_out.dim]`; `weight` as in `TensorProduct`."""
        return super().forward(x, x, weight)

    def extra_repr(self) -> str:
        """Irreps and sizes, as e3nn prints them."""
        return super().extra_repr().replace(f" x {self.irreps_in}", "", 1)


def _filter(irreps: Iterable[IrrepLike] | None) -> tuple[Irrep, ...] | None:
    pairs: list[Any] = [(1, ir) for ir in irreps or ()]
    return None if irreps is None else tuple(entry.ir for entry in Irreps(pairs))


def _aligned(first: Irreps, second: Irreps) -> tuple[Irreps, Irreps]:
    """Entries cut so that those at equal positions have equal multiplicities."""
    left, right = list(first), list(second)
    cut: tuple[list[tuple[int, Irrep]], list[tuple[int, Irrep]]] = ([], [])
    while left:
        (mul1, a), (mul2, b) = left.pop(0), right.pop(0)
        mul = min(mul1, mul2)
        cut[0].append((mul, a))
        cut[1].append((mul, b))
        if mul1 > mul:
            left.insert(0, MulIrrep(mul1 - mul, a))
        if mul2 > mul:
            right.insert(0, MulIrrep(mul2 - mul, b))
    return Irreps(cut[0]), Irreps(cut[1])


def _sorted_outputs(paths: Sequence[tuple[Any, ...]]) -> tuple[Irreps, list[tuple[Any, ...]]]:
    """Outputs by degree and parity, and the instructions `(i, j, place, mode, weight, ...)`."""
    order = sorted(range(len(paths)), key=lambda n: paths[n][4][1])
    place = {n: position for position, n in enumerate(order)}
    instructions = [
        (i, j, place[n], mode, weight, *norm) for n, (i, j, mode, weight, _, *norm) in enumerate(paths)
    ]
    return Irreps([paths[n][4] for n in order]), instructions


def _square(
    irreps: Irreps, out: Irreps | None, wanted: tuple[Irrep, ...] | None, normalization: str
) -> list[tuple[Any, ...]]:
    """Paths `(i, j, mode, has_weight, target, norm)`; a target is an entry of `out`, or a new one (mul, irrep)."""
    paths: list[tuple[Any, ...]] = []
    modes = ("uvuv", "uvu<v", "uuu") if out is None else ("uvw", "u<vw", "uuw")
    for i, (mul1, a) in enumerate(irreps):
        for j, (mul2, b) in list(enumerate(irreps))[i:]:
            # The order is that of e3nn's weights: irreps as the product lists them, entries of `out` as they are given.
            reached = [(ir, None) for ir in a * b] if out is None else [(e.ir, k) for k, e in enumerate(out)]
            for ir, k in reached:
                if ir not in a * b or (wanted is not None and ir not in wanted):
                    continue
                norm = {"component": ir.dim, "norm": a.dim * b.dim}.get(normalization, 1)
                kinds: list[tuple[str, int, float]] = [(modes[0], mul1 * mul2, norm)]
                if i == j:
                    kinds = [(modes[1], mul1 * (mul1 - 1) // 2, norm)] if mul1 > 1 else []
                    kinds += [(modes[2], mul1, _self_norm(a, ir, normalization))] if ir.l % 2 == 0 else []
                paths += [(i, j, mode, k is not None, (n, ir) if k is None else k, v) for mode, n, v in kinds]
    return paths


def _self_norm(a: Irrep, out: Irrep, normalization: str) -> float:
    """The norm of the product of an irrep with itself: its components are not independent of each other."""
    if normalization == "component":
        return out.dim / (a.dim + 2 if out.l == 0 else 2)
    if normalization == "norm":
        return out.dim * a.dim if out.l == 0 else a.dim * (a.dim + 2) / 2
    return 1
