"""Pointwise products of signals on the sphere: T(x, y, z) = ∫ x(r) y(r) z(r) dΩ on a grid that makes it exact.

Fixing two of the three signals gives the third's coefficients, so the derivative of the product is the same form with
the roles changed, on the same grid: one routine serves every order of derivative. Each transform carries the cube root
of the quadrature weights, which makes the three roles alike.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciten.equivariant.sphere import antipodal_quadrature, gauss_legendre, harmonics_at, quadrature
from sciten.tensor.tracing import is_traced

#: Numbers on the grid for which the second-level cache has room: batches are cut so that they stay there.
_CACHE = 1 << 16


class Grid(Protocol):
    """A way to evaluate the trilinear form of three signals, numbered 0, 1 and 2."""

    def product(self, x: Tensor, y: Tensor, roles: tuple[int, int, int]) -> Tensor:
        """Coefficients of signal `roles[2]`, `[batch, n]`, from those of `roles[0]` and `roles[1]`."""
        ...

    def operations(self) -> int:
        """Multiplications and additions for one sample."""
        ...


def product_on(grid: Grid, x: Tensor, y: Tensor, roles: tuple[int, int, int] = (0, 1, 2)) -> Tensor:
    """`grid.product`, differentiable to any order without keeping values on the grid.

    x and y are `[batch, n]` with the coefficients of their roles; the result has those of `roles[2]`.
    """
    if is_traced(x):
        return grid.product(x, y, roles)  # plain torch operations, which are recorded one by one
    return _Product.apply(grid, roles, x, y)  # type: ignore[no-any-return]


def best_grid(degrees: tuple[tuple[int, ...], ...]) -> Grid:
    """The grid of the fewest operations, where those of a dense transform count for less than others.

    The factors are estimates: products of smaller matrices are less efficient, and coefficients have to be sorted by
    parity. `sciten benchmark tensor-products` times what is chosen.
    """
    dense, antipodal, separable = DenseGrid(degrees), AntipodalGrid(degrees), SeparableGrid(degrees)
    coefficients = sum(2 * l + 1 for d in degrees for l in d)
    costs: list[tuple[float, Grid]] = [
        (dense.operations(), dense),
        (1.4 * antipodal.operations() + 100 * coefficients, antipodal),
        (4.5 * separable.operations(), separable),
    ]
    return min(costs, key=lambda cost: cost[0])[1]


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grid: Grid, roles: tuple[int, int, int], x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        ctx.settings = (grid, roles)
        return grid.product(x, y, roles)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        x, y = ctx.saved_tensors
        grid, (a, b, c) = ctx.settings
        x_gradient = product_on(grid, cotangent, y, (c, b, a)) if ctx.needs_input_grad[2] else None
        y_gradient = product_on(grid, cotangent, x, (c, a, b)) if ctx.needs_input_grad[3] else None
        return None, None, x_gradient, y_gradient


class Constants:
    """Float64 matrices, rounded once for each dtype and device that asks."""

    def __init__(self, *matrices: NDArray[np.float64]) -> None:
        self._exact = [torch.from_numpy(np.ascontiguousarray(m)) for m in matrices]
        self._rounded: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}

    def like(self, tensor: Tensor) -> list[Tensor]:
        if is_traced(tensor):
            return [m.to(dtype=tensor.dtype, device=tensor.device) for m in self._exact]
        key = (tensor.dtype, tensor.device)
        if key not in self._rounded:
            self._rounded[key] = [m.to(dtype=tensor.dtype, device=tensor.device) for m in self._exact]
        return self._rounded[key]


class DenseGrid:
    """Transforms by one matrix for each signal, on the fewest points that are exact.

    Args:
        degrees: for each signal the degrees of its coefficients, in order, 2l + 1 coefficients each.
    """

    def __init__(self, degrees: tuple[tuple[int, ...], ...]) -> None:
        rule = quadrature(sum(max(d, default=0) for d in degrees))
        scale = np.cbrt(rule.weights)
        self._matrices = Constants(
            *(_columns(harmonics_at(max(d, default=0), rule.points), d).T * scale for d in degrees)
        )
        self._sizes = [sum(2 * l + 1 for l in d) for d in degrees]
        self.points = len(rule)

    def product(self, x: Tensor, y: Tensor, roles: tuple[int, int, int]) -> Tensor:
        """See `Grid`."""
        a, b, c = (self._matrices.like(x)[role] for role in roles)
        return in_pieces(lambda p, q: ((p @ a) * (q @ b)) @ c.T, x, y, self.points, c.shape[0])

    def operations(self) -> int:
        """See `Grid`."""
        return 2 * self.points * sum(self._sizes) + self.points


class AntipodalGrid:
    """Transforms on one half of the sphere.

    With even and odd degrees apart, values at opposite points are their sum and difference. The even part of a product
    is even·even + odd·odd, the odd part even·odd + odd·even; half the arithmetic of `DenseGrid`.
    """

    def __init__(self, degrees: tuple[tuple[int, ...], ...]) -> None:
        rule = antipodal_quadrature(sum(max(d, default=0) for d in degrees))
        self.points = len(rule) // 2
        scale = np.cbrt(2 * rule.weights[: self.points])
        self._matrices = []
        self._orders = []
        for d in degrees:
            values = _columns(harmonics_at(max(d, default=0), rule.points[: self.points]), d).T * scale
            odd = (
                np.concatenate([np.full(2 * l + 1, l % 2 == 1) for l in d]) if d else np.zeros(0, dtype=bool)
            )
            self._matrices.append(Constants(values[~odd], values[odd]))
            order = np.concatenate([np.flatnonzero(~odd), np.flatnonzero(odd)])
            self._orders.append(
                (torch.from_numpy(order), torch.from_numpy(np.argsort(order)), int((~odd).sum()))
            )

    def product(self, x: Tensor, y: Tensor, roles: tuple[int, int, int]) -> Tensor:
        """See `Grid`."""
        (a_even, a_odd), (b_even, b_odd), (c_even, c_odd) = (self._matrices[role].like(x) for role in roles)
        (a_order, _, a_split), (b_order, _, b_split), (_, c_order, _) = (self._orders[role] for role in roles)

        def piece(p: Tensor, q: Tensor) -> Tensor:
            p, q = p.index_select(1, a_order.to(p.device)), q.index_select(1, b_order.to(q.device))
            p_even, p_odd = p[:, :a_split] @ a_even, p[:, a_split:] @ a_odd
            q_even, q_odd = q[:, :b_split] @ b_even, q[:, b_split:] @ b_odd
            even = torch.addcmul(p_even * q_even, p_odd, q_odd) @ c_even.T
            odd = torch.addcmul(p_even * q_odd, p_odd, q_even) @ c_odd.T
            return torch.cat([even, odd], dim=1).index_select(1, c_order.to(p.device))

        return in_pieces(piece, x, y, 2 * self.points, len(self._orders[roles[2]][0]))

    def operations(self) -> int:
        """See `Grid`."""
        return 2 * self.points * sum(len(order) for order, _, _ in self._orders) + 6 * self.points


class SeparableGrid:
    """Legendre transforms along the polar axis, then Fourier sums around it: L³ operations instead of L⁴."""

    def __init__(self, degrees: tuple[tuple[int, ...], ...]) -> None:
        self.degree = sum(max(d, default=0) for d in degrees)
        self.rings, self.azimuths = self.degree // 2 + 1, self.degree + 1
        self._lmax = [max(d, default=0) for d in degrees]
        self._degrees = degrees
        self._legendre = [self._polar(lmax) for lmax in self._lmax]
        self._fourier = [self._azimuthal(lmax) for lmax in self._lmax]
        self._places = [self._place(d, lmax) for d, lmax in zip(degrees, self._lmax, strict=True)]

    def product(self, x: Tensor, y: Tensor, roles: tuple[int, int, int]) -> Tensor:
        """See `Grid`."""
        a, b, c = roles

        def piece(p: Tensor, q: Tensor) -> Tensor:
            return self._project(self._values(p, a) * self._values(q, b), c)

        size = len(self._places[c])
        return in_pieces(piece, x, y, self.rings * self.azimuths, size)

    def operations(self) -> int:
        """See `Grid`."""
        orders = [(2 * lmax + 1) * self.rings * (lmax + 1 + self.azimuths) for lmax in self._lmax]
        return 2 * sum(orders) + self.rings * self.azimuths

    def _values(self, x: Tensor, role: int) -> Tensor:
        """Values on the grid, `[batch, rings, azimuths]`."""
        (legendre,), (fourier,) = self._legendre[role].like(x), self._fourier[role].like(x)
        lmax = self._lmax[role]
        table = x.new_zeros(x.shape[0], (2 * lmax + 1) * (lmax + 1)).index_copy(
            1, self._places[role].to(x.device), x
        )
        table = table.view(x.shape[0], 2 * lmax + 1, lmax + 1).transpose(0, 1)  # by order m
        return torch.bmm(table, legendre).permute(1, 2, 0) @ fourier

    def _project(self, values: Tensor, role: int) -> Tensor:
        """The transpose of `_values`."""
        (legendre,), (fourier,) = self._legendre[role].like(values), self._fourier[role].like(values)
        orders = (values @ fourier.T).permute(2, 0, 1)
        table = torch.bmm(orders, legendre.transpose(1, 2)).transpose(0, 1).flatten(1)
        return table.index_select(1, self._places[role].to(values.device))

    def _polar(self, lmax: int) -> Constants:
        """`[2 lmax + 1, lmax + 1, rings]`: the part of Y_lm that depends on the polar angle, weights included."""
        rule = gauss_legendre(self.degree)
        first = slice(None, None, self.azimuths)  # azimuth zero of each ring, where cos(m phi) = 1
        ring = harmonics_at(lmax, rule.points[first]) * np.cbrt(rule.weights[first])[:, None]
        table = np.zeros((2 * lmax + 1, lmax + 1, self.rings))
        for l in range(lmax + 1):
            for m in range(l + 1):
                table[lmax + m, l] = table[lmax - m, l] = ring[:, l * l + l + m]
        return Constants(table)

    def _azimuthal(self, lmax: int) -> Constants:
        phi = 2 * np.pi * np.arange(self.azimuths) / self.azimuths
        return Constants(
            np.stack([np.cos(m * phi) if m >= 0 else np.sin(-m * phi) for m in range(-lmax, lmax + 1)])
        )

    @staticmethod
    def _place(degrees: tuple[int, ...], lmax: int) -> Tensor:
        """Where the coefficient (l, m) lies in a table of orders by degrees."""
        return torch.tensor(
            [(lmax + m) * (lmax + 1) + l for l in degrees for m in range(-l, l + 1)], dtype=torch.int64
        )


def _columns(values: NDArray[np.float64], degrees: tuple[int, ...]) -> NDArray[np.float64]:
    """The columns of some degrees, `[n_points, sum of 2l + 1]`."""
    chosen = [values[:, l * l : (l + 1) ** 2] for l in degrees]
    return np.concatenate(chosen, axis=1) if chosen else np.zeros((len(values), 0))


def in_pieces(
    piece: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, points: int, size: int
) -> Tensor:
    """`piece(x, y)` on slices of the batch whose values on the grid stay in the processor's cache."""
    if not is_traced(x) and x.shape[0] == 0:
        return x.new_zeros(0, size)  # fast Fourier transforms refuse empty batches
    rows = max(32, _CACHE // max(points, 1))
    if x.device.type != "cpu" or is_traced(x) or x.shape[0] <= rows:
        return piece(x, y)
    result = x.new_empty(x.shape[0], size)
    for start in range(0, x.shape[0], rows):
        result[start : start + rows] = piece(x[start : start + rows], y[start : start + rows])
    return result
