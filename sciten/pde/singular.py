"""Operators that map some fields to zero, such as those of pure Neumann problems, which do not see constants.

Of an operator A with the projector P onto its null space, along its range, a source f can be balanced by A if P f = 0,
and the solution is determined up to the null space. A + c P has the same solutions, but for a unique one with P u = 0.

Of separable operators P is known, a product over the axes. Of others the constants are looked at only, whose projector
is 1 w^H, with the null vector w of the adjoint: constant too for symmetric operators, the weights of a quadrature for
collocation on Chebyshev points, and otherwise the solution of a linear system.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde.operators import Given, Operator, Product, may_be_singular
from sciten.pde.solvers.amen import AMEn
from sciten.pde.solvers.solution import ratio
from sciten.pde.solvers.spectra import NotSeparableError, null_dimension, null_projectors, spectra
from sciten.tensor import TensorTrain

#: Below this share of its norm an operator counts as mapping constants to zero.
_ZERO = 1e-11
#: Weights whose sum is smaller than this, at a norm of one, would blow up rounding errors.
_SUM = 1e-6
#: The largest share of a source in the null space that is put down to discretisation.
_BALANCE = 1e-2
#: How a note on a field of a singular problem begins.
DETERMINED = "; the field is determined up to"


@dataclass(frozen=True, eq=False)
class NullSpace:
    """What an operator maps to zero.

    Args:
        projector: onto it, along the range of the operator.
        dimension: of it.
        constants: whether it consists of the constants.
    """

    projector: TensorTrain
    dimension: int
    constants: bool

    def balanced(self, right_side: TensorTrain, shape: tuple[int, ...]) -> tuple[TensorTrain, str]:
        """A right side in the range of the operator, and what is to be said about the solution.

        Raises:
            ConfigError: too large a share of the right side had to be taken away.
        """
        along = self.projector @ right_side
        share = ratio(along.norm(), right_side.norm())
        require_balance(share, shape, constants=self.constants)
        return (right_side - along).round(1e-15), self._note(share)

    def _note(self, share: float) -> str:
        kind, mean, what = " a constant", "mean zero", "constant share"
        if not self.constants:
            kind = f" what the operator maps to zero, a space of dimension {self.dimension}"
            mean, what = "no part in it", "share in it"
        taken = f"; a {what} of {share:.1e} was taken from the source" if share > 1e-12 else ""
        return f"{DETERMINED}{kind}, and has {mean}{taken}"


def regularised(
    matrix: TensorTrain,
    right_side: TensorTrain,
    shape: tuple[int, ...],
    separable: Sequence[Tensor] | None = None,
    *,
    constants: bool | None = None,
) -> tuple[TensorTrain, TensorTrain, str]:
    """A system with one solution in place of one that determines its solution up to a null space.

    Adds a multiple of the projector onto the null space to the operator, so that the solution has no part in it, and
    takes such a part from the right side, as long as it is no larger than what discretisation explains.

    Args:
        matrix: of a square operator.
        right_side: vector.
        shape: of the grid, which the modes of the trains may be parts of.
        separable: where the operator is a sum of matrices that act on one mode each, these: `[n, n]` for each mode.
        constants: whether the operator maps constants to zero; by default this is measured.

    Returns:
        Operator, right side, and a note on what was done, empty for regular operators.

    Raises:
        ConfigError: the right side is not in the range of the operator, or that range is not known.
    """
    space = None if separable is None else separable_null_space(separable)
    if space is None:
        if not (_maps_ones_to_zero(matrix) if constants is None else constants):
            return matrix, right_side, ""
        _require_nothing_else(separable)
        space = _constants(matrix, separable)
    dtype = torch.promote_types(matrix.dtype, torch.promote_types(right_side.dtype, space.projector.dtype))
    matrix, right_side = matrix.to(dtype=dtype), right_side.to(dtype=dtype)
    space = NullSpace(space.projector.to(dtype=dtype), space.dimension, space.constants)
    right_side, note = space.balanced(right_side, shape)
    return matrix + space.projector * _scale(matrix), right_side, note


def maps_constants_to_zero(operator: Operator, assembled: Callable[[Operator], TensorTrain]) -> bool:
    """Whether constants are in the null space.

    Derivatives of constants are zero where no face has a value; the other terms are looked at by themselves, since
    beside derivatives on fine grids they are next to nothing.

    Args:
        operator: of any terms.
        assembled: makes a train of operators on the same grid.
    """
    if not may_be_singular(operator):
        return False
    rest = tuple(
        (scale, term) for scale, term in operator.terms if scale and isinstance(term, Product | Given)
    )
    return not rest or _maps_ones_to_zero(assembled(Operator(operator.grid, rest)))


def separable_null_space(matrices: Sequence[Tensor]) -> NullSpace | None:
    """The null space of a Kronecker sum; None where it is regular, or its eigenvalues do not tell."""
    try:
        factors = null_projectors(spectra(matrices))
    except NotSeparableError:
        return None
    return None if factors is None else null_space(factors)


def _require_nothing_else(matrices: Sequence[Tensor] | None) -> None:
    """Raise `ConfigError` where a Kronecker sum, such as advection without diffusion, has other null vectors."""
    try:
        dimension = None if matrices is None else null_dimension(spectra(matrices))
    except NotSeparableError:
        return
    if dimension is not None and dimension > 1:
        raise ConfigError(
            f"solve: the operator maps a space of {dimension} fields to zero, not only constants, and which sources it "
            "can balance is not known; add diffusion or a potential"
        )


def null_space(factors: Sequence[Tensor]) -> NullSpace:
    """The null space with a projector that is a product of those of the axes, `[n, n]`."""
    dimension = prod(round(float(factor.diagonal().sum().real)) for factor in factors)
    keeps_ones = all(float((factor.sum(1) - 1).abs().max()) < 1e-6 for factor in factors)
    return NullSpace(TensorTrain.rank_one(factors, operator=True), dimension, dimension == 1 and keeps_ones)


def _maps_ones_to_zero(matrix: TensorTrain) -> bool:
    ones = TensorTrain.ones([m for _, m in matrix.modes], dtype=matrix.dtype, device=matrix.device)
    return bool((matrix @ ones).norm() <= _ZERO * matrix.norm())


def _scale(matrix: TensorTrain) -> float:
    """The root mean square of the norms of the columns."""
    return float(matrix.norm() / TensorTrain.identity([n for n, _ in matrix.modes]).norm())


def _constants(matrix: TensorTrain, separable: Sequence[Tensor] | None) -> NullSpace:
    """The constants as the null space."""
    weights = _weights(matrix, separable)
    cores = [core.conj().unsqueeze(1).expand(-1, core.shape[1], -1, -1) for core in weights.cores]
    return NullSpace(TensorTrain(tuple(cores), operator=True), 1, True)


def _weights(matrix: TensorTrain, separable: Sequence[Tensor] | None) -> TensorTrain:
    """The null vector of the adjoint whose entries add up to one."""
    scale, adjoint = _scale(matrix), matrix.mH
    shape = [n for n, _ in matrix.modes]

    def fits(weights: TensorTrain) -> bool:
        size = float(weights.norm())
        # Beside large entries it says nothing that they add up to one: a singular system was solved by rounding.
        small = size * prod(shape) ** 0.5 < 1 / _SUM
        return small and bool((adjoint @ weights).norm() <= _ZERO * scale * size)

    alike = [torch.full((n,), 1 / n, dtype=matrix.dtype, device=matrix.device) for n in shape]
    candidates = [alike]
    if separable is not None:
        left = [torch.linalg.svd(one.to(matrix.dtype)).U[:, -1] for one in separable]
        if all(float(one.sum().abs()) > _SUM for one in left):
            candidates.append([one / one.sum() for one in left])
    for factors in candidates:
        weights = TensorTrain.rank_one(factors)
        if fits(weights):
            return weights
    # The product of (A^H + c 1 1^H) w = c 1 with 1^H says that w adds up to one, and then A^H w = 0 is left.
    mean = TensorTrain.rank_one([one.expand(len(one), -1) for one in alike], operator=True)
    ones = TensorTrain.ones(shape, dtype=matrix.dtype, device=matrix.device)
    found = AMEn(0.01 * _ZERO, max_rank=60, max_sweeps=20).solve(adjoint + mean * scale, ones * scale, ones)
    assert isinstance(found.field, TensorTrain)
    weights = TensorTrain(tuple(core / core.shape[1] for core in found.field.cores))
    if fits(weights):
        return weights
    raise ConfigError(
        "solve: the operator maps constants to zero, and which sources it can balance is not known; fix the value on "
        "one face (Dirichlet), or add a potential"
    )


def require_balance(share: float, shape: tuple[int, ...], *, constants: bool = True) -> None:
    """Raise `ConfigError` if a share of a source in the null space is more than second-order differences explain."""
    if share <= min(_BALANCE, 10 * max(1 / n**2 for n in shape)):
        return
    if constants:
        raise ConfigError(
            "solve: the operator determines the field only up to a constant, and the source with the boundary data "
            f"does not add up to zero (a share of {share:.1e} is constant); change the data, fix the value on one face "
            "(Dirichlet), or add a potential"
        )
    raise ConfigError(
        "solve: the operator maps other fields than zero to zero, and cannot balance the source with the boundary data "
        f"(a share of {share:.1e} lies in its null space); change the data or the conditions, or add a potential"
    )
