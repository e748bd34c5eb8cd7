"""Cross approximation that adds one cross after the other where it is most wrong.

Savostyanov, "Quasioptimality of maximum-volume cross interpolation of tensors", Linear Algebra Appl. 458, 217 (2014).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sciten.tensor.decompose.cross.entries import Problem, along, joined
from sciten.tensor.decompose.cross.maxvol import Maxvol, Sweeps
from sciten.tensor.formats.tensor_train import TensorTrain

#: Turns from a column to a row and back in the search of a pivot.
_TURNS = 4


@dataclass(frozen=True)
class Greedy:
    """Pivots are added one by one, each where a search from random places finds the largest error.

    Where searches found nothing more and places fail all the same, sweeps as those of `Maxvol` take them in.

    With ranks r it takes of the order of r² n values for each mode, fewer than `Maxvol`, but in many small batches.

    Args:
        samples: random places where each search starts from the worst.
        max_sweeps: over all bonds, before it gives up; every sweep raises each rank by one at most.
    """

    samples: int = 64
    max_sweeps: int = 1000

    def begin(self, problem: Problem, places: Tensor) -> "_Crosses":
        """Start from places `[m, d]`, the first of which has an entry that is not zero."""
        return _Crosses(self, problem, places)


class _Crosses:
    """Index sets for every bond, and the values on them.

    Bond k lies before mode k, for k = 1..d - 1: `prefixes[k]` are `[r, k]`, `suffixes[k]` are `[r, d - k]`,
    `pivots[k]` the values where they meet, `[r, r]`; `blocks[k]` are the values along mode k, `[r, n, r']`.
    """

    def __init__(self, options: Greedy, problem: Problem, places: Tensor) -> None:
        self.options, self.problem, self.entries = options, problem, problem.entries
        self.sweeps = 0
        d = len(problem.shape)
        first = places[:1]
        self.prefixes = [first[:, :bond] for bond in range(d + 1)]
        self.suffixes = [first[:, bond:] for bond in range(d + 1)]
        value = self.entries(first)[:, None]
        self.pivots = [value] * d
        self.blocks = [
            self.entries.block(self._rows(mode), self.suffixes[mode + 1]).reshape(1, -1, 1)
            for mode in range(d)
        ]
        self.polishing: Sweeps | None = None

    def improve(self, failing: Tensor, cut: float) -> TensorTrain:
        """Sweep until no search finds an error above the cut; where places fail all the same, as `Maxvol` does."""
        if len(failing) or self.polishing is not None:
            return self._polished(failing, cut)
        bonds = range(1, len(self.problem.shape))
        found = True
        while found and self.sweeps < self.options.max_sweeps:
            grown = [self._search(bond, cut) for bond in bonds]
            found = any(grown)
            self.sweeps += 1
        return self._train()

    def _polished(self, failing: Tensor, cut: float) -> TensorTrain:
        """Pivots before and after a bond that are no longer nested would not interpolate: sweeps choose new ones."""
        if self.polishing is None:
            self.polishing = Sweeps(Maxvol(), self.problem, self.suffixes)
        train = self.polishing.improve(failing, cut)
        self.prefixes, self.suffixes = self.polishing.prefixes, self.polishing.suffixes
        self.sweeps += 1
        return train

    def _train(self) -> TensorTrain:
        cores = [
            _times_inverse(block.flatten(0, 1), self.pivots[mode + 1]).reshape(block.shape)
            for mode, block in enumerate(self.blocks[:-1])
        ]
        return TensorTrain((*cores, self.blocks[-1]))

    def _rows(self, mode: int) -> Tensor:
        return joined(self.prefixes[mode], along(self.problem.shape[mode], self.prefixes[mode]))

    def _columns(self, mode: int) -> Tensor:
        return joined(along(self.problem.shape[mode], self.suffixes[mode]), self.suffixes[mode + 1])

    def _search(self, bond: int, cut: float) -> bool:
        """Add the cross where the two modes beside a bond are most wrong; False where the error is below the cut."""
        if len(self.pivots[bond]) >= self.problem.max_rank:
            return False
        rows, columns = self._rows(bond - 1), self._columns(bond)
        left = _times_inverse(self.blocks[bond - 1].flatten(0, 1), self.pivots[bond])
        right = self.blocks[bond].flatten(1)
        place, column = self._worst_sample(rows, columns, left, right)
        for _ in range(_TURNS):
            down = self.entries.block(rows, columns[column : column + 1])[:, 0]
            errors = (down - left @ right[:, column]).abs()
            place, size = int(errors.argmax()), float(errors.max())
            across = self.entries.block(rows[place : place + 1], columns)[0]
            errors = (across - left[place] @ right).abs()
            if float(errors.max()) <= size:
                break
            column = int(errors.argmax())
        if size <= cut or not self._is_new(bond, rows[place], columns[column]):
            return False
        if float(errors.max()) > size:  # the last turn ended with a row
            down = self.entries.block(rows, columns[column : column + 1])[:, 0]
        self._add(bond, rows[place : place + 1], columns[column : column + 1], down, across)
        return True

    def _worst_sample(self, rows: Tensor, columns: Tensor, left: Tensor, right: Tensor) -> tuple[int, int]:
        generator = self.problem.generator
        i, j = (
            torch.randint(len(x), (self.options.samples,), generator=generator, device=generator.device)
            for x in (rows, columns)
        )
        values = self.entries(torch.cat([rows[i], columns[j]], 1))
        errors = (values - (left[i] * right[:, j].mT).sum(1)).abs()
        worst = int(errors.argmax())
        return int(i[worst]), int(j[worst])

    def _is_new(self, bond: int, prefix: Tensor, suffix: Tensor) -> bool:
        """Whether neither side is that of a pivot already, which rounding errors may suggest again."""
        known = (self.prefixes[bond] == prefix).all(1).any() | (self.suffixes[bond] == suffix).all(1).any()
        return not bool(known)

    def _add(self, bond: int, prefix: Tensor, suffix: Tensor, down: Tensor, across: Tensor) -> None:
        """A new pivot, with the values `down` all rows before it and `across` all columns after it."""
        row = self.entries.block(prefix, self.suffixes[bond])
        self.prefixes[bond] = torch.cat([self.prefixes[bond], prefix])
        column = self.entries.block(self.prefixes[bond], suffix)
        self.suffixes[bond] = torch.cat([self.suffixes[bond], suffix])
        self.pivots[bond] = torch.cat([torch.cat([self.pivots[bond], row]), column], 1)
        before, after = self.blocks[bond - 1], self.blocks[bond]
        self.blocks[bond - 1] = torch.cat([before, down.reshape(*before.shape[:2], 1)], 2)
        self.blocks[bond] = torch.cat([after, across.reshape(1, *after.shape[1:])])


def _times_inverse(matrix: Tensor, pivots: Tensor) -> Tensor:
    """`matrix @ inv(pivots)` through an orthonormal basis of both, in which the pivots are well conditioned.

    Args:
        matrix: `[m, r]`.
        pivots: `[r, r]`.
    """
    q = torch.linalg.qr(torch.cat([matrix, pivots])).Q
    found, singular = torch.linalg.solve_ex(q[len(matrix) :], q[: len(matrix)], left=False)
    if bool(singular):  # within the precision, pivots depend on each other
        return q[: len(matrix)] @ torch.linalg.pinv(q[len(matrix) :])
    return found
