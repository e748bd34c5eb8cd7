"""Projections of a linear system onto all cores of a train but one.

Cores of vectors lie as `[n, r, r']` here, so that the matrix of a core's operator multiplies all else at once;
operators as matrices from (R, m) to (R', n), sparse where differences leave them so. An environment `[R, t, r]` is what
lies on one side of a core: the operator between test functions t and trial functions r. Right environments are left
ones of the mirrored train.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

#: An operator core is stored sparse if it has at least so many entries, and at most this share is not zero.
_SPARSE_SIZE, _SPARSE_SHARE = 2**14, 0.12

#: Numbers that an intermediate result may have.
_CACHED = 2**17


@dataclass(frozen=True, eq=False)
class OperatorCore:
    """A core `[R, n, m, R']` as a matrix from (R, m) to (R', n).

    Args:
        dense: the core itself.
        matrix: `[R' n, R m]`, dense or sparse.
    """

    dense: Tensor
    matrix: Tensor

    @classmethod
    def of(cls, core: Tensor) -> "OperatorCore":
        """From `[R, n, m, R']`."""
        R, n, m, S = core.shape
        matrix = core.permute(3, 1, 0, 2).reshape(S * n, R * m)
        if matrix.numel() >= _SPARSE_SIZE and int((matrix != 0).sum()) <= _SPARSE_SHARE * matrix.numel():
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Sparse CSR tensor support")  # beta, which products are not
                matrix = matrix.to_sparse_csr()
        return cls(core, matrix)

    def between(self, left: Tensor, x: Tensor) -> Tensor:
        """`left` `[R, t, r]` and a core `[m, r, s]` through this one: `[R', n, t, s]`."""
        return self._between(left, x.transpose(0, 1).flatten(1), x.shape[2])

    def _between(self, left: Tensor, rows: Tensor, s: int) -> Tensor:
        """With the core as a matrix `[r, m s]`."""
        R, n, m, S = self.dense.shape
        t = left.shape[1]
        through = (left.reshape(R * t, -1) @ rows).view(R, t, m, s)
        return (self.matrix @ through.transpose(1, 2).reshape(R * m, t * s)).view(S, n, t, s)


def project(left: Tensor, core: OperatorCore, right: Tensor, x: Tensor) -> Tensor:
    """The operator on a core `[m, r, s]` between test functions: `[n, t, u]`.

    What comes between the three products is larger than the core by the operator's rank; it is made in pieces that stay
    in the processor's cache.
    """
    R, n, m, S = core.dense.shape
    t, s, u = left.shape[1], x.shape[2], right.shape[1]
    rows = x.transpose(0, 1).flatten(1)
    towards = right.transpose(1, 2).reshape(S * s, u)
    found = x.new_empty(n, t, u)
    for part in _pieces(t, max(R * m, S * n) * s):
        piece = core._between(left[:, part], rows, s)
        found[:, part] = (piece.permute(1, 2, 0, 3).reshape(-1, S * s) @ towards).view(n, -1, u)
    return found


def extend(left: Tensor, core: OperatorCore, test: Tensor, x: Tensor) -> Tensor:
    """The environment `[R', t', s]` after one more core, with the test core `[n, t, t']`."""
    R, n, m, S = core.dense.shape
    s = x.shape[2]
    rows = x.transpose(0, 1).flatten(1)
    found = x.new_zeros(S, test.shape[2], s)
    for part in _pieces(test.shape[1], max(R * m, S * n) * s):
        piece = core._between(left[:, part], rows, s)  # [S, n, some of t, s]
        found += test[:, part].flatten(0, 1).mH @ piece.flatten(1, 2)
    return found


def _pieces(rows: int, width: int) -> Iterator[slice]:
    """Some rows at a time, so that what is made of them stays in the processor's cache."""
    step = max(1, _CACHED // width)
    return (slice(start, start + step) for start in range(0, rows, step))


def project_vector(left: Tensor, core: Tensor, right: Tensor) -> Tensor:
    """A vector's core `[n, q, q']` between test functions `[t, q]` and `[u, q']`: `[n, t, u]`."""
    return left @ core @ right.mT


def extend_vector(left: Tensor, core: Tensor, test: Tensor) -> Tensor:
    """The environment `[t', q']` of a vector after one more core."""
    found = left @ core  # [n, t, q']
    n, t, q = found.shape
    return test.reshape(n * t, -1).mH @ found.reshape(n * t, q)


def mode_first(cores: Sequence[Tensor]) -> list[Tensor]:
    """Cores `[r, n, r']` as `[n, r, r']`."""
    return [core.transpose(0, 1).contiguous() for core in cores]


def mirrored(cores: Sequence[Tensor]) -> list[Tensor]:
    """The same train from the other end."""
    return [core.mT.contiguous() for core in reversed(cores)]


def mirrored_operator(cores: Sequence[OperatorCore]) -> list[OperatorCore]:
    """The same operator from the other end."""
    return [OperatorCore.of(core.dense.permute(3, 1, 2, 0)) for core in reversed(cores)]


def left_orthogonal(cores: Sequence[Tensor]) -> list[Tensor]:
    """The same train with orthonormal columns in all cores but the last, which holds its norm."""
    result: list[Tensor] = []
    core = cores[0]
    for following in cores[1:]:
        q, r = torch.linalg.qr(core.flatten(0, 1))
        result.append(q.view(*core.shape[:2], -1))
        core = r @ following
    return [*result, core]


@dataclass(frozen=True, eq=False)
class Interface:
    """What lies to the left of a core: operator and right side between test functions of x or z.

    Args:
        xx: the operator between x and x, `[R, t, r]`.
        zx: the operator between z and x, as of the empty interface where there is no z.
        xb: the right side, seen by x, `[t, q]`.
        zb: the right side, seen by z; the same.
    """

    xx: Tensor
    zx: Tensor
    xb: Tensor
    zb: Tensor

    @classmethod
    def empty(cls, like: Tensor) -> "Interface":
        """To the left of the first core."""
        one = like.new_ones(1, 1, 1)
        return cls(one, one, one[0], one[0])

    def extended(
        self, operator: OperatorCore, right_side: Tensor, x: Tensor, z: Tensor | None = None
    ) -> "Interface":
        """After one more core of each; without z only what x sees."""
        return Interface(
            extend(self.xx, operator, x, x),
            self.zx if z is None else extend(self.zx, operator, z, x),
            extend_vector(self.xb, right_side, x),
            self.zb if z is None else extend_vector(self.zb, right_side, z),
        )
