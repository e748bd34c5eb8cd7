"""Cross approximation by submatrices of maximal volume.

Oseledets and Tyrtyshnikov, Linear Algebra Appl. 432, 70 (2010); ranks grow and shrink as in Savostyanov and Oseledets
(nDS 2011), of which this is a cheaper variant: from the columns of two neighbouring modes a random part is taken, not
all of them, where they are many.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sciten.tensor.decompose.cross.entries import Entries, Problem, along, joined, random_places
from sciten.tensor.formats.tensor_train import TensorTrain
from sciten.tensor.linalg import rank_within, svd

#: Entries of the coefficients are at most this, so that errors of what is interpolated are hardly magnified.
_DOMINANT = 1.05
_EXCHANGES = 200


@dataclass(frozen=True)
class Maxvol:
    """Alternating sweeps; each core is interpolated in rows of nearly maximal volume of an orthonormal basis.

    A sweep takes of the order of 2 r² n values for each mode, and ranks can double in it. The bases are cut by their
    singular values, and no submatrix of the values is inverted.

    Args:
        enrichment: columns taken beside those that are known and as many again from the neighbouring mode; half of
            them are anywhere.
        max_sweeps: in one direction or the other, before it gives up.
    """

    enrichment: int = 8
    max_sweeps: int = 60

    def begin(self, problem: Problem, places: Tensor) -> "Sweeps":
        """Start from places `[m, d]`."""
        return Sweeps(self, problem, _suffixes(places))


class Sweeps:
    """Sweeps to and fro. A sweep to the left is one to the right on the tensor with its modes reversed."""

    def __init__(self, options: Maxvol, problem: Problem, suffixes: list[Tensor]) -> None:
        self.options, self.problem = options, problem
        self.sweeps = 0
        self.reverse = False
        self.ahead = suffixes  # of the modes that the next sweep comes to
        self.prefixes, self.suffixes = _mirrored(suffixes), suffixes

    def improve(self, failing: Tensor, cut: float) -> TensorTrain:
        """One sweep."""
        entries, shape = self.problem.entries, self.problem.shape
        places = failing.flip(1) if self.reverse else failing
        lengths = shape[::-1] if self.reverse else shape
        prefixes = [places.new_zeros(1, 0)]
        cores = []
        for mode, n in enumerate(lengths[:-1]):
            rows = joined(prefixes[-1], along(n, places))
            columns = self._columns(lengths, mode + 1, places)
            basis = _basis(self._block(entries, rows, columns), cut, self.problem.max_rank)
            chosen, coefficients = maxvol(basis)
            cores.append(coefficients.reshape(len(prefixes[-1]), n, -1))
            prefixes.append(rows[chosen])
        rows = joined(prefixes[-1], along(lengths[-1], places))
        last = self._block(entries, rows, places.new_zeros(1, 0))
        cores.append(last.reshape(len(prefixes[-1]), lengths[-1], 1))
        if self.reverse:
            cores = [core.permute(2, 1, 0) for core in reversed(cores)]
        self.sweeps += 1
        found = [*prefixes, prefixes[0]]
        self.prefixes, self.suffixes = found, self.ahead
        if self.reverse:
            self.prefixes, self.suffixes = _mirrored(self.ahead), _mirrored(found)
        self.reverse = not self.reverse
        self.ahead = _mirrored(found)
        return TensorTrain(tuple(core.contiguous() for core in cores))

    def _block(self, entries: Entries, rows: Tensor, columns: Tensor) -> Tensor:
        if self.reverse:
            return entries.block(columns.flip(1), rows.flip(1)).mT
        return entries.block(rows, columns)

    def _columns(self, lengths: Sequence[int], mode: int, failing: Tensor) -> Tensor:
        """Indices of the modes from `mode` on: those known, failing ones, and new ones."""
        known = self.ahead[mode]
        generator = self.problem.generator
        nearby = joined(along(lengths[mode], known), self.ahead[mode + 1])
        room = len(known) + self.options.enrichment
        if len(nearby) > 2 * room:
            chosen = torch.randperm(len(nearby), generator=generator, device=generator.device)[:room]
            nearby = nearby[chosen]
        anywhere = random_places(lengths[mode:], (self.options.enrichment + 1) // 2, generator)
        return torch.unique(torch.cat([known, failing[:, mode:], nearby, anywhere]), dim=0)


def _suffixes(places: Tensor) -> list[Tensor]:
    """From each mode on, and nothing after the last one."""
    d = places.shape[1]
    return [torch.unique(places[:, mode:], dim=0) for mode in range(d)] + [places.new_zeros(1, 0)]


def _mirrored(sets: list[Tensor]) -> list[Tensor]:
    """Sets of prefixes as those of suffixes of the tensor with its modes reversed, and the other way round."""
    return [rows.flip(1) for rows in reversed(sets)]


def _basis(values: Tensor, cut: float, max_rank: int) -> Tensor:
    """An orthonormal basis of the columns of `[m, c]`, as far as they matter."""
    u, s, _ = svd(values)
    precision = torch.finfo(s.dtype).eps * max(values.shape) * float(s[0])
    return u[:, : min(rank_within(s, max(cut, precision)), max_rank)]


def maxvol(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of nearly maximal volume, and all rows as combinations of them with coefficients of at most about one.

    Goreinov, Oseledets, Savostyanov, Tyrtyshnikov and Zamarashkin, "How to find a good submatrix" (2010).

    Args:
        matrix: `[m, r]` of full column rank.

    Returns:
        Indices of rows, `[r]`, and coefficients `[m, r]`: `matrix = coefficients @ matrix[rows]`.
    """
    rows = _pivot_rows(matrix)
    coefficients = _combinations(matrix, rows)
    for _ in range(_EXCHANGES):
        place, column = divmod(int(coefficients.abs().argmax()), len(rows))
        pivot = coefficients[place, column].clone()
        if float(pivot.abs()) <= _DOMINANT:
            break
        rows[column] = place
        change = coefficients[place].clone()
        change[column] -= 1
        coefficients = coefficients - torch.outer(coefficients[:, column] / pivot, change)
    return rows, _combinations(matrix, rows)


def _combinations(matrix: Tensor, rows: Tensor) -> Tensor:
    return torch.linalg.solve(matrix[rows], matrix, left=False)


def _pivot_rows(matrix: Tensor) -> Tensor:
    """The rows that Gaussian elimination takes as pivots, which are independent."""
    order = list(range(len(matrix)))
    swaps = torch.linalg.lu_factor_ex(matrix).pivots.cpu() - 1
    for place, other in enumerate(swaps.tolist()):
        order[place], order[other] = order[other], order[place]
    return torch.tensor(order[: matrix.shape[1]], device=matrix.device)
