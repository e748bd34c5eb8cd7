"""Lowest eigenstates of Hermitian operators in tensor trains.

The density-matrix renormalisation group (White, Phys. Rev. Lett. 69, 2863 (1992)) with one core at a time and
directions of the residual for its ranks to grow by (Dolgov, Khoromskij, Oseledets and Savostyanov, Comput. Phys.
Commun. 185, 1207 (2014); Hubig, McCulloch, Schollwöck and Wolf, Phys. Rev. B 91, 155115 (2015)). Local eigenproblems go
to Davidson's method with the inverse of the nearest Kronecker sum. States that were found are shifted out of the way of
the next.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from sciten.errors import ConfigError
from sciten.pde.solvers.amen import random_train, stalled
from sciten.pde.solvers.environments import (
    Interface,
    OperatorCore,
    extend_vector,
    left_orthogonal,
    mirrored,
    mirrored_operator,
    mode_first,
    project,
    project_vector,
)
from sciten.pde.solvers.local import LocalSystem
from sciten.pde.solvers.solution import require_options, require_system
from sciten.tensor import TensorTrain

#: Local eigenproblems of at most so many unknowns are diagonalised.
_DIRECT = 200


@dataclass(frozen=True)
class Eigenstate:
    """An eigenvector of unit norm in a tensor train.

    Args:
        energy: the Rayleigh quotient; an eigenvalue lies within `residual` of it.
        field: the state.
        converged: whether `residual` is at most the tolerance times the largest of |energy| and 1.
        residual: ‖H x - energy x‖.
        seconds: wall time.
        iterations: sweeps.
        message: what stopped it and, after a failure, what to try.
        history: energies after each sweep.
    """

    energy: float
    field: TensorTrain
    converged: bool
    residual: float
    seconds: float
    iterations: int
    message: str
    history: tuple[float, ...]

    @property
    def ranks(self) -> tuple[int, ...]:
        """Of the field."""
        return self.field.ranks


@dataclass(frozen=True)
class DMRG:
    """Lowest eigenstates by alternating optimisation of cores.

    Assumes a Hermitian operator whose lowest states have moderate ranks. A sweep costs for each core some ten products
    of the operator with it, n r³ R + n² r² R² operations each. It may end in a higher state where the start has no
    overlap with the lowest or gaps are tiny: the residual then is small too, and only another start or seed shows it.

    Args:
        tolerance: of the true residual, relative to the larger of |energy| and 1.
        enrichment: directions of the residual that each core is given.
        max_rank: of the state.
        max_sweeps: over all cores.
        seed: of the random start.
        follow: whether to look for the state nearest to the start in place of the lowest one (DMRG-X; Khemani,
            Pollmann and Sondhi, Phys. Rev. Lett. 116, 247204 (2016)), such as one in a well that is not the deepest.
        progress: whether to show a progress bar.
    """

    tolerance: float = 1e-6
    enrichment: int = 4
    max_rank: int = 200
    max_sweeps: int = 60
    seed: int = 0
    follow: bool = False
    progress: bool = False

    def __post_init__(self) -> None:
        require_options(self, "enrichment", "max_rank", "max_sweeps")

    @torch.no_grad()
    def lowest(
        self, operator: TensorTrain, n_states: int = 1, start: TensorTrain | None = None
    ) -> list[Eigenstate]:
        """The states of lowest energy, one after the other.

        Args:
            operator: Hermitian, with equal row and column modes.
            n_states: how many.
            start: first guess for the first state, of the operator's dtype; by default its mean field.

        Raises:
            ConfigError: the operator is not Hermitian or has entries that are not finite, or shapes do not fit.
        """
        require_system("DMRG", operator, None, start)
        if n_states < 1:
            raise ConfigError(f"DMRG: expected at least one state, got {n_states}")
        if self.follow and (start is None or n_states > 1):
            raise ConfigError(
                f"DMRG: to follow a state expects its start and one state, got {n_states}, {start!r}"
            )
        size = float(operator.norm())
        if float((operator - operator.mH).norm()) > 1e-12 * size:
            raise ConfigError("DMRG: expected a Hermitian operator")
        if start is None:
            start = mean_field(operator)
        elif start.dtype != operator.dtype:
            raise ConfigError(f"DMRG: expected a start of dtype {operator.dtype}, got {start.dtype}")
        found: list[Eigenstate] = []
        first: TensorTrain | None = start
        for _ in range(n_states):
            state = _Search(self, operator, first, [one.field for one in found], size).run()
            found.append(state)
            first = None  # a random one: the next states are orthogonal to the first
        return sorted(found, key=lambda state: state.energy)


class _Search:
    """The state of one run; `rights` is what lies to the right of each core in the direction of the sweep."""

    def __init__(
        self,
        options: DMRG,
        operator: TensorTrain,
        start: TensorTrain | None,
        below: Sequence[TensorTrain],
        size: float,
    ) -> None:
        self.options, self.operator, self.below = options, operator, below
        like = TensorTrain.zeros([n for n, _ in operator.modes], dtype=operator.dtype, device=operator.device)
        start = random_train(like, 4, options.seed + len(below)) if start is None else start
        # Found states are lifted above everything else that the search may meet on its way.
        self.shift = size if below else 0.0
        forward = [OperatorCore.of(core) for core in operator.cores]
        self.operators = (forward, mirrored_operator(forward))
        # Overlaps are kept with the states to be lifted, or with the one to be followed.
        states = [mode_first(one.cores) for one in ([start] if options.follow else below)]
        self.states = (states, [mirrored(one) for one in states])
        self.turn = 1
        self.x = mirrored(mode_first(start.to(dtype=operator.dtype).cores))
        self.z = mirrored(mode_first(random_train(like, options.enrichment, options.seed + 99).cores))
        self.energy = float("nan")
        self._begin()

    def run(self) -> Eigenstate:
        begun = time.perf_counter()
        history: list[float] = []
        residuals: list[float] = []
        message = f"{self.options.max_sweeps} sweeps were not enough; allow more max_sweeps"
        best: tuple[float, float, TensorTrain] | None = None
        with tqdm(total=self.options.max_sweeps, disable=not self.options.progress, desc="DMRG") as bar:
            for _ in range(self.options.max_sweeps):
                met = self.sweep()
                history.append(self.energy)
                bar.update()
                bar.set_postfix(energy=f"{self.energy:.10g}", residual=f"{met:.1e}")
                limit = self.options.tolerance * max(1.0, abs(self.energy))
                if met > limit and len(history) < self.options.max_sweeps and not _settled(history):
                    continue
                field = self.field()
                energy, residual = rayleigh(self.operator, field)
                residuals.append(residual)
                if best is None or residual < best[0]:
                    best = (residual, energy, field)
                if residual <= limit:
                    message = "the true residual is within the tolerance"
                    break
                if stalled(residuals, 4):
                    message = "the residual stopped falling; allow a larger max_rank or tolerance, or more enrichment"
                    break
        assert best is not None
        residual, energy, field = best
        converged = residual <= self.options.tolerance * max(1.0, abs(energy))
        seconds = time.perf_counter() - begun
        return Eigenstate(energy, field, converged, residual, seconds, len(history), message, tuple(history))

    def field(self) -> TensorTrain:
        """The state so far, of unit norm."""
        cores = self.x if self.turn == 0 else mirrored(self.x)
        train = TensorTrain(tuple(core.transpose(0, 1).contiguous() for core in cores))
        return train / train.norm()

    def sweep(self) -> float:
        """Optimise all cores from the left, then turn around; the largest residual that a core was met with."""
        operator, states = self.operators[self.turn], self.states[self.turn]
        left = Interface.empty(self.x[0])
        overlaps = [self.x[0].new_ones(1, 1) for _ in states]
        worst, last = 0.0, len(self.x) - 1
        for k in range(last + 1):
            right = self.rights[k]
            lifted = [
                project_vector(overlap, state[k], other)
                for overlap, state, other in zip(overlaps, states, self.right_overlaps[k], strict=True)
            ]
            system = LocalSystem(left.xx, operator[k], right.xx)
            met, self.energy, solved = self._lowest(system, lifted, self.x[k])
            worst = max(worst, met)
            if k == last:
                self.x[k] = solved
                break
            core, passed = self._enlarged(left, right, operator[k], solved)
            residual = project(left.zx, operator[k], right.zx, solved) - self.energy * project_vector(
                left.zb, solved, right.zb
            )
            n, r, s = residual.shape
            u, _, _ = torch.linalg.svd(residual.reshape(n * r, s), full_matrices=False)
            self.x[k], self.x[k + 1] = core, passed @ self.x[k + 1]
            self.z[k] = u[:, : self.options.enrichment].view(n, r, -1)
            left = left.extended(operator[k], core, core, self.z[k])
            overlaps = [
                extend_vector(overlap, state[k], core)
                for overlap, state in zip(overlaps, states, strict=True)
            ]
            self.lefts[k + 1], self.left_overlaps[k + 1] = left, overlaps
        self._turn_around()
        return worst

    def _lowest(
        self, system: LocalSystem, lifted: Sequence[Tensor], start: Tensor
    ) -> tuple[float, float, Tensor]:
        """The residual before, and the lowest eigenpair of the local operator."""

        target = lifted[0] if self.options.follow else None

        def apply(x: Tensor) -> Tensor:
            found = system.apply(x)
            for state in lifted if target is None else ():
                found = found + self.shift * torch.sum(state.conj() * x) * state
            return found

        start = start / torch.linalg.vector_norm(start)
        image = apply(start)
        energy = torch.sum(start.conj() * image).real
        met = float(torch.linalg.vector_norm(image - energy * start))
        if start.numel() <= _DIRECT:
            matrix = system.dense()
            for state in lifted if target is None else ():
                flat = state.reshape(-1)
                matrix = matrix + self.shift * flat[:, None] * flat.conj()
            values, vectors = torch.linalg.eigh((matrix + matrix.mH) / 2)
            place = _chosen(vectors, target)
            return met, float(values[place]), vectors[:, place].reshape(start.shape)
        limit = 0.1 * self.options.tolerance * max(1.0, abs(float(energy)))
        inverse = system.kronecker_sum.inverse(float(energy))
        value, vector = davidson(apply, start, inverse, limit, target=target)
        return met, value, vector

    def _enlarged(
        self, left: Interface, right: Interface, operator: OperatorCore, solved: Tensor
    ) -> tuple[Tensor, Tensor]:
        """An orthonormal core with directions of the residual, and what goes to the next."""
        n, r, s = solved.shape
        u, values, vh = torch.linalg.svd(solved.reshape(n * r, s), full_matrices=False)
        tails = values.square().flip(0).cumsum(0).flip(0).sqrt()
        # Errors of the state enter the residual multiplied by the norm of the operator, which is not known locally; the
        # energy is far more accurate than the state.
        needed = int((tails > 1e-2 * self.options.tolerance / len(self.x) ** 0.5).sum())
        q = max(1, min(needed, self.options.max_rank))
        rest = values[:q, None] * vh[:q]
        basis = u[:, :q].view(n, r, q)
        cut = basis @ rest
        towards = project(left.xx, operator, right.zx, cut) - self.energy * project_vector(
            left.xb, cut, right.zb
        )
        orthonormal, triangular = torch.linalg.qr(torch.cat([basis, towards], -1).reshape(n * r, -1))
        return orthonormal.view(n, r, -1), triangular[:, :q] @ rest

    def _turn_around(self) -> None:
        self.x, self.z = mirrored(self.x), mirrored(self.z)
        self.turn = 1 - self.turn
        count = len(self.x)
        self.rights = [self.lefts[count - 1 - k] for k in range(count)]
        self.right_overlaps = [self.left_overlaps[count - 1 - k] for k in range(count)]
        self._clear()

    def _clear(self) -> None:
        count = len(self.x)
        self.lefts = [Interface.empty(self.x[0])] * count
        self.left_overlaps = [[self.x[0].new_ones(1, 1) for _ in self.states[0]]] * count

    def _begin(self) -> None:
        """Make all cores but the last orthonormal and turn around."""
        self.x, self.z = left_orthogonal(self.x), left_orthogonal(self.z)
        operator, states = self.operators[self.turn], self.states[self.turn]
        self._clear()
        for k in range(len(self.x) - 1):
            core = self.x[k]
            self.lefts[k + 1] = self.lefts[k].extended(operator[k], core, core, self.z[k])
            self.left_overlaps[k + 1] = [
                extend_vector(overlap, state[k], core)
                for overlap, state in zip(self.left_overlaps[k], states, strict=True)
            ]
        self._turn_around()


def mean_field(operator: TensorTrain) -> TensorTrain:
    """The product of the lowest eigenvectors of the means over all other modes, of unit norm.

    A start with the symmetry that ground states mostly have; from a random one a search may end in the lowest state of
    another symmetry.
    """
    means = [core.diagonal(dim1=1, dim2=2).mean(-1) for core in operator.cores]  # [R, R']
    after = [means[0].new_ones(1)]
    for mean in reversed(means[1:]):
        after.append(mean @ after[-1])
    before = means[0].new_ones(1)
    factors = []
    for core, mean, right in zip(operator.cores, means, reversed(after), strict=True):
        own = torch.einsum("R,RnmS,S->nm", before, core, right)
        factors.append(torch.linalg.eigh((own + own.mH) / 2).eigenvectors[:, 0])
        before = before @ mean
    return TensorTrain.rank_one(factors)


def rayleigh(operator: TensorTrain, field: TensorTrain) -> tuple[float, float]:
    """The Rayleigh quotient of a state of unit norm, and the norm of H x - energy x."""
    image = operator @ field
    energy = float(field.inner(image).real)
    return energy, float((image - field * energy).norm())


def davidson(
    matrix: Callable[[Tensor], Tensor],
    start: Tensor,
    preconditioner: Callable[[Tensor], Tensor],
    tolerance: float,
    max_iterations: int = 60,
    restart: int = 20,
    *,
    target: Tensor | None = None,
) -> tuple[float, Tensor]:
    """The lowest eigenpair of a Hermitian map, to a residual of at most `tolerance` if that can be reached.

    Davidson, J. Comput. Phys. 17, 87 (1975).

    Args:
        matrix, preconditioner: maps of tensors as `start`.
        start: of any shape.
        tolerance: norm of the residual of the unit vector.
        max_iterations: products with the matrix.
        restart: vectors that are kept.
        target: of which the nearest pair is taken in place of the lowest.
    """
    shape = start.shape
    basis = (start / torch.linalg.vector_norm(start)).reshape(1, -1)
    images = matrix(start.reshape(shape)).reshape(1, -1) / torch.linalg.vector_norm(start)
    value, vector = 0.0, basis[0]
    for _ in range(max_iterations):
        small = basis.conj() @ images.mT
        values, vectors = torch.linalg.eigh((small + small.mH) / 2)
        place = _chosen(basis.mT @ vectors, target)
        value, along = float(values[place]), vectors[:, place]
        vector, image = along @ basis, along @ images
        residual = image - value * vector
        if float(torch.linalg.vector_norm(residual)) <= tolerance:
            break
        if len(basis) >= restart:
            basis, images = vector[None], image[None]
        new = preconditioner(residual.view(shape)).reshape(-1)
        for _ in range(2):
            new = new - (basis.conj() @ new) @ basis
        length = torch.linalg.vector_norm(new)
        if not bool(length > 0):
            break
        new = new / length
        basis = torch.cat([basis, new[None]])
        images = torch.cat([images, matrix(new.view(shape)).reshape(1, -1)])
    return value, (vector / torch.linalg.vector_norm(vector)).view(shape)


def _chosen(vectors: Tensor, target: Tensor | None) -> int:
    """Which of the columns, in the order of their eigenvalues: the first, or that nearest to a target."""
    return 0 if target is None else int((target.reshape(-1).conj() @ vectors).abs().argmax())


def _settled(energies: Sequence[float]) -> bool:
    """Whether the last sweeps left the energy as it was, to the precision."""
    if len(energies) < 4:
        return False
    last = energies[-3:]
    return max(last) - min(last) <= 1e-13 * max(1.0, abs(last[-1]))
