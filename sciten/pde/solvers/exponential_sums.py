"""Direct inversion of separable operators by sums of exponentials.

For A = Σ_a I ⊗ ... A_a ... ⊗ I the exponential is a Kronecker product, exp(-t A) = ⊗_a exp(-t A_a), and 1/x = ∫_0^∞
exp(-t x) dt by quadrature is a short sum, so that the inverse of A is a sum of few Kronecker products (Braess and
Hackbusch, IMA J. Numer. Anal. 25, 685 (2005); Grasedyck, Computing 72, 247 (2004)). Neither ranks nor dimension enter
the accuracy, which is known beforehand.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, cos, log, pi

import torch
from torch import Tensor
from tqdm import tqdm

from sciten.errors import ConfigError
from sciten.pde.chains import Chain, summed
from sciten.pde.fields import require_cpu
from sciten.pde.singular import balance_note, require_balance
from sciten.pde.solvers.solution import Solution, relative_residual
from sciten.tensor import TensorTrain

#: Terms times the rank of the right side, up to which all are summed before the first rounding.
_SUMMED_AT_ONCE = 160
#: An eigenbasis of larger condition number would lose the digits that the quadrature has.
_WORST_BASIS = 1e6
#: Eigenvalues below this share of the largest count as zero.
_SINGULAR = 1e-12


class NotSeparableError(ConfigError):
    """Exponential sums do not apply to an operator, other than by its data; other solvers may."""


@dataclass(frozen=True)
class ExponentialSums:
    """Inversion of sums of operators that act on one axis each, with constant coefficients.

    Assumes diagonalisable matrices with eigenvalues in the right half plane: -Δ, with or without a constant, on any
    mixture of conditions; mild advection too. Costs O(n³) for each axis once, then one rounding of a train of about 30
    times the rank of the right side. There is no iteration that could stall: what may fail is the rounding, where the
    condition number of the operator times the precision exceeds the tolerance.

    Args:
        tolerance: of the true residual, ‖A x - b‖ ≤ tolerance ‖b‖.
        progress: whether to show a progress bar, where a right side of high rank takes long.
    """

    tolerance: float = 1e-8
    progress: bool = False

    def __post_init__(self) -> None:
        if not 1e-14 <= self.tolerance < 1:
            raise ConfigError(f"ExponentialSums: expected a tolerance from 1e-14 to 1, got {self.tolerance}")

    @torch.no_grad()
    def solve(self, matrices: Sequence[Tensor], right_side: TensorTrain) -> Solution:
        """Solve `Σ_a (I ⊗ ... matrices[a] ... ⊗ I) x = right_side`.

        A null vector, such as the constants of pure Neumann problems, is allowed where it is a product of null vectors
        of all matrices: then the solution is the one without a component along it, as their left null vectors weigh it.

        Args:
            matrices: `[n_a, n_a]`, for each axis.
            right_side: vector on these axes.

        Raises:
            ConfigError: the operator has eigenvalues out of the right half plane or no good eigenbasis, or is singular
                and the right side is not in its range.
        """
        begun = time.perf_counter()
        _require_shapes(matrices, right_side)
        dtype = right_side.dtype
        for matrix in matrices:
            dtype = torch.promote_types(dtype, matrix.dtype)
        matrices, right_side = [matrix.to(dtype) for matrix in matrices], right_side.to(dtype=dtype)
        axes = spectra(matrices)
        right_side, removed = _in_the_range(axes, right_side)
        norm = float(right_side.norm())
        if norm == 0:
            return Solution(right_side, True, 0.0, time.perf_counter() - begun, 0, "the right side is zero")
        quadrature = _quadrature(axes, self.tolerance / 10)
        smallest, largest = _range(axes)
        rounding = max(1e-15, 0.1 * self.tolerance * smallest / largest)
        field = _applied(axes, quadrature, right_side, rounding, progress=self.progress)
        residual = relative_residual(kronecker_sum(matrices), field, right_side)
        message = f"{len(quadrature[0])} exponentials" + removed
        if residual > self.tolerance:
            message = (
                f"rounding errors exceed the tolerance, at a condition number of {largest / smallest:.1e}; ask for "
                "less, or use fewer points"
            )
        return Solution(
            field, residual <= self.tolerance, residual, time.perf_counter() - begun, 1, message, (residual,)
        )


def _require_shapes(matrices: Sequence[Tensor], right_side: TensorTrain) -> None:
    shapes = [tuple(matrix.shape) for matrix in matrices]
    wanted = [(n, n) for n in right_side.shape]
    if right_side.operator or right_side.batch_shape or shapes != wanted:
        raise ConfigError(f"ExponentialSums: expected matrices {wanted} for {right_side!r}, got {shapes}")
    for tensor in (*matrices, *right_side.cores):
        require_cpu("ExponentialSums", tensor)
    if not all(bool(torch.isfinite(t).all()) for t in (*matrices, *right_side.cores)):
        raise ConfigError("ExponentialSums: expected finite entries, got inf or NaN")


def inverse(matrices: Sequence[Tensor], tolerance: float) -> TensorTrain:
    """The inverse of a Kronecker sum as an operator, to a relative error of `tolerance` in each eigenvector.

    Raises:
        ConfigError: as `ExponentialSums.solve`; also where the operator is singular.
    """
    axes = spectra(matrices)
    if _is_singular(axes):
        raise ConfigError("inverse: expected a regular operator, got one with an eigenvalue of zero")
    weights, exponents = _quadrature(axes, tolerance)
    cores = []
    for axis in axes:
        terms = axis.exponentials(exponents)  # [k, n, n]
        cores.append(torch.diag_embed(terms.movedim(0, -1)).permute(2, 0, 1, 3))
    cores[0] = (cores[0] * weights).sum(0, keepdim=True)
    cores[-1] = cores[-1].sum(-1, keepdim=True)
    return TensorTrain(tuple(cores), operator=True)


def kronecker_sum(matrices: Sequence[Tensor]) -> TensorTrain:
    """`Σ_a I ⊗ ... matrices[a] ... ⊗ I` as a train of rank 2."""
    eyes = [torch.eye(len(m), dtype=m.dtype)[None, ..., None] for m in matrices]
    chains = [
        Chain((*eyes[:axis], matrix[None, ..., None], *eyes[axis + 1 :]), axis)
        for axis, matrix in enumerate(matrices)
    ]
    return TensorTrain(tuple(summed(chains)), operator=True)


def inverse_exponentials(
    smallest: float, largest: float, tolerance: float, angle: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Weights and exponents with 1/x = Σ_k weight_k exp(-exponent_k x), to a relative error of about `tolerance`.

    The trapezoidal rule for ∫ exp(s - x e^s) ds, whose error falls as exp(-2π (π/2 - angle) / step); of its terms those
    with small exponents, on which exp is near a polynomial, are replaced by the few nodes of a Gauss quadrature with
    their moments (Golub and Welsch, Math. Comp. 23, 221 (1969)).

    Args:
        smallest, largest: bounds of |x|; real parts are positive.
        tolerance: relative.
        angle: bound of |arg x|, below π/2.
    """
    # The error is 2 |Γ(1 + 2πi / step)|, which has a square root before the exponential.
    digits = log(40 / tolerance)
    step = 2 * pi * (pi / 2 - angle) / digits
    begin, end = log(tolerance / (10 * largest)), log(digits / (smallest * cos(angle)))
    exponents = torch.exp(begin + step * torch.arange(ceil((end - begin) / step) + 1, dtype=torch.float64))
    weights = step * exponents
    small = exponents <= 2 / largest
    nodes = min(int(small.sum()), max(2, ceil(digits / 4)))
    reduced = _gauss(weights[small], exponents[small], nodes)
    return torch.cat([reduced[0], weights[~small]]), torch.cat([reduced[1], exponents[~small]])


def _gauss(weights: Tensor, places: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The Gauss quadrature of a discrete measure, by the Lanczos process with full orthogonalisation."""
    total = weights.sum()
    basis = [(weights / total).sqrt()]
    diagonal, beside = [], []
    for k in range(count):
        vector = places * basis[k]
        diagonal.append(basis[k] @ vector)
        for _ in range(2):
            for other in basis:
                vector = vector - (other @ vector) * other
        beside.append(vector.norm())
        basis.append(vector / beside[-1])
    off = torch.stack(beside[:-1]) if count > 1 else places.new_zeros(0)
    jacobi = torch.diag(torch.stack(diagonal)) + torch.diag(off, 1) + torch.diag(off, -1)
    nodes, vectors = torch.linalg.eigh(jacobi)
    return total * vectors[0].square(), nodes


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A matrix in its eigenbasis: `vectors @ diag(values) @ inverse`."""

    values: Tensor
    vectors: Tensor
    inverse: Tensor
    null: (
        tuple[Tensor, Tensor] | None
    )  # what the matrix maps to zero, and what its adjoint does, of inner product one
    complex_matrix: bool

    def exponentials(self, exponents: Tensor) -> Tensor:
        """exp(-t matrix) for each t: `[k, n, n]`."""
        decays = torch.exp(-exponents[:, None] * self.values)
        found = (self.vectors * decays[:, None, :]) @ self.inverse
        return found if self.complex_matrix else found.real

    def decayed(self, exponents: Tensor, core: Tensor) -> Tensor:
        """exp(-t matrix) applied to cores `[r, n, r']`: `[k, r, n, r']`."""
        inside = self.inverse @ core.to(self.inverse.dtype)
        decays = torch.exp(-exponents[:, None, None, None] * self.values[:, None])
        found = self.vectors @ (decays * inside)
        return found if self.complex_matrix or core.is_complex() else found.real


def spectra(matrices: Sequence[Tensor]) -> list[Spectrum]:
    """Of matrices, each different one once.

    Raises:
        ConfigError: a matrix has no well-conditioned eigenbasis.
    """
    found: list[Spectrum] = []
    for place, matrix in enumerate(matrices):
        same = next((k for k in range(place) if torch.equal(matrices[k], matrix)), None)
        found.append(_spectrum(matrix) if same is None else found[same])
    return found


def _spectrum(matrix: Tensor) -> Spectrum:
    scale = matrix.abs().max()
    if bool((matrix - matrix.mH).abs().max() <= 1e-14 * scale):
        values, vectors = torch.linalg.eigh(matrix)
        return Spectrum(values, vectors, vectors.mH, _null(values, vectors, vectors.mH), matrix.is_complex())
    values, vectors = torch.linalg.eig(matrix)
    condition = float(torch.linalg.cond(vectors))
    if not condition <= _WORST_BASIS:
        raise NotSeparableError(
            f"ExponentialSums: the eigenvectors of a matrix have condition number {condition:.1e}, as strong advection "
            "makes it; use AMEn"
        )
    inverse = torch.linalg.inv(vectors)
    null = _null(values, vectors, inverse)
    if null is not None and not matrix.is_complex():
        null = null[0].real, null[1].real  # as they are by LAPACK's choice of phases
    return Spectrum(values, vectors, inverse, null, matrix.is_complex())


def _null(values: Tensor, vectors: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor] | None:
    """The right and the left eigenvector of an eigenvalue of zero, if there is one."""
    zero = int(values.abs().argmin())
    if values[zero].abs() > _SINGULAR * values.abs().max():
        return None
    return vectors[:, zero], inverse[zero].conj()


def _range(axes: Sequence[Spectrum]) -> tuple[float, float]:
    """Bounds of the absolute values of eigenvalues of the sum, from zero on for singular ones the next larger."""
    lowest = [float(axis.values.real.min()) for axis in axes]
    largest = sum(float(axis.values.abs().max()) for axis in axes)
    smallest = sum(lowest)
    if smallest > _SINGULAR * largest:
        return smallest, largest
    gaps = [float(axis.values.real.sort().values[1] - low) for axis, low in zip(axes, lowest, strict=True)]
    return smallest + min(gaps), largest


def _is_singular(axes: Sequence[Spectrum]) -> bool:
    lowest = sum(float(axis.values.real.min()) for axis in axes)
    return abs(lowest) <= _SINGULAR * sum(float(axis.values.abs().max()) for axis in axes)


def _quadrature(axes: Sequence[Spectrum], tolerance: float) -> tuple[Tensor, Tensor]:
    smallest, largest = _range(axes)
    lowest = sum(float(axis.values.real.min()) for axis in axes)
    if smallest <= 0 or lowest < -_SINGULAR * largest:
        raise NotSeparableError(
            f"ExponentialSums: expected eigenvalues with positive real parts, got {lowest:.3g} for the smallest; use "
            "AMEn"
        )
    angle = max(_angle(axis.values) for axis in axes)
    if angle > 1.2:
        raise NotSeparableError("ExponentialSums: the eigenvalues are too far from the real axis; use AMEn")
    return inverse_exponentials(smallest, largest, tolerance, angle)


def _angle(values: Tensor) -> float:
    """The largest angle of eigenvalues with the real axis, but of one that is zero."""
    if not values.is_complex():
        return 0.0
    other = values[values.abs() > _SINGULAR * values.abs().max()]
    return float(torch.atan(other.imag / other.real).abs().max()) if len(other) else 0.0


def _in_the_range(axes: Sequence[Spectrum], right_side: TensorTrain) -> tuple[TensorTrain, str]:
    """The right side without its component along the null vector of a singular operator."""
    if not _is_singular(axes):
        return right_side, ""
    pairs = [axis.null for axis in axes if axis.null is not None]
    if len(pairs) < len(axes):
        raise NotSeparableError(
            "ExponentialSums: the operator is singular; fix the value on one face (Dirichlet), or add a potential"
        )
    null, weights = (
        TensorTrain.rank_one([v.to(right_side.dtype) for v in side]) for side in zip(*pairs, strict=True)
    )
    along = weights.inner(right_side)
    share = float(along.abs() * null.norm() / right_side.norm().clamp(min=torch.finfo(torch.float64).tiny))
    require_balance(share, right_side.shape)
    return (right_side - null * along).round(1e-15), balance_note(share)


def _applied(
    axes: Sequence[Spectrum],
    quadrature: tuple[Tensor, Tensor],
    right_side: TensorTrain,
    tolerance: float,
    *,
    progress: bool,
) -> TensorTrain:
    """The sum of exponentials applied to a train, rounded."""
    weights, exponents = quadrature
    rank = max(right_side.ranks)
    at_once = max(1, _SUMMED_AT_ONCE // rank)
    total: TensorTrain | None = None
    starts = range(0, len(weights), at_once)
    for start in tqdm(starts, disable=not progress, desc="exponentials"):
        part = slice(start, start + at_once)
        cores = [
            _block_diagonal(axis.decayed(exponents[part], core))
            for axis, core in zip(axes, right_side.cores, strict=True)
        ]
        scales = weights[part].repeat_interleave(right_side.cores[0].shape[-1])
        k = len(weights[part])
        if len(cores) == 1:
            decayed = axes[0].decayed(exponents[part], right_side.cores[0])
            train = TensorTrain((torch.einsum("k,kanb->anb", weights[part].to(decayed.dtype), decayed),))
        else:
            cores[0] = cores[0].unflatten(0, (k, -1)).sum(0) * scales
            cores[-1] = cores[-1].unflatten(-1, (k, -1)).sum(-2)
            train = TensorTrain(tuple(cores))
        total = train if total is None else total + train
        total = total.round(tolerance)
    assert total is not None
    return total


def _block_diagonal(cores: Tensor) -> Tensor:
    """`[k, r, n, r']` to `[k r, n, k r']`, zero between different k."""
    k, r, n, s = cores.shape
    return torch.diag_embed(cores.permute(1, 2, 3, 0)).permute(3, 0, 1, 4, 2).reshape(k * r, n, k * s)
