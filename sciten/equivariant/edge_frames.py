"""Frames in which an edge points along the polar axis y, smooth wherever the edge points.

No rotation that takes every direction to y depends on the direction continuously (the sphere cannot be combed). But
what SO(2) products compute does not depend on the roll about the edge, so a frame need only be smooth near each edge:
one formula is used for y >= 0 and another for y < 0, each of them rational with a denominator of at least one, and
the derivatives of what follows are right on either side of the seam and on it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sciten.equivariant.wigner import wigner_matrices
from sciten.errors import ConfigError
from sciten.tensor.multilinear import Executor
from sciten.tensor.tracing import is_traced


def align_to_y(vectors: Tensor, *, owner: str = "align_to_y") -> Tensor:
    """Rotations R with R v = |v| y, the shortest ones for v_y >= 0; for v_y < 0 a half turn about x goes before.

    Deterministic; all derivatives are finite, also along ±x, ±y, ±z.

    Args:
        vectors: `[..., 3]`, float32 or float64, of any length but zero.
        owner: on whose behalf; errors name it.

    Returns:
        `[..., 3, 3]`, proper rotations.

    Raises:
        ConfigError: the shape or dtype is not as above, or a vector is zero or not finite (this is not looked at
            while a graph is compiled or exported).
    """
    _check(vectors, owner)
    x, y, z = _directions(vectors).unbind(-1)
    # A constant where it is differentiated; the half turn diag(1, -1, -1) acts on the vector and on the columns of R.
    side = torch.where(y < 0, -1.0, 1.0).to(y.dtype).detach()
    y, z = side * y, side * z
    inverse = 1 / (1 + y)
    mixed = -x * z * inverse
    rows = [1 - x * x * inverse, -x, mixed, x, y, z, mixed, -z, 1 - z * z * inverse]
    turn = torch.stack([torch.ones_like(side), side, side], -1)
    return torch.stack(rows, -1).view(*vectors.shape[:-1], 3, 3) * turn[..., None, :]


@dataclass(frozen=True)
class EdgeFrames:
    """Wigner matrices of the frames of some edges; made once, they serve every product on the same edges.

    Attributes:
        matrices: for each degree 0..lmax the rows of orders -mmax..mmax, `[n_edges, 2 min(l, mmax) + 1, 2l + 1]`.
        mmax: highest order that is kept.
    """

    matrices: tuple[Tensor, ...]
    mmax: int

    @classmethod
    def from_vectors(
        cls,
        vectors: Tensor,
        lmax: int,
        mmax: int | None = None,
        *,
        executor: Executor | None = None,
        owner: str = "EdgeFrames",
    ) -> "EdgeFrames":
        """The frames of edges `[n_edges, 3]`.

        Raises:
            ConfigError: the vectors or degrees are not as `align_to_y` and `wigner_matrices` say.
        """
        mmax = lmax if mmax is None else mmax
        rotation = align_to_y(vectors, owner=owner)
        return cls(wigner_matrices(lmax, rotation, mmax=mmax, executor=executor), mmax)

    @property
    def lmax(self) -> int:
        """Highest degree."""
        return len(self.matrices) - 1

    @property
    def n_edges(self) -> int:
        """How many edges."""
        return len(self.matrices[0])

    def part(self, edges: slice) -> "EdgeFrames":
        """The frames of some of the edges."""
        return EdgeFrames(tuple(matrix[edges] for matrix in self.matrices), self.mmax)

    def rows(self, l: int, mmax: int) -> Tensor:
        """The rows of orders -mmax..mmax of degree l, `[n_edges, 2 min(l, mmax) + 1, 2l + 1]`."""
        left_out = min(l, self.mmax) - min(l, mmax)
        return self.matrices[l][:, left_out:-left_out] if left_out else self.matrices[l]


def _directions(vectors: Tensor) -> Tensor:
    # A direction does not depend on the length, so the scale may be a constant; it keeps squares from overflowing.
    scaled = vectors / vectors.detach().abs().amax(-1, keepdim=True)
    return scaled / scaled.square().sum(-1, keepdim=True).sqrt()


def _check(vectors: Tensor, owner: str) -> None:
    if vectors.ndim < 1 or vectors.shape[-1] != 3:
        raise ConfigError(f"{owner}: expected vectors of shape [..., 3], got {list(vectors.shape)}")
    if vectors.dtype not in (torch.float32, torch.float64):
        raise ConfigError(f"{owner}: expected vectors in float32 or float64, got {vectors.dtype}")
    if is_traced(vectors):
        return
    largest = vectors.detach().abs().amax(-1)
    bad = ~(torch.isfinite(largest) & (largest > 0))
    if bad.any():
        first = int(bad.flatten().nonzero()[0])
        raise ConfigError(
            f"{owner}: expected finite vectors that are not zero, got {vectors.reshape(-1, 3)[first].tolist()} "
            f"for edge {first}; leave out an atom's edge to itself"
        )
