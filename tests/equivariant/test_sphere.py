import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from sciten.equivariant.harmonics import spherical_harmonics
from sciten.equivariant.sphere import antipodal_quadrature, gauss_legendre, harmonics_at, lebedev, quadrature
from sciten.errors import ConfigError

RULES = [quadrature, gauss_legendre, antipodal_quadrature]


def random_directions(n: int) -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(n, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def test_harmonics_are_the_polynomials_in_integral_normalisation() -> None:
    points = random_directions(50)
    expected = spherical_harmonics(8, torch.tensor(points)).numpy() / np.sqrt(4 * np.pi)
    np.testing.assert_allclose(harmonics_at(8, points), expected, atol=1e-13)


def test_harmonics_of_high_degree_equal_those_of_scipy() -> None:
    points, l = random_directions(20), 40
    theta, phi = np.arccos(points[:, 1]), np.arctan2(points[:, 0], points[:, 2])
    values = harmonics_at(l, points)[:, l * l :]
    for m in range(l + 1):
        theirs = (-1) ** m * sph_harm_y(l, m, theta, phi) * (np.sqrt(2) if m else 1)
        np.testing.assert_allclose(values[:, l + m], theirs.real, atol=1e-11)
        if m:
            np.testing.assert_allclose(values[:, l - m], theirs.imag, atol=1e-11)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("degree", [0, 1, 2, 3, 5, 12, 13, 24, 25, 27, 30, 61])
def test_harmonics_are_orthonormal_under_every_rule(rule, degree: int) -> None:
    found = rule(degree)
    assert found.degree >= degree or found.antipodal
    assert (found.weights > 0).all()
    values = harmonics_at(degree // 2, found.points)
    gram = (values.T * found.weights) @ values
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)
    # the highest degree itself: against the constant it integrates to zero
    highest = harmonics_at(degree, found.points)[:, degree * degree :]
    if degree:
        np.testing.assert_allclose(found.weights @ highest, 0, atol=1e-11)


@pytest.mark.parametrize("degree", range(1, 40))
def test_sizes(degree: int) -> None:
    assert len(gauss_legendre(degree)) == (degree // 2 + 1) * (degree + 1)
    assert len(quadrature(degree)) <= len(gauss_legendre(degree))
    rule = antipodal_quadrature(degree)
    half = len(rule) // 2
    np.testing.assert_allclose(rule.points[:half], -rule.points[half:], atol=1e-15)
    np.testing.assert_allclose(rule.weights[:half], rule.weights[half:], atol=1e-15)


def test_rules_with_negative_weights_are_passed_over() -> None:
    assert [lebedev(d).degree for d in (12, 13, 25, 26, 27)] == [15, 15, 29, 29, 29]
    assert lebedev(132) is None
    assert quadrature(140).name == "gauss-legendre"
    with pytest.raises(ConfigError, match="degree of at least 0"):
        gauss_legendre(-1)
