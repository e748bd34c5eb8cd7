"""Lowest eigenstates of Hermitian operators in tensor trains.

The density-matrix renormalisation group (White, Phys. Rev. Lett. 69, 2863 (1992)) with one core at a time and
directions of the residual for its ranks to grow by (Dolgov, Khoromskij, Oseledets and Savostyanov, Comput. Phys.
Commun. 185, 1207 (2014); Hubig, McCulloch, Schollwöck and Wolf, Phys. Rev. B 91, 155115 (2015)). Local eigenproblems go
to Davidson's method with the inverse of the nearest Kronecker sum. Several states are found together, as a block whose
index moves along with the core that is solved for (the paper of 2014): no state has to be shifted out of the way of the
next, and none is passed over where a core of the block sees a lower one.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, prod

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

    Assumes a Hermitian operator whose lowest states have moderate ranks. A sweep costs for each core and state some ten
    products of the operator with it, n r³ R + n² r² R² operations each, where r is what all states together need. It
    may end in a higher state where the start has no overlap with the lowest or gaps are tiny: the residual then is
    small too, and only another start, or asking for more states, shows it.

    Args:
        tolerance: of the true residual, relative to the larger of |energy| and 1.
        enrichment: directions of the residual that each core is given; one more for each further state.
        max_rank: of the states together.
        max_sweeps: over all cores.
        seed: of the random directions that it begins with.
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
        """The states of lowest energy, which are orthogonal to each other, in the order of their energies.

        Args:
            operator: Hermitian, with equal row and column modes.
            n_states: how many.
            start: first guess for the first state, of the operator's dtype; by default its mean field.

        Raises:
            ConfigError: the operator is not Hermitian or has entries that are not finite, shapes do not fit, or there
                are not so many states, at all or of `max_rank`.
        """
        require_system("DMRG", operator, None, start)
        if n_states < 1:
            raise ConfigError(f"DMRG: expected at least one state, got {n_states}")
        if self.follow and (start is None or n_states > 1):
            raise ConfigError(
                f"DMRG: to follow a state expects its start and one state, got {n_states}, {start!r}"
            )
        if float((operator - operator.mH).norm()) > 1e-12 * float(operator.norm()):
            raise ConfigError("DMRG: expected a Hermitian operator")
        sizes = [n for n, _ in operator.modes]
        if n_states > min(prod(sizes), self.max_rank * sizes[0], self.max_rank * sizes[-1]):
            raise ConfigError(
                f"DMRG: expected no more states than there are on {sizes} at ranks of {self.max_rank}, got {n_states}"
            )
        if start is None:
            start = mean_field(operator)
        elif start.dtype != operator.dtype:
            raise ConfigError(f"DMRG: expected a start of dtype {operator.dtype}, got {start.dtype}")
        return _Search(self, operator, start, n_states).run()


@dataclass(frozen=True, eq=False)
class _Found:
    """States at some time of a run: each with its energy and the norm of H x - energy x."""

    energies: list[float]
    residuals: list[float]
    fields: list[TensorTrain]

    @property
    def worst(self) -> float:
        """The largest residual, each relative to the larger of |energy| and 1."""
        return max(r / max(1.0, abs(e)) for r, e in zip(self.residuals, self.energies, strict=True))


class _Search:
    """The state of one run; `rights` is what lies to the right of each core in the direction of the sweep.

    All states share all cores but the first in that direction, which `block` `[count, n, 1, s]` holds for each of them.
    """

    def __init__(self, options: DMRG, operator: TensorTrain, start: TensorTrain, count: int) -> None:
        self.options, self.operator, self.count = options, operator, count
        self.directions = options.enrichment + count - 1
        like = TensorTrain.zeros([n for n, _ in operator.modes], dtype=operator.dtype, device=operator.device)
        forward = [OperatorCore.of(core) for core in operator.cores]
        self.operators = (forward, mirrored_operator(forward))
        # Overlaps are kept with the state to be followed.
        target = mode_first(start.cores)
        self.targets = (target, mirrored(target)) if options.follow else None
        self.turn = 1
        self.x = mirrored(target)
        self.z = mirrored(mode_first(random_train(like, self.directions, options.seed + 99).cores))
        self.block = self.x[0][None]
        self.energies: list[float] = []
        self.rights: list[Interface] = []
        self.right_overlaps: list[Tensor] = []
        self._begin()

    def run(self) -> list[Eigenstate]:
        begun = time.perf_counter()
        history: list[list[float]] = []
        residuals: list[float] = []
        message = f"{self.options.max_sweeps} sweeps were not enough; allow more max_sweeps"
        best: _Found | None = None
        with tqdm(total=self.options.max_sweeps, disable=not self.options.progress, desc="DMRG") as bar:
            for _ in range(self.options.max_sweeps):
                met = self.sweep()
                history.append(self.energies)
                bar.update()
                bar.set_postfix(energy=f"{self.energies[0]:.10g}", residual=f"{met:.1e}")
                last = len(history) == self.options.max_sweeps
                if met > self.options.tolerance and not last and not _settled([sum(e) for e in history]):
                    continue
                found = self.found()
                residuals.append(found.worst)
                if best is None or found.worst < best.worst:
                    best = found
                if found.worst <= self.options.tolerance:
                    message = "the true residual is within the tolerance"
                    break
                if stalled(residuals, 4):
                    message = "the residual stopped falling; allow a larger max_rank or tolerance, or more enrichment"
                    break
        assert best is not None
        seconds = time.perf_counter() - begun
        states = zip(best.energies, best.residuals, best.fields, strict=True)
        return [
            Eigenstate(
                energy=energy,
                field=field,
                converged=residual <= self.options.tolerance * max(1.0, abs(energy)),
                residual=residual,
                seconds=seconds,
                iterations=len(history),
                message=message,
                history=tuple(energies[place] for energies in history if place < len(energies)),
            )
            for place, (energy, residual, field) in enumerate(states)
        ]

    def found(self) -> _Found:
        """The states so far, of unit norm and without the ranks that only the others need."""
        fields = []
        for core in self.block:
            cores = [core, *self.x[1:]]
            train = TensorTrain(
                tuple(c.transpose(0, 1).contiguous() for c in (cores if self.turn == 0 else mirrored(cores)))
            )
            fields.append((train if self.count == 1 else train.round(1e-14)) / train.norm())
        pairs = [rayleigh(self.operator, field) for field in fields]
        return _Found([energy for energy, _ in pairs], [residual for _, residual in pairs], fields)

    def sweep(self) -> float:
        """Optimise all cores from the left, then turn around; the largest residual that a core was met with."""
        operator = self.operators[self.turn]
        left, overlap, block = Interface.empty(self.x[0]), self.x[0].new_ones(1, 1), self.block
        worst, last = 0.0, len(self.x) - 1
        for k in range(last + 1):
            right = self.rights[k]
            target = None
            if self.targets is not None:
                target = project_vector(overlap, self.targets[self.turn][k], self.right_overlaps[k])
            system = LocalSystem(left.xx, operator[k], right.xx)
            met, self.energies, solved = self._lowest(system, target, block)
            worst = max(worst, met)
            if k == last:
                self.block, self.x[k] = solved, solved[0]
                break
            self.x[k], passed = self._enlarged(left, right, operator[k], solved)
            residuals = [
                project(left.zx, operator[k], right.zx, x) - energy * project_vector(left.zb, x, right.zb)
                for energy, x in zip(self.energies, solved, strict=True)
            ]
            self.z[k] = self._leading(residuals)
            block = passed[:, None] @ self.x[k + 1]
            left = left.extended(operator[k], self.x[k], self.x[k], self.z[k])
            self.lefts[k + 1] = left
            if self.targets is not None:
                overlap = extend_vector(overlap, self.targets[self.turn][k], self.x[k])
                self.left_overlaps[k + 1] = overlap
        self._turn_around()
        return worst

    def _lowest(
        self, system: LocalSystem, target: Tensor | None, block: Tensor
    ) -> tuple[float, list[float], Tensor]:
        """The lowest eigenpairs of the local operator, from a block `[k, n, r, s]`, and how far that was from them.

        The distance is the larger of the residual and of the change of energies, which tells of lower states that the
        block knew nothing of; relative to energies.
        """
        shape = block.shape[1:]
        count = min(self.count, block[0].numel())
        block = block / torch.linalg.vector_norm(block, dim=(1, 2, 3), keepdim=True)
        images = torch.stack([system.apply(x) for x in block])
        energies = torch.sum(block.conj() * images, dim=(1, 2, 3)).real
        residuals = torch.linalg.vector_norm(
            images - energies[:, None, None, None] * block, dim=(1, 2, 3)
        ) / energies.abs().clamp(min=1.0)
        if block[0].numel() <= _DIRECT:
            matrix = system.dense()
            values, vectors = torch.linalg.eigh((matrix + matrix.mH) / 2)
            chosen = _chosen(vectors, target, count)
            values, vectors = values[chosen], vectors[:, chosen].mT.reshape(count, *shape)
        else:
            # Exact but higher states have no residual to leave them by.
            begin = block if target is not None else torch.cat([block, system.kronecker_sum.lowest(count)])
            shifts = (energies.tolist() + [float(energies.max())] * count)[:count]
            limit = 0.1 * self.options.tolerance * max(1.0, float(energies.abs().min()))
            inverses = [system.kronecker_sum.inverse(shift) for shift in shifts]
            values, vectors = davidson(system.apply, begin, inverses, limit, target=target)
        if len(block) < count:
            return inf, values.tolist(), vectors
        changes = (energies.sort().values - values.sort().values).abs() / values.abs().clamp(min=1.0)
        return float(torch.cat([residuals, changes]).max()), values.tolist(), vectors

    def _enlarged(
        self, left: Interface, right: Interface, operator: OperatorCore, solved: Tensor
    ) -> tuple[Tensor, Tensor]:
        """An orthonormal core with directions of the residual, and what goes to the next, `[k, q, s]`."""
        k, n, r, s = solved.shape
        u, values, vh = torch.linalg.svd(
            solved.permute(1, 2, 0, 3).reshape(n * r, k * s), full_matrices=False
        )
        tails = values.square().flip(0).cumsum(0).flip(0).sqrt()
        # Errors of the state enter the residual multiplied by the norm of the operator, which is not known locally; the
        # energy is far more accurate than the state.
        needed = int((tails > 1e-2 * self.options.tolerance / len(self.x) ** 0.5).sum())
        q = max(1, min(needed, self.options.max_rank))
        rest = (values[:q, None] * vh[:q]).view(q, k, s).transpose(0, 1)
        basis = u[:, :q].view(n, r, q)
        towards = [
            project(left.xx, operator, right.zx, x) - energy * project_vector(left.xb, x, right.zb)
            for energy, x in zip(self.energies, (basis @ one for one in rest), strict=True)
        ]
        orthonormal, triangular = torch.linalg.qr(
            torch.cat([basis, self._leading(towards)], -1).reshape(n * r, -1)
        )
        return orthonormal.view(n, r, -1), triangular[:, :q] @ rest

    def _leading(self, residuals: Sequence[Tensor]) -> Tensor:
        """The leading orthonormal directions of residuals `[n, r, s]` of all states, `[n, r, q]`."""
        n, r, _ = residuals[0].shape
        u, _, _ = torch.linalg.svd(torch.cat(list(residuals), -1).reshape(n * r, -1), full_matrices=False)
        return u[:, : self.directions].view(n, r, -1)

    def _turn_around(self) -> None:
        self.x, self.z, self.block = mirrored(self.x), mirrored(self.z), self.block.mT.contiguous()
        self.turn = 1 - self.turn
        count = len(self.x)
        self.rights = [self.lefts[count - 1 - k] for k in range(count)]
        self.right_overlaps = [self.left_overlaps[count - 1 - k] for k in range(count)]
        self._clear()

    def _clear(self) -> None:
        count = len(self.x)
        self.lefts = [Interface.empty(self.x[0])] * count
        self.left_overlaps = [self.x[0].new_ones(1, 1)] * count

    def _begin(self) -> None:
        """Make all cores but the last orthonormal and turn around."""
        self.x, self.z = left_orthogonal(self.x), left_orthogonal(self.z)
        self.block = self.x[-1][None]
        operator = self.operators[self.turn]
        self._clear()
        for k in range(len(self.x) - 1):
            core = self.x[k]
            self.lefts[k + 1] = self.lefts[k].extended(operator[k], core, core, self.z[k])
            if self.targets is not None:
                self.left_overlaps[k + 1] = extend_vector(
                    self.left_overlaps[k], self.targets[self.turn][k], core
                )
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
    preconditioners: Sequence[Callable[[Tensor], Tensor]],
    tolerance: float,
    max_iterations: int = 60,
    restart: int = 20,
    *,
    target: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The lowest eigenpairs of a Hermitian map, to residuals of at most `tolerance` if that can be reached.

    Davidson, J. Comput. Phys. 17, 87 (1975).

    Args:
        matrix: a map of tensors of any shape.
        start: `[k, *shape]`, at least as many as pairs.
        preconditioners: one for each pair to be found, maps as the matrix.
        tolerance: norm of the residual of unit vectors.
        max_iterations: each of one product with the matrix for each pair that is not found yet.
        restart: vectors that are kept, at least three for each pair.
        target: of which the nearest pairs are taken in place of the lowest.

    Returns:
        Values `[count]` and vectors `[count, *shape]`.
    """
    count, shape = len(preconditioners), start.shape[1:]
    basis = torch.linalg.qr(start.flatten(1).mT).Q.mT
    images = torch.stack([matrix(row.view(shape)).reshape(-1) for row in basis])
    for _ in range(max_iterations):
        small = basis.conj() @ images.mT
        values, along = torch.linalg.eigh((small + small.mH) / 2)
        chosen = _chosen(basis.mT @ along, target, count)
        values, along = values[chosen], along[:, chosen].mT
        vectors, found = along @ basis, along @ images
        residuals = found - values[:, None] * vectors
        rest = torch.nonzero(torch.linalg.vector_norm(residuals, dim=1) > tolerance)[:, 0].tolist()
        if len(basis) + count > max(restart, 3 * count):
            basis, images = vectors, found
        before = len(basis)
        for place in rest:
            new = preconditioners[place](residuals[place].view(shape)).reshape(-1)
            for _ in range(2):
                new = new - (basis.conj() @ new) @ basis
            length = torch.linalg.vector_norm(new)
            if bool(length > 0):
                basis = torch.cat([basis, (new / length)[None]])
                images = torch.cat([images, matrix(basis[-1].view(shape)).reshape(1, -1)])
        if len(basis) == before:
            break
    return values, (vectors / torch.linalg.vector_norm(vectors, dim=1, keepdim=True)).view(count, *shape)


def _chosen(vectors: Tensor, target: Tensor | None, count: int) -> Tensor:
    """Which of the columns, in the order of their eigenvalues: the first, or those nearest to a target."""
    if target is None:
        return torch.arange(count, device=vectors.device)
    return (target.reshape(-1).conj() @ vectors).abs().topk(count).indices


def _settled(energies: Sequence[float]) -> bool:
    """Whether the last sweeps left the energy as it was, to the precision."""
    if len(energies) < 4:
        return False
    last = energies[-3:]
    return max(last) - min(last) <= 1e-13 * max(1.0, abs(last[-1]))
