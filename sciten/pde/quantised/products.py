"""Products of operators of high ranks, rounded without forming them.

The cores of a product of ranks r and s have rank r s, and rounding them costs (r s)^3. Its range can be found from the
left by a random sketch of what lies to the right, which is contracted with the factors one by one (Al Daas et al., SIAM
J. Sci. Comput. 45, A74 (2023), "randomize then orthogonalize").
"""

import torch
from torch import Tensor

from sciten.tensor import TensorTrain

#: Products of at most this rank are formed and rounded, which is as fast for them.
_SMALL = 100
#: Columns that a sketch has beyond the ranks that it finds.
_SPARE = 10


def rounded_product(left: TensorTrain, right: TensorTrain, tolerance: float) -> TensorTrain:
    """`(left @ right).round(tolerance)` of two operators.

    Of large ranks by sketches, which grow until they have columns to spare at every bond: the error is then the stated
    one, with a probability next to one.

    Args:
        left: `[n, m]`, without a batch.
        right: `[m, k]`, without a batch.
        tolerance: relative, of the Frobenius norm; more than zero.
    """
    largest = max(r * s for r, s in zip(left.ranks, right.ranks, strict=True))
    if largest <= _SMALL:
        return (left @ right).round(tolerance)
    columns = _SMALL
    while columns < largest:
        sketched = _sketched_product(left, right, columns)
        rounded = sketched.round(tolerance)
        if _has_room(rounded, columns):
            return rounded
        columns *= 2
    return (left @ right).round(tolerance)


def _has_room(found: TensorTrain, columns: int) -> bool:
    """Whether no rank is bounded by the sketch, rather than by the tensor."""
    return max(found.ranks) + _SPARE <= columns


def _sketched_product(left: TensorTrain, right: TensorTrain, columns: int) -> TensorTrain:
    """The product projected from the left on the range of a random sketch of so many columns at every bond."""
    sketches = _sketches(left, right, columns)
    carry = left.cores[0].new_ones(1, 1, 1)  # from the new bond to those of left and right
    cores = []
    for a, b, sketch in zip(left.cores, right.cores, sketches, strict=True):
        through = torch.einsum("sab,anmc->sbnmc", carry, a)
        through = torch.einsum("sbnmc,bmkd->snkcd", through, b)
        if sketch is None:
            cores.append(through.flatten(-2))
            break
        matrix = through.flatten(3).flatten(0, 2)  # [s n k, c d]
        basis = torch.linalg.qr(matrix @ sketch.flatten(0, 1)).Q
        cores.append(basis.unflatten(0, through.shape[:3]))
        carry = (basis.mH @ matrix).unflatten(1, through.shape[3:])
    return TensorTrain(tuple(cores), operator=True)


def _sketches(left: TensorTrain, right: TensorTrain, columns: int) -> list[Tensor | None]:
    """What lies to the right of each core, times a random train: `[c, d, columns]`; none after the last core."""
    generator = torch.Generator(left.device).manual_seed(0)
    modes = [n * k for (n, _), (_, k) in zip(left.modes, right.modes, strict=True)]
    random = TensorTrain.random(modes, columns, generator=generator, dtype=left.dtype)
    sketch = left.cores[0].new_ones(1, 1, 1)
    found: list[Tensor | None] = [None]
    for a, b, core in reversed(list(zip(left.cores[1:], right.cores[1:], random.cores[1:], strict=True))):
        weights = core.unflatten(1, (a.shape[1], b.shape[2]))  # [l, n, k, l']
        through = torch.einsum("bmkd,cdt->bmkct", b, sketch)
        through = torch.einsum("bmkct,lnkt->bmcnl", through, weights)
        sketch = torch.einsum("anmc,bmcnl->abl", a, through)
        found.append(sketch)
    return found[::-1]
