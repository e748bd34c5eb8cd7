"""Signals on the sphere: harmonics at given points, and quadratures that integrate them exactly."""

from dataclasses import dataclass
from functools import cache
from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray

from sciten.errors import ConfigError

#: Lebedev rules of these degrees have negative weights.
_NOT_POSITIVE = (13, 25, 27)
_LEBEDEV = (*range(3, 32, 2), *range(35, 132, 6))


@dataclass(frozen=True, eq=False)
class Quadrature:
    """Points and weights that integrate every polynomial up to a degree over the sphere, to rounding.

    Attributes:
        name: "lebedev" or "gauss-legendre".
        degree: highest degree integrated exactly.
        points: `[n, 3]`, unit vectors. Where it is antipodal, point n/2 + i is the opposite of point i.
        weights: `[n]`, positive; they add up to 4π.
        antipodal: whether points come in opposite pairs.
    """

    name: str
    degree: int
    points: NDArray[np.float64]
    weights: NDArray[np.float64]
    antipodal: bool

    def __len__(self) -> int:
        return len(self.weights)


@cache
def quadrature(degree: int) -> Quadrature:
    """The smallest quadrature with positive weights known for a degree: Lebedev's where there is one, or a product
    grid."""
    product = gauss_legendre(degree)
    rule = lebedev(degree)
    return rule if rule is not None and len(rule) < len(product) else product


@cache
def gauss_legendre(degree: int) -> Quadrature:
    """Gauss-Legendre nodes along the polar axis y times uniform azimuths: (⌊degree/2⌋ + 1)(degree + 1) points."""
    if degree < 0:
        raise ConfigError(f"quadrature: expected a degree of at least 0, got {degree}")
    nodes, node_weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    azimuths = 2 * pi * np.arange(degree + 1) / (degree + 1)
    y = np.repeat(nodes, len(azimuths))
    radius = np.sqrt(1 - y**2)
    phi = np.tile(azimuths, len(nodes))
    points = np.stack([radius * np.sin(phi), y, radius * np.cos(phi)], axis=1)
    weights = np.repeat(node_weights * 2 * pi / (degree + 1), len(azimuths))
    return Quadrature("gauss-legendre", degree, points, weights, antipodal=False)


@cache
def antipodal_quadrature(degree: int) -> Quadrature:
    """The smallest quadrature whose points come in opposite pairs, so that odd polynomials vanish pair by pair."""
    product = gauss_legendre(degree - degree % 2 + 1)  # an even number of azimuths
    rings = degree // 2 + 1
    ring, step = np.divmod(np.arange(len(product)), len(product) // rings)
    opposite = (rings - 1 - ring) * (len(product) // rings) + (step + len(product) // rings // 2) % (
        len(product) // rings
    )
    half = np.flatnonzero(opposite > np.arange(len(product)))
    order = np.concatenate([half, opposite[half]])
    paired = Quadrature(product.name, degree, product.points[order], product.weights[order], antipodal=True)
    rule = lebedev(degree)
    return rule if rule is not None and len(rule) < len(paired) else paired


@cache
def lebedev(degree: int) -> Quadrature | None:
    """Lebedev's rule (Lebedev and Laikov 1999) of the lowest degree that suffices; None beyond 131."""
    from scipy.integrate import lebedev_rule

    found = next((d for d in _LEBEDEV if d >= degree and d not in _NOT_POSITIVE), None)
    if found is None:
        return None
    points, weights = lebedev_rule(found)
    points = points.T
    # One point of each opposite pair: the one whose first coordinate that is not zero is positive.
    signs = np.sign(np.where(np.abs(points) > 1e-12, points, 0.0))
    half = np.array([next(s for s in row if s != 0) > 0 for row in signs])
    points, weights = points[half], weights[half]
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return Quadrature(
        "lebedev",
        found,
        np.concatenate([points, -points]),
        np.concatenate([weights, weights]),
        antipodal=True,
    )


def harmonics_at(lmax: int, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Real spherical harmonics at unit vectors, `[n, (lmax + 1)**2]`, orthonormal over the sphere.

    This is e3nn's "integral" normalisation, with its order and signs. By recurrences in l that are stable for any
    degree
    (Varshalovich et al., Quantum Theory of Angular Momentum, 5.2), while polynomials in x, y, z lose digits from l
    = 10 on.
    """
    x, y, z = points.T
    columns: list[NDArray[np.float64]] = [np.empty(0)] * (lmax + 1) ** 2
    # The azimuth enters as radius^m (cos, sin)(m phi) = (z + i x)^m: no angles, and nothing special at the poles.
    azimuthal = np.ones_like(x, dtype=complex)
    start = 1 / sqrt(4 * pi)
    for m in range(lmax + 1):
        if m:
            start *= sqrt((2 * m + 1) / (2 * m))
        previous, current = np.zeros_like(y), np.full_like(y, start)
        for l in range(m, lmax + 1):
            value = current * azimuthal
            if m == 0:
                columns[l * l + l] = value.real
            else:
                columns[l * l + l + m] = sqrt(2) * value.real
                columns[l * l + l - m] = sqrt(2) * value.imag
            up = sqrt((2 * l + 3) / ((l + 1 + m) * (l + 1 - m)))
            down = sqrt((l + m) * (l - m) / (2 * l - 1)) if l > m else 0.0
            previous, current = current, up * (sqrt(2 * l + 1) * y * current - down * previous)
        azimuthal = azimuthal * (z + 1j * x)
    return np.stack(columns, axis=1)
