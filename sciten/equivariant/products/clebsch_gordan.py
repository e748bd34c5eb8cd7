"""The Clebsch-Gordan product of signals, path by path: what the cheaper products are measured against."""

from functools import cache
from math import sqrt

import torch
from torch import Tensor, nn

from sciten.equivariant.clebsch_gordan import wigner_3j
from sciten.equivariant.irreps import Irreps, IrrepsLike
from sciten.equivariant.products.base import SignalProduct, given_degrees
from sciten.tensor.multilinear import Executor, Multilinear, Operand, Term, evaluate
from sciten.tensor.tracing import is_traced

#: Samples of a signal without channels that are handled at once, in the place of channels.
_LANES = 32


class ClebschGordanProduct(SignalProduct):
    """All paths (l1, l2, l3) between two signals, each with a weight: e3nn's `TensorProduct` in mode "uuu".

    Paths are normalised as there (component normalisation, every path into an irrep alike).

    Args:
        lmax1, lmax2, lmax_out: highest degrees of the inputs and the output, which are signals `[..., (lmax +
        1)**2]` with
            the parity of the harmonics. Without them the product only says what is wanted, as an argument of a model.
        weights: whether each path has a learnable weight for each channel, one at first.
        executor: who computes; by default the fastest one for the device.

    Raises:
        ConfigError: degrees, shapes or dtypes do not fit.
    """

    def __init__(
        self,
        lmax1: int | None = None,
        lmax2: int | None = None,
        lmax_out: int | None = None,
        *,
        weights: bool = False,
        executor: Executor | None = None,
    ) -> None:
        super().__init__()
        self.executor = executor
        self.weighted = weights
        degrees = given_degrees("ClebschGordanProduct", lmax1, lmax2, lmax_out)
        if degrees is None:
            return
        first, second, out = map(Irreps.natural, degrees)
        self._prepare(first, second, out)

    @classmethod
    def from_irreps(
        cls,
        irreps_in1: IrrepsLike,
        irreps_in2: IrrepsLike,
        irreps_out: IrrepsLike,
        *,
        weights: bool = False,
        executor: Executor | None = None,
    ) -> "ClebschGordanProduct":
        """The product on irreps with channels, channel by channel; arguments as in `GauntProduct.from_irreps`."""
        product = cls(weights=weights, executor=executor)
        product._prepare(Irreps(irreps_in1), Irreps(irreps_in2), Irreps(irreps_out))
        return product

    def _prepare(self, irreps_in1: Irreps, irreps_in2: Irreps, irreps_out: Irreps) -> None:
        self._bind(irreps_in1, irreps_in2, irreps_out)
        self.paths = _paths(irreps_in1, irreps_in2, irreps_out)
        self.map = _map(irreps_in1, irreps_in2, irreps_out, weighted=self.weighted)
        if self.weighted:
            self.weight_numel = len(self.paths) * self.channels
            self.weight = nn.Parameter(torch.ones(self.weight_numel))

    def couple(self, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """See `SignalProduct`."""
        arguments = [] if weight is None else [weight.view(len(self.paths), self.channels)]
        if self.channels > 1:
            (result,) = evaluate(
                self.map, [*arguments, x.transpose(1, 2), y.transpose(1, 2)], executor=self.executor
            )
            return result.transpose(1, 2)
        # Kernels run along channels; without any, samples take their place, filled up to whole blocks.
        rows, traced = x.shape[0], is_traced(x)
        # In a recorded program there are two at least: a single one would be taken for a constant.
        blocks = rows // _LANES + 2 if traced else -(-rows // _LANES)
        arguments = [a.expand(-1, _LANES) for a in arguments]
        for tensor in (x, y):
            padded = torch.nn.functional.pad(tensor[:, 0], (0, 0, 0, blocks * _LANES - rows))
            arguments.append(padded.view(_LANES, blocks, padded.shape[1]).permute(1, 2, 0))
        (result,) = evaluate(self.map, arguments, executor=self.executor)
        result = result.permute(2, 0, 1).flatten(0, 1)[:, None]
        # A slice would be compared with the number of rows, on which recorded programs must not depend.
        return result.index_select(0, torch.arange(rows, device=x.device)) if traced else result[:rows]

    def operations(self) -> int:
        """Multiplications and additions for one sample and channel."""
        return self.map.operations()


@cache
def _paths(first: Irreps, second: Irreps, out: Irreps) -> tuple[tuple[int, int, int], ...]:
    """Entries that couple, by output, then inputs."""
    return tuple(
        (i, j, k)
        for k, c in enumerate(out)
        for i, a in enumerate(first)
        for j, b in enumerate(second)
        if c.ir in a.ir * b.ir
    )


@cache
def _map(first: Irreps, second: Irreps, out: Irreps, *, weighted: bool) -> Multilinear:
    """Arguments are the path weights (where there are any) and the two inputs."""
    paths = _paths(first, second, out)
    starts = [[0], [0], [0]]
    for side, irreps in zip(starts, (first, second, out), strict=True):
        for entry in irreps:
            side.append(side[-1] + entry.ir.dim)
    place = 1 if weighted else 0
    terms = []
    for p, (i, j, k) in enumerate(paths):
        into = sum(1 for path in paths if path[2] == k)
        coupling = sqrt(out[k].ir.dim / into) * wigner_3j(first[i].ir.l, second[j].ir.l, out[k].ir.l)
        terms += [
            Term(
                float(coupling[a, b, c]),
                (
                    *(((0, p),) if weighted else ()),
                    (place, starts[0][i] + int(a)),
                    (place + 1, starts[1][j] + int(b)),
                ),
                (0, starts[2][k] + int(c)),
            )
            for a, b, c in zip(*coupling.nonzero(), strict=True)
        ]
    arguments = (Operand(starts[0][-1]), Operand(starts[1][-1]))
    weights = (Operand(len(paths), shared=True),) if weighted else ()
    return Multilinear((*weights, *arguments), (Operand(starts[2][-1]),), tuple(terms))
