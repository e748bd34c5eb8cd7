"""Which ranks a Tucker decomposition should have, where its size is limited.

Ghadiri, Fahrbach, Fu and Mirrokni, "Approximately optimal core shapes for tensor decompositions" (ICML 2023). Cutting
mode k to rank r costs at most the squares of its higher-order singular values beyond the r-th; the sum over the modes,
which bounds the squared error of the HOSVD, is minimised subject to the numbers in core and factors,
r_1 ... r_d + n_1 r_1 + ... + n_d r_d ≤ budget. The sum is at most d times the least squared error of those ranks.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from math import log, prod
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.decompose.svd import hosvd
from sciten.tensor.formats.tucker import Tucker

Ranks = tuple[int, ...]

#: What the largest error is scaled to, so that the solver's absolute gap of 1e-6 is small beside it.
_SCALE = 1e3


@dataclass(frozen=True)
class CoreShape:
    """Ranks for a Tucker decomposition.

    Args:
        ranks: of each mode.
        size: numbers in the core and the factors.
        bound: of the squared error, the sum over the modes of the squares of the singular values that are cut.
    """

    ranks: Ranks
    size: int
    bound: float

    def decompose(self, tensor: Tensor) -> Tucker:
        """The HOSVD with these ranks; its squared error is within the bound.

        Raises:
            ConfigError: the tensor has another number of modes, or entries that are not finite.
        """
        return hosvd(tensor, 0.0, ranks=self.ranks, sequential=False)


class Knapsack(NamedTuple):
    """What is minimised: `tails[k][r - 1]` is the cost of rank r in mode k, `lengths[k]` the numbers that it takes."""

    tails: tuple[np.ndarray, ...]
    lengths: tuple[int, ...]
    budget: int

    def size(self, ranks: Ranks) -> int:
        """Numbers in the core and the factors."""
        return prod(ranks) + self.length(ranks)

    def length(self, ranks: Ranks) -> int:
        """Numbers in the factors."""
        return sum(n * r for n, r in zip(self.lengths, ranks, strict=True))

    def cost(self, ranks: Ranks) -> float:
        """The squares of what is cut, from the least to the largest so that none is lost."""
        return float(sum(sorted(tail[r - 1] for tail, r in zip(self.tails, ranks, strict=True))))


class Method(Protocol):
    """A way of choosing ranks."""

    def choose(self, problem: Knapsack) -> Ranks:
        """Ranks within the budget; all of one are."""
        ...


@dataclass(frozen=True)
class GreedyRanks:
    """One rank after the other is raised, where it gains most for the numbers it takes."""

    def choose(self, problem: Knapsack) -> Ranks:
        """Ranks within the budget."""
        ranks = (1,) * len(problem.lengths)
        while steps := list(_steps(problem, ranks)):
            gain, better = max(steps)
            if gain <= 0:
                break
            ranks = better
        return ranks


def _steps(problem: Knapsack, ranks: Ranks) -> Iterator[tuple[float, Ranks]]:
    """Gain for each number and ranks, of every way of raising one rank within the budget."""
    for mode, (tail, r) in enumerate(zip(problem.tails, ranks, strict=True)):
        better = (*ranks[:mode], r + 1, *ranks[mode + 1 :])
        if r < len(tail) and problem.size(better) <= problem.budget:
            yield (tail[r - 1] - tail[r]) / (problem.size(better) - problem.size(ranks)), better


@dataclass(frozen=True)
class ExactRanks:
    """The best ranks, by integer linear programs (`scipy.optimize.milp`).

    With a binary number for every rank of every mode, the numbers in the factors are linear and so is the logarithm of
    that of the core. For cores of `low` to `high` numbers, the program with r_1 ... r_d ≤ high and
    n_1 r_1 + ... ≤ budget - low is a relaxation. Where its solution does not fit into the budget, the interval is cut
    in two so that neither half admits it (branch and bound, the lowest cost first); and as nothing larger fits either,
    a linear inequality excludes all of that everywhere. The start is what `GreedyRanks` finds: ranks that cost more in
    a single mode are left out, and the result is never worse.

    Exact to 1e-9 of the greedy bound, the gap that is left to the solver.
    """

    def choose(self, problem: Knapsack) -> Ranks:
        """Ranks within the budget."""
        return _BranchAndBound(problem).run()


def core_shape(
    singular_values: Sequence[Tensor],
    budget: int,
    *,
    shape: Sequence[int] | None = None,
    method: Method | None = None,
) -> CoreShape:
    """Ranks whose Tucker decomposition has at most `budget` numbers, and loses as little as possible.

    Args:
        singular_values: of the unfolding along each mode, `[m_k]`, descending, as `higher_order_singular_values` gives
            them; the largest rank of a mode is m_k.
        budget: numbers in the core and the factors.
        shape: of the tensor; by default the m_k.
        method: `ExactRanks()` by default, or `GreedyRanks()`.

    Raises:
        ConfigError: even ranks of one exceed the budget, or singular values are none.
    """
    lengths = tuple(len(s) for s in singular_values) if shape is None else tuple(shape)
    if not lengths or len(lengths) != len(singular_values):
        raise ConfigError(
            f"core_shape: expected singular values of each of {len(lengths)} modes, got {len(singular_values)}"
        )
    problem = Knapsack(
        tuple(_tails(s, n) for s, n in zip(singular_values, lengths, strict=True)), lengths, budget
    )
    least = problem.size((1,) * len(lengths))
    if budget < least:
        raise ConfigError(
            f"core_shape: expected a budget of at least {least}, the size of rank one for shape {lengths}, got {budget}"
        )
    ranks = (ExactRanks() if method is None else method).choose(problem)
    return CoreShape(ranks, problem.size(ranks), problem.cost(ranks))


def higher_order_singular_values(tensor: Tensor) -> list[Tensor]:
    """Singular values of the unfolding along each mode of a full tensor, descending, `[min(n_k, others)]` each."""
    return [
        torch.linalg.svdvals(tensor.movedim(mode, 0).reshape(n, -1)) for mode, n in enumerate(tensor.shape)
    ]


def _tails(singular_values: Tensor, length: int) -> np.ndarray:
    s = singular_values.detach().cpu().double().numpy()
    if (
        s.ndim != 1
        or not 1 <= len(s) <= length
        or not np.isfinite(s).all()
        or (np.diff(s) > 0).any()
        or s[-1] < 0
    ):
        raise ConfigError(
            f"core_shape: expected 1 to {length} finite singular values of a mode of length {length}, descending, got "
            f"{singular_values!r:.80}"
        )
    kept = np.cumsum(np.square(s[::-1]))[::-1]
    return np.append(kept[1:], 0.0)


class _Node(NamedTuple):
    """Cores of `low` to `high` numbers, and the best ranks of the relaxation."""

    cost: float
    order: int  # so that nodes of equal cost are told apart
    low: int
    high: int
    ranks: Ranks


class _BranchAndBound:
    def __init__(self, problem: Knapsack) -> None:
        self.problem = problem
        self.best = GreedyRanks().choose(problem)
        self.scale = problem.cost(self.best)
        self.order = count()
        self.nodes: list[_Node] = []
        self.excluded: list[Ranks] = []
        # Tails descend: ranks below these cost more than the greedy ones by their mode alone.
        self.least = tuple(int((tail > self.scale).sum()) + 1 for tail in problem.tails)
        self.most = tuple(self._most(mode) for mode in range(len(problem.lengths)))

    def _most(self, mode: int) -> int:
        """The largest rank that fits beside the least ones of the other modes."""
        others = self.problem.size((*self.least[:mode], 0, *self.least[mode + 1 :]))
        each = prod(self.least) // self.least[mode] + self.problem.lengths[mode]
        return min(len(self.problem.tails[mode]), (self.problem.budget - others) // each)

    def run(self) -> Ranks:
        if self.scale == 0:
            return self.best
        self._push(prod(self.least), self.problem.budget - self.problem.length(self.least))
        while self.nodes:
            node = heapq.heappop(self.nodes)
            if node.cost >= self.problem.cost(self.best):
                break
            self._branch(node)
        return self.best

    def _branch(self, node: _Node) -> None:
        """Two intervals of core sizes, neither of which admits the ranks of the node."""
        core, room = prod(node.ranks), self.problem.budget - self.problem.length(node.ranks)
        # From `room + 1` on the factors of these ranks leave too little room, and below `core` the core is too small.
        cut = (room + 1 + core) // 2
        self._push(node.low, min(cut - 1, node.high))
        self._push(max(cut, node.low), node.high)

    def _push(self, low: int, high: int) -> None:
        """Solve the relaxation of an interval, and keep it where it may hold something better."""
        if low > high:
            return
        found = self._relaxed(low, high)
        if found is None:
            return
        cost = self.problem.cost(found)
        if cost >= self.problem.cost(self.best):
            return
        if self.problem.size(found) <= self.problem.budget:
            self.best = found
            return
        self.excluded.append(found)
        heapq.heappush(self.nodes, _Node(cost, next(self.order), low, high, found))

    def _relaxed(self, low: int, high: int) -> Ranks | None:
        """The best ranks with cores of at most `high` numbers, and factors that leave room for `low`."""
        from scipy.optimize import Bounds, LinearConstraint, milp  # slow to import

        choices = [(k, r) for k in range(len(self.least)) for r in range(self.least[k], self.most[k] + 1)]
        modes, ranks = np.array(choices).T
        costs = np.array([self.problem.tails[k][r - 1] for k, r in choices]) * (_SCALE / self.scale)
        lengths = np.array(self.problem.lengths)[modes] * ranks
        one_each = (modes[None] == np.arange(len(self.least))[:, None]).astype(float)
        weight = min(high, 1e4)
        rows: list[tuple[Any, float]] = [
            (lengths, self.problem.budget - low),
            # Between log(high) and log(high + 1), scaled so that the solver tells them apart.
            (weight * np.log(ranks), weight * log(high + 0.5)),
        ]
        rows += [((ranks >= np.array(bad)[modes]), len(bad) - 1) for bad in self.excluded]
        matrix = np.array([row for row, _ in rows], dtype=float)
        solution = milp(
            costs,
            integrality=np.ones(len(choices)),
            bounds=Bounds(0, 1),
            constraints=[
                LinearConstraint(one_each, 1, 1),
                LinearConstraint(matrix, -np.inf, [most for _, most in rows]),
            ],
            options={"mip_rel_gap": 0.0},
        )
        if solution.x is None:
            return None
        chosen = solution.x > 0.5
        return tuple(int(ranks[chosen & (modes == k)][0]) for k in range(len(self.least)))
