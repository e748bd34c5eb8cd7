"""Alternating solvers of linear systems in tensor trains: AMEn and ALS.

Dolgov and Savostyanov, Alternating minimal energy methods for linear systems in higher dimensions, SIAM J. Sci. Comput.
36, A2248 (2014): each core in turn solves the system between its neighbours, is cut to the rank that its residual
needs, and is enlarged by directions of the residual of the whole system, which a short train z of its own follows.
Holtz, Rohwedder and Schneider, SIAM J. Sci. Comput. 34, A683 (2012), is the same with fixed ranks and without
directions (ALS).

What is minimised is the Galerkin residual, which for matrices far from Hermitian positive definite need not fall; the
true residual is computed before anything is called converged.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isfinite

import torch
from torch import Tensor
from tqdm import tqdm

from sciten.pde.solvers.environments import (
    Interface,
    OperatorCore,
    left_orthogonal,
    mirrored,
    mirrored_operator,
    mode_first,
    project,
    project_vector,
)
from sciten.pde.solvers.local import LocalSystem
from sciten.pde.solvers.solution import Solution, relative_residual, require_options, require_system
from sciten.tensor import TensorTrain

#: Local systems are solved, and their solutions cut, to this share of the tolerance of the whole.
_DAMPING = 0.5
#: Share of the tolerance to which a solution is rounded in the end; the residual is larger by the condition number.
_ROUNDING = 3e-3
#: A local system need not be solved better than by this factor, since the next sweep will change it.
_PROGRESS = 1e-3
#: Directions of the residual for each rank that a bond has: with a fixed number of them, solutions of high rank would
#: take many sweeps to grow, each as costly as the last.
_GROWTH = 0.3


@dataclass(frozen=True)
class AMEn:
    """Alternating minimal energy, for general operators of moderate rank.

    Assumes that Galerkin projections of the operator are invertible: so for positive definite ones and those dominated
    by diffusion; it often works for others. Costs for d cores of n entries, operator rank R and ranks r, for each
    iteration on a core about d (n r³ R + n² r² R²), less where the operator is sparse. Where it fails, the residual
    stops falling above the tolerance (ill-conditioned operators, too small a `max_rank`, strong advection), and the
    solution says so.

    Args:
        tolerance: of the true residual, ‖A x - b‖ ≤ tolerance ‖b‖.
        enrichment: how many directions of the residual each core is given at least; more where ranks are high.
        max_rank: of the solution.
        max_sweeps: over all cores.
        max_iterations: of GMRES in each local system.
        seed: of the random numbers that z begins with.
        progress: whether to show a progress bar.
    """

    tolerance: float = 1e-8
    enrichment: int = 4
    max_rank: int = 500
    max_sweeps: int = 50
    max_iterations: int = 200
    seed: int = 0
    progress: bool = False

    def __post_init__(self) -> None:
        require_options(self, "enrichment", "max_rank", "max_sweeps", "max_iterations")

    def solve(
        self, matrix: TensorTrain, right_side: TensorTrain, start: TensorTrain | None = None
    ) -> Solution:
        """Solve `matrix @ x = right_side`.

        Args:
            matrix: operator with equal row and column modes.
            right_side: vector.
            start: first guess; by default a random train of small rank.

        Raises:
            ConfigError: shapes do not fit, or entries are not finite.
        """
        require_system("AMEn", matrix, right_side, start)
        return Alternation(self, matrix, right_side, start).run()


@dataclass(frozen=True)
class ALS:
    """The alternating linear scheme: `AMEn` with fixed ranks and without enrichment, where the ranks are known.

    Cheaper than `AMEn` in each sweep. It stops at local minima: where the rank does not suffice, or the random start
    was unlucky, the solution says that it did not converge.

    Args:
        rank: of all bonds of the solution; bonds that cannot have so many are smaller.
        tolerance, max_sweeps, max_iterations, seed, progress: as of `AMEn`.
    """

    rank: int
    tolerance: float = 1e-8
    max_sweeps: int = 50
    max_iterations: int = 200
    seed: int = 0
    progress: bool = False

    def __post_init__(self) -> None:
        require_options(self, "rank", "max_sweeps", "max_iterations")

    def solve(
        self, matrix: TensorTrain, right_side: TensorTrain, start: TensorTrain | None = None
    ) -> Solution:
        """Solve `matrix @ x = right_side`; arguments and errors as those of `AMEn.solve`."""
        require_system("ALS", matrix, right_side, start)
        if start is None:
            start = random_train(right_side, self.rank, self.seed)
        amen = AMEn(
            tolerance=self.tolerance,
            max_rank=self.rank,
            max_sweeps=self.max_sweeps,
            max_iterations=self.max_iterations,
            seed=self.seed,
            progress=self.progress,
        )
        return Alternation(amen, matrix, right_side, start, enriched=False, name="ALS").run()


def random_train(like: TensorTrain, rank: int, seed: int) -> TensorTrain:
    """A random train with the shape, dtype and device of another; ranks as large as the shape allows, up to `rank`."""
    shape = like.shape
    bounds = [1] * (len(shape) + 1)
    for k in range(1, len(shape)):
        bounds[k] = min(rank, bounds[k - 1] * shape[k - 1])
    for k in reversed(range(1, len(shape))):
        bounds[k] = min(bounds[k], bounds[k + 1] * shape[k])
    generator = torch.Generator(like.device).manual_seed(seed)
    return TensorTrain.random(shape, bounds[1:-1], generator=generator, dtype=like.dtype)


@dataclass
class Direction:
    """The operator and the right side, seen from one end."""

    operator: list[OperatorCore]
    right_side: list[Tensor]


class Alternation:
    """The state of a run: cores, and what lies to the right of each of them, in the direction of the sweep.

    Args:
        options, matrix, right_side, start: of the solver and of `solve`.
        enriched: whether cores are given directions of the residual; without them there is no z.
        name: of the solver, for its progress bar.
    """

    def __init__(
        self,
        options: AMEn,
        matrix: TensorTrain,
        right_side: TensorTrain,
        start: TensorTrain | None,
        *,
        enriched: bool = True,
        name: str = "AMEn",
    ) -> None:
        dtype = torch.promote_types(matrix.dtype, right_side.dtype)
        if start is not None:
            dtype = torch.promote_types(dtype, start.dtype)
        self.options, self.name = options, name
        self.matrix, self.right_side = matrix.to(dtype=dtype), right_side.to(dtype=dtype)
        start = random_train(self.right_side, 2, options.seed) if start is None else start.to(dtype=dtype)
        self.start = start
        forward = Direction(
            [OperatorCore.of(core) for core in self.matrix.cores], mode_first(self.right_side.cores)
        )
        backward = Direction(mirrored_operator(forward.operator), mirrored(forward.right_side))
        # A sweep runs from the left; the first one begins after a pass without solving from the other end.
        self.directions = (forward, backward)
        self.turn = 1
        self.x = mirrored(mode_first(start.cores))
        self.z: list[Tensor] | None = None
        if enriched:
            z = random_train(self.right_side, options.enrichment, options.seed + 1)
            self.z = mirrored(mode_first(z.cores))
        self.damping = _DAMPING
        self.lefts: list[Interface] = []
        self.rights: list[Interface] = []
        self.norm = float(self.right_side.norm())
        self.generator = torch.Generator(self.right_side.device).manual_seed(options.seed)
        self._orthogonalise()

    def field(self) -> TensorTrain:
        """The solution so far."""
        cores = self.x if self.turn == 0 else mirrored(self.x)
        return TensorTrain(tuple(core.transpose(0, 1).contiguous() for core in cores))

    @torch.no_grad()
    def run(self) -> Solution:
        begun = time.perf_counter()
        if self.norm == 0:
            zero = self.right_side
            return Solution(zero, True, 0.0, time.perf_counter() - begun, 0, "the right side is zero")
        history: list[float] = []
        checks: list[float] = []
        best: tuple[float, TensorTrain] | None = None
        message = f"{self.options.max_sweeps} sweeps were not enough; allow more max_sweeps"
        with tqdm(total=self.options.max_sweeps, disable=not self.options.progress, desc=self.name) as bar:
            for sweep in range(self.options.max_sweeps):
                try:
                    history.append(self.sweep())
                except (OverflowError, torch.linalg.LinAlgError):
                    message = "numbers overflow; scale the operator and the right side to entries near one"
                    break
                bar.update()
                bar.set_postfix(residual=f"{history[-1]:.1e}", rank=max(len(c[0]) for c in self.x))
                last = sweep + 1 == self.options.max_sweeps
                if history[-1] > self.options.tolerance and not last and not stalled(history, 8):
                    continue
                residual, field = self._checked()
                checks.append(residual)
                if best is None or residual < best[0]:
                    best = (residual, field)
                if residual <= self.options.tolerance:
                    message = "the true residual is within the tolerance"
                    break
                if stalled(checks, 4) or stalled(history, 8):
                    message = self._failure(field)
                    break
                self.damping = max(1e-3, self.damping / 2)
        if best is None:
            best = relative_residual(self.matrix, self.start, self.right_side), self.start
        return Solution(
            field=best[1],
            converged=best[0] <= self.options.tolerance,
            residual=best[0],
            seconds=time.perf_counter() - begun,
            iterations=len(history),
            message=message,
            history=tuple(history),
        )

    def _checked(self) -> tuple[float, TensorTrain]:
        """The true residual; without the ranks that only the last directions added if that leaves it small."""
        field, most = self.field(), self.options.max_rank
        rounded = field.round(_ROUNDING * self.options.tolerance, rank=most)
        residual = relative_residual(self.matrix, rounded, self.right_side)
        if residual <= self.options.tolerance or rounded.ranks == field.ranks:
            return residual, rounded
        if max(field.ranks) > most:  # by directions of the residual
            field = field.round(0.0, rank=most)
        return relative_residual(self.matrix, field, self.right_side), field

    def _failure(self, field: TensorTrain) -> str:
        if max(field.ranks) >= self.options.max_rank:
            return f"the residual stopped falling at the largest rank, {self.options.max_rank}; allow a larger one"
        return (
            "the residual stopped falling: the operator may be too ill-conditioned for this tolerance, or far from "
            "positive definite; try a preconditioner, a larger tolerance, a better start, or ranks that grow otherwise"
        )

    # One sweep.

    def sweep(self) -> float:
        """Solve all cores from the left, then turn around; the largest relative residual that a core was met with."""
        way = self.directions[self.turn]
        left = Interface.empty(self.x[0])
        worst = 0.0
        last = len(self.x) - 1
        for k in range(last + 1):
            right = self.rights[k]
            system = LocalSystem(left.xx, way.operator[k], right.xx)
            goal = project_vector(left.xb, way.right_side[k], right.xb)
            met, solved = self._solve(system, goal, self.x[k])
            worst = max(worst, met)
            if k == last:
                self.x[k] = solved
                break
            basis, rest = self._cut(system, goal, solved)
            core, passed, direction = basis, rest, None
            if self.z is not None:
                core, passed = self._enlarged(k, left, system, basis, rest)
                direction = self.z[k] = self._direction(k, left, system, basis @ rest)
            self.x[k], self.x[k + 1] = core, passed @ self.x[k + 1]
            left = left.extended(way.operator[k], way.right_side[k], core, direction)
            self.lefts[k + 1] = left
        self._turn_around()
        return worst

    def _solve(self, system: LocalSystem, goal: Tensor, start: Tensor) -> tuple[float, Tensor]:
        """The relative residual before, and the solution."""
        norm = float(torch.linalg.vector_norm(goal))
        residual = goal - system.apply(start)
        # Where the projected right side is small, the whole one is the measure.
        met = float(torch.linalg.vector_norm(residual)) / max(norm, 1e-3 * self.norm)
        if met <= self._limit:
            return met, start
        limit = max(self._limit * norm, _PROGRESS * float(torch.linalg.vector_norm(residual)))
        if not isfinite(met):
            raise OverflowError(f"{self.name}: a residual is not finite")
        return met, system.solve(goal, start, limit, self.options.max_iterations)

    @property
    def _limit(self) -> float:
        return self.options.tolerance * self.damping / len(self.x) ** 0.5

    def _cut(self, system: LocalSystem, goal: Tensor, solved: Tensor) -> tuple[Tensor, Tensor]:
        """The solution as `[n, r, q] @ [q, s]` of the least rank whose residual is as good as it needs to be."""
        n, r, s = solved.shape
        u, values, vh = torch.linalg.svd(solved.reshape(n * r, s), full_matrices=False)
        most = min(len(values), self.options.max_rank)
        if self.z is None:
            return u[:, :most].view(n, r, most), values[:most, None] * vh[:most]
        rest = goal - system.apply(solved)
        norm, reached = (float(torch.linalg.vector_norm(t)) for t in (goal, rest))
        allowed = max(self._limit * norm, reached) / self.damping
        rank = system.rank_within(u.view(n, r, -1), values[:, None] * vh, rest, allowed, most)
        return u[:, :rank].view(n, r, rank), values[:rank, None] * vh[:rank]

    def _enlarged(
        self, k: int, left: Interface, system: LocalSystem, basis: Tensor, rest: Tensor
    ) -> tuple[Tensor, Tensor]:
        """An orthonormal core `[n, r, q']` with directions of the residual, and what goes to the next, `[q', s]`."""
        n, r, q = basis.shape
        way, right = self.directions[self.turn], self.rights[k]
        residual = project_vector(left.xb, way.right_side[k], right.zb) - project(
            left.xx, way.operator[k], right.zx, basis @ rest
        )
        both = torch.cat([basis, system.kronecker_sum.smoothed(residual)], -1).reshape(n * r, -1)
        orthonormal, triangular = torch.linalg.qr(both)
        return orthonormal.view(n, r, -1), triangular[:, :q] @ rest

    def _direction(self, k: int, left: Interface, system: LocalSystem, core: Tensor) -> Tensor:
        """The next core of z: the smoothed residual between its own neighbours, orthonormal."""
        way, right = self.directions[self.turn], self.rights[k]
        residual = project_vector(left.zb, way.right_side[k], right.zb) - project(
            left.zx, way.operator[k], right.zx, core
        )
        n, r, s = residual.shape
        found = system.kronecker_sum.smoothed(residual).reshape(n * r, s)
        wanted = min(n * r, max(self.options.enrichment, ceil(_GROWTH * self.x[k].shape[-1])))
        if wanted > s:  # random directions, which the next sweep turns into those of the residual
            scale = torch.linalg.vector_norm(found) / s**0.5
            more = torch.randn(
                n * r, wanted - s, generator=self.generator, dtype=found.dtype, device=found.device
            )
            found = torch.cat([found, more * scale], -1)
        u, _, _ = torch.linalg.svd(found, full_matrices=False)
        return u[:, :wanted].view(n, r, -1)

    # Changing direction.

    def _turn_around(self) -> None:
        """Mirror everything, so that what was to the left is to the right."""
        self.x = mirrored(self.x)
        self.z = None if self.z is None else mirrored(self.z)
        self.turn = 1 - self.turn
        count = len(self.x)
        self.rights = [self.lefts[count - 1 - k] for k in range(count)]
        self.lefts = [Interface.empty(self.x[0])] * count

    def _orthogonalise(self) -> None:
        """Make all cores but the last orthonormal and turn around."""
        self.x = left_orthogonal(self.x)
        self.z = None if self.z is None else left_orthogonal(self.z)
        way = self.directions[self.turn]
        self.lefts = [Interface.empty(self.x[0])]
        for k in range(len(self.x) - 1):
            direction = None if self.z is None else self.z[k]
            self.lefts.append(
                self.lefts[k].extended(way.operator[k], way.right_side[k], self.x[k], direction)
            )
        self._turn_around()


def stalled(values: Sequence[float], count: int) -> bool:
    """Whether the last `count` numbers brought no progress over those before."""
    return len(values) > count and min(values[-count:]) > 0.9 * min(values[:-count])
