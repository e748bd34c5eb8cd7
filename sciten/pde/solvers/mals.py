"""The modified alternating linear scheme: two neighbouring cores at a time.

Holtz, Rohwedder and Schneider, The alternating linear scheme for tensor optimization in the tensor train format, SIAM
J. Sci. Comput. 34, A683 (2012); for eigenproblems it is the two-site density-matrix renormalisation group. Ranks follow
from the cut between the two cores, without any directions to be guessed.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde.solvers.amen import Alternation, AMEn
from sciten.pde.solvers.environments import Interface, OperatorCore, project_vector
from sciten.pde.solvers.local import LocalSystem
from sciten.pde.solvers.solution import Solution, require_options, require_system
from sciten.tensor import TensorTrain

#: Entries of the operator on two cores, beyond which they are not worked on together.
_LARGEST = 10**7


@dataclass(frozen=True)
class MALS:
    """The DMRG-type solver of linear systems: slower than `AMEn` for each sweep, and harder to mislead.

    Assumes what `AMEn` assumes, and short modes, such as bits: a step on two cores of n entries costs n times as much
    as one on a single core. Where it fails the residual stops falling, and the solution says so.

    Args:
        tolerance: of the true residual, ‖A x - b‖ ≤ tolerance ‖b‖.
        max_rank: of the solution.
        max_sweeps: over all pairs of cores.
        max_iterations: of GMRES in each local system.
        seed: of the random start.
        progress: whether to show a progress bar.
    """

    tolerance: float = 1e-8
    max_rank: int = 500
    max_sweeps: int = 50
    max_iterations: int = 200
    seed: int = 0
    progress: bool = False

    def __post_init__(self) -> None:
        require_options(self, "max_rank", "max_sweeps", "max_iterations")

    def _options(self) -> AMEn:
        return AMEn(
            tolerance=self.tolerance,
            max_rank=self.max_rank,
            max_sweeps=self.max_sweeps,
            max_iterations=self.max_iterations,
            seed=self.seed,
            progress=self.progress,
        )

    def solve(
        self, matrix: TensorTrain, right_side: TensorTrain, start: TensorTrain | None = None
    ) -> Solution:
        """Solve `matrix @ x = right_side`.

        Arguments and errors are those of `AMEn.solve`; also raises `ConfigError` where the operator on two neighbouring
        cores has too many entries.
        """
        require_system("MALS", matrix, right_side, start)
        for a, b in zip(matrix.cores, matrix.cores[1:], strict=False):
            entries = a.shape[0] * a.shape[1] * a.shape[2] * b.shape[1] * b.shape[2] * b.shape[3]
            if entries > _LARGEST:
                raise ConfigError(
                    f"MALS: expected short modes, got {tuple(a.shape)} beside {tuple(b.shape)}, whose product has "
                    f"{entries:,} entries; use AMEn, or split the modes into bits"
                )
        if len(matrix) == 1:
            return Alternation(self._options(), matrix, right_side, start, enriched=False, name="MALS").run()
        return _Pairs(self._options(), matrix, right_side, start).run()


class _Pairs(Alternation):
    """An alternation whose sweeps solve for two cores at once."""

    def __init__(
        self, options: AMEn, matrix: TensorTrain, right_side: TensorTrain, start: TensorTrain | None
    ) -> None:
        super().__init__(options, matrix, right_side, start, enriched=False, name="MALS")
        self.pairs = [
            (
                [_merged_operators(a, b) for a, b in zip(way.operator, way.operator[1:], strict=False)],
                [_merged(a, b) for a, b in zip(way.right_side, way.right_side[1:], strict=False)],
            )
            for way in self.directions
        ]

    def sweep(self) -> float:
        """Solve all pairs from the left, then turn around; the largest relative residual that one was met with."""
        way, (operators, right_sides) = self.directions[self.turn], self.pairs[self.turn]
        left = Interface.empty(self.x[0])
        worst = 0.0
        for k in range(len(self.x) - 1):
            right = self.rights[k + 1]
            system = LocalSystem(left.xx, operators[k], right.xx)
            goal = project_vector(left.xb, right_sides[k], right.xb)
            met, solved = self._solve(system, goal, _merged(self.x[k], self.x[k + 1]))
            worst = max(worst, met)
            self.x[k], self.x[k + 1] = self._split(system, goal, solved, len(self.x[k]))
            left = left.extended(way.operator[k], way.right_side[k], self.x[k])
            self.lefts[k + 1] = left
        self._turn_around()
        return worst

    def _split(self, system: LocalSystem, goal: Tensor, solved: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """Two cores of the least rank whose residual is as good as it needs to be, the first one orthonormal."""
        _, r, s = solved.shape
        matrix = solved.unflatten(0, (first, -1)).transpose(1, 2).reshape(first * r, -1)
        u, values, vh = torch.linalg.svd(matrix, full_matrices=False)
        norm = float(torch.linalg.vector_norm(goal))
        reached = float(torch.linalg.vector_norm(goal - system.apply(solved)))
        allowed = max(self._limit * norm, reached) / self.damping

        def cores(rank: int) -> tuple[Tensor, Tensor]:
            rest = values[:rank, None] * vh[:rank]
            return u[:, :rank].view(first, r, rank), rest.view(rank, -1, s).transpose(0, 1).contiguous()

        low, high = 0, min(len(values), self.options.max_rank)  # `high` serves, or has to
        while high - low > 1:
            middle = (low + high) // 2
            residual = goal - system.apply(_merged(*cores(middle)))
            low, high = (
                (low, middle) if float(torch.linalg.vector_norm(residual)) <= allowed else (middle, high)
            )
        return cores(high)


def _merged(a: Tensor, b: Tensor) -> Tensor:
    """Cores `[n, r, p]` and `[m, p, s]` as one, `[n m, r, s]`."""
    return (a.unsqueeze(1) @ b.unsqueeze(0)).flatten(0, 1)


def _merged_operators(a: OperatorCore, b: OperatorCore) -> OperatorCore:
    core = torch.einsum("RnmP,PklS->RnkmlS", a.dense, b.dense)
    return OperatorCore.of(core.flatten(3, 4).flatten(1, 2))
