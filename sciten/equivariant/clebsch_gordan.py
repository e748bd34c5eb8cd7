"""Coupling coefficients of real spherical harmonics, in closed form and in float64.

Basis, axis order (x, y, z for degree one) and signs are those of e3nn 0.5 and later. They are computed here because
e3nn 0.4 differs in the sign of some couplings, and a stored model must mean the same whichever version is installed.
"""

from functools import cache
from math import factorial, sqrt

import numpy as np
from numpy.typing import NDArray

from sciten.errors import ConfigError


@cache
def wigner_3j(l1: int, l2: int, l3: int) -> NDArray[np.float64]:
    """The invariant coupling of three degrees, `[2 l1 + 1, 2 l2 + 1, 2 l3 + 1]`, of unit Frobenius norm.

    Raises:
        ConfigError: the degrees violate the triangle inequality.
    """
    if not abs(l1 - l2) <= l3 <= l1 + l2:
        raise ConfigError(
            f"wigner_3j: degrees ({l1}, {l2}, {l3}) violate the triangle inequality |l1 - l2| <= l3 <= l1 + l2"
        )
    coupling = np.einsum(
        "ia,jb,kc,ijk->abc",
        _real_to_complex(l1),
        _real_to_complex(l2),
        _real_to_complex(l3).conj(),
        _complex_clebsch_gordan(l1, l2, l3),
        optimize=True,  # one index after the other: l⁴ operations instead of l⁶
    ).real
    coupling /= np.linalg.norm(coupling)
    coupling[np.abs(coupling) < 1e-14] = 0.0
    coupling.setflags(write=False)
    return coupling


def levi_civita() -> NDArray[np.float64]:
    """The totally antisymmetric symbol, `[3, 3, 3]`."""
    symbol = np.zeros((3, 3, 3))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        symbol[i, j, k], symbol[j, i, k] = 1.0, -1.0
    return symbol


def _real_to_complex(l: int) -> NDArray[np.complex128]:
    """Unitary change of basis from real harmonics (columns) to complex ones (rows m = -l..l).

    The phase (-i)^l makes the couplings real.
    """
    q = np.zeros((2 * l + 1, 2 * l + 1), dtype=complex)
    q[l, l] = 1.0
    for m in range(1, l + 1):
        q[l - m, l + m] = 1 / sqrt(2)
        q[l - m, l - m] = -1j / sqrt(2)
        q[l + m, l + m] = (-1) ** m / sqrt(2)
        q[l + m, l - m] = 1j * (-1) ** m / sqrt(2)
    return (-1j) ** l * q


def _complex_clebsch_gordan(l1: int, l2: int, l3: int) -> NDArray[np.float64]:
    """<l1 m1 l2 m2 | l3 m3> by Racah's formula (Varshalovich et al., Quantum Theory of Angular Momentum, 8.2.1)."""
    f = factorial
    result = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    triangle = f(l1 + l2 - l3) * f(l1 - l2 + l3) * f(-l1 + l2 + l3) / f(l1 + l2 + l3 + 1)
    for m1 in range(-l1, l1 + 1):
        for m2 in range(max(-l2, -l3 - m1), min(l2, l3 - m1) + 1):
            m3 = m1 + m2
            root = sqrt((2 * l3 + 1) * triangle) * sqrt(
                f(l1 + m1) * f(l1 - m1) * f(l2 + m2) * f(l2 - m2) * f(l3 + m3) * f(l3 - m3)
            )
            total = 0.0
            for k in range(max(0, l2 - l3 - m1, l1 - l3 + m2), min(l1 + l2 - l3, l1 - m1, l2 + m2) + 1):
                total += (-1) ** k / (
                    f(k)
                    * f(l1 + l2 - l3 - k)
                    * f(l1 - m1 - k)
                    * f(l2 + m2 - k)
                    * f(l3 - l2 + m1 + k)
                    * f(l3 - l1 - m2 + k)
                )
            result[l1 + m1, l2 + m2, l3 + m3] = root * total
    return result
