"""The factorisations under every low-rank format.

Everything works on batches of matrices, `[..., m, n]`, real or complex, on any device. A batch shares one rank: the
least that serves all of its matrices.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciten.errors import ConfigError

#: Singular values closer than this, relative to the largest, count as equal where a gradient would divide by their
#: difference; in units of the precision.
_CLUSTER = 1e3


def svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The thin singular value decomposition: `matrix = u @ diag(s) @ vh`.

    Divide and conquer; where that does not converge, QR iterations by SciPy (LAPACK's gesvd).
    """
    try:
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    except torch.linalg.LinAlgError:
        s = None
    if s is not None and bool(torch.isfinite(s).all()):
        return u, s, vh
    if not bool(torch.isfinite(matrix).all()):
        raise ConfigError("svd: expected finite entries, got inf or NaN")
    return _svd_by_iteration(matrix)


def _svd_by_iteration(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    import scipy.linalg  # slow to import, and seldom needed

    m, n = matrix.shape[-2:]
    found = [
        scipy.linalg.svd(one, full_matrices=False, lapack_driver="gesvd")
        for one in matrix.detach().cpu().numpy().reshape(-1, m, n)
    ]
    u, s, vh = (
        torch.from_numpy(np.stack(part)).to(matrix.device).unflatten(0, matrix.shape[:-2] or (1,))
        for part in zip(*found, strict=True)
    )
    return (u, s, vh) if matrix.ndim > 2 else (u[0], s[0], vh[0])


def rank_within(singular_values: Tensor, tolerance: float | Tensor) -> int:
    """The least rank, at least one, whose discarded singular values have a norm of at most `tolerance`.

    Args:
        singular_values: `[..., n]`, descending.
        tolerance: for all, or for each set of singular values, `[...]`.
    """
    # Added up from the smallest, so that none of them is lost beside the largest.
    tails = singular_values.square().flip(-1).cumsum(-1).flip(-1).sqrt()
    limits = torch.as_tensor(tolerance, dtype=tails.dtype, device=tails.device)
    return max(1, int((tails > limits[..., None]).sum(-1).max()))


def split(
    matrix: Tensor, *, tolerance: float | Tensor = 0.0, rank: int | None = None
) -> tuple[Tensor, Tensor]:
    """The best approximation of low rank as `left @ right`, where `left` has orthonormal columns.

    Args:
        matrix: `[..., m, n]`.
        tolerance: of the Frobenius norm of the error.
        rank: at most this many columns, whatever the error.

    Returns:
        `[..., m, r]` and `[..., r, n]`, with gradients as those of `leading_space`.

    Raises:
        ConfigError: entries are not finite.
    """
    if torch.is_grad_enabled() and matrix.requires_grad:
        left = leading_space(matrix, tolerance=tolerance, rank=rank)
        return left, left.mH @ matrix
    u, s, vh = svd(matrix)
    r = _rank(s, tolerance, rank)
    return u[..., :r], s[..., :r, None] * vh[..., :r, :]


def leading_space(
    matrix: Tensor,
    *,
    tolerance: float | Tensor = 0.0,
    rank: int | None = None,
    right: Tensor | None = None,
    gram: Tensor | None = None,
) -> Tensor:
    """An orthonormal basis of the space of the largest left singular vectors of `matrix @ right`, `[..., m, r]`.

    The gradient is that of functions of the space: a rotation of the basis, which is arbitrary, does not enter. It is
    that of an invariant subspace of `matrix @ gram @ matrix^H`, so that it is finite wherever the space is
    differentiable: also where singular values on one side of the cut are equal, and where either factor has a deficient
    rank (through an orthogonalisation of `right` it would be infinite there).

    Args:
        matrix: `[..., m, n]`.
        tolerance: of the norm of the singular values that are cut.
        rank: at most this many columns.
        right: `[..., n, k]`, by default the identity; no gradient flows into it.
        gram: `right @ right^H`, `[..., n, n]`, which the gradient flows into instead; needed only for gradients.

    Raises:
        ConfigError: entries are not finite; or, in the backward pass, the cut goes through equal singular values.
    """
    return _LeadingSpace.apply(matrix, gram, right, tolerance, rank)  # type: ignore[no-any-return]


def _rank(s: Tensor, tolerance: float | Tensor, rank: int | None) -> int:
    found = rank_within(s, tolerance)
    return found if rank is None else max(1, min(found, rank))


class _LeadingSpace(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        matrix: Tensor,
        gram: Tensor | None,
        right: Tensor | None,
        tolerance: float | Tensor,
        rank: int | None,
    ) -> Tensor:
        product = matrix if right is None else matrix @ right
        u, s, vh = svd(product)
        ctx.rank = _rank(s, tolerance, rank)
        ctx.save_for_backward(matrix, right, u, s, vh)
        return u[..., : ctx.rank].clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        matrix, right, u, s, vh = ctx.saved_tensors
        r = ctx.rank
        _require_gap(s, r)
        space, others = u[..., :r], u[..., r:]
        kept, rest = s[..., None, :r].square(), s[..., r:, None].square()
        # A change dA of A = matrix gram matrix^H moves the basis only out of its space, by u_j^H dA u_i / (s_i² - s_j²)
        # along the j-th of the vectors that were cut, and those out of the range of A, where s_j is zero.
        outside = cotangent - u @ (u.mH @ cotangent)
        moved = others @ ((others.mH @ cotangent) / (kept - rest)) + outside / kept
        weighted = u * s[..., None, :].to(u.dtype) @ vh
        if right is not None:
            weighted = weighted @ right.mH  # matrix @ gram
        matrix_bar = moved @ (space.mH @ weighted) + space @ (moved.mH @ weighted)
        gram_bar = (matrix.mH @ moved) @ (space.mH @ matrix) if ctx.needs_input_grad[1] else None
        return matrix_bar, gram_bar, None, None, None


def _require_gap(s: Tensor, rank: int) -> None:
    first_out = s[..., rank] if s.shape[-1] > rank else torch.zeros_like(s[..., 0])
    gap = s[..., rank - 1] - first_out
    if bool((gap <= _CLUSTER * torch.finfo(s.dtype).eps * s[..., 0]).any()):
        raise ConfigError(
            f"leading_space: the cut at rank {rank} goes through equal singular values, where the space has no "
            "gradient; choose another rank or tolerance"
        )
