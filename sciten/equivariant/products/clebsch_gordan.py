"""The Clebsch-Gordan product of signals, path by path: what the cheaper products are measured against."""

from functools import cache

import torch
from torch import Tensor, nn

from sciten.equivariant.irreps import Irrep, Irreps, IrrepsLike
from sciten.equivariant.products.base import SignalProduct, given_degrees
from sciten.equivariant.products.instructions import Instruction, normalised
from sciten.equivariant.products.program import Program
from sciten.tensor.multilinear import Executor


class ClebschGordanProduct(SignalProduct):
    """All paths (l1, l2, l3) between two signals, each with a weight: e3nn's `TensorProduct` in mode "uuu".

    Paths are normalised as there (component normalisation, every path into an irrep alike).

    Args:
        lmax1, lmax2, lmax_out: highest degrees of the inputs and the output, which are signals
            `[..., (lmax + 1)**2]` with the parity of the harmonics. Without them the product only says what is wanted,
            as an argument of a model.
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
        self._require_paths()
        #: Entries (of the first input, the second and the output) that couple, by output, then inputs.
        self.paths = _paths(irreps_in1, irreps_in2, irreps_out)
        instructions = _instructions(*self.irreps, weighted=self.weighted)
        self._program = Program.of(self.irreps, instructions, shared_weights=True)
        if self.weighted:
            self.weight_numel = len(self.paths) * self.channels
            self.weight = nn.Parameter(torch.ones(self.weight_numel))

    def _couples(self, first: Irrep, second: Irrep, out: Irrep) -> bool:
        return out in first * second

    def couple(self, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """See `SignalProduct`; weights lie by path, then by channel."""
        return self._program.run(x, y, x.new_zeros(0) if weight is None else weight, self.executor)

    def operations(self) -> int:
        """Multiplications and additions for one sample and channel."""
        return self._program.operations() // self.channels


@cache
def _paths(first: Irreps, second: Irreps, out: Irreps) -> tuple[tuple[int, int, int], ...]:
    return tuple(
        (i, j, k)
        for k, c in enumerate(out)
        for i, a in enumerate(first)
        for j, b in enumerate(second)
        if c.ir in a.ir * b.ir
    )


@cache
def _instructions(first: Irreps, second: Irreps, out: Irreps, *, weighted: bool) -> tuple[Instruction, ...]:
    """Those of e3nn's `TensorProduct` with its default normalisations."""
    irreps = (first, second, out)
    given = [(*path, "uuu", weighted) for path in _paths(*irreps)]
    ones = ([1.0] * len(first), [1.0] * len(second), [1.0] * len(out))
    return normalised("ClebschGordanProduct", irreps, given, ones, "component", "element")
