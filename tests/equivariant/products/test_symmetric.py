from itertools import permutations

import numpy as np
import pytest
import torch

from sciten.equivariant.products.symmetric import contraction_map, coupling
from sciten.tensor.multilinear import Index, evaluate
from sciten.tensor.multilinear.reference import Reference
from tests.equivariant.rotations import improper_rotation, representation


def evaluate_basis(lmax: int, degree: int, count: int, features: np.ndarray, reduced: bool) -> np.ndarray:
    """Every basis polynomial at given features, `[2 degree + 1, n_paths]`."""
    basis = coupling(lmax, degree, count, reduced=reduced)
    result = np.zeros((2 * degree + 1, basis.coefficients.shape[1]))
    for (monomial, m), row in zip(basis.orders, basis.coefficients, strict=True):
        result[m] += row * np.prod(features[list(basis.monomials[monomial])])
    return result


@pytest.mark.parametrize("reduced", [False, True])
@pytest.mark.parametrize(("lmax", "degree", "count"), [(2, 0, 3), (2, 1, 3), (3, 2, 2), (2, 2, 3), (1, 0, 4)])
def test_basis_is_equivariant(lmax: int, degree: int, count: int, reduced: bool) -> None:
    features = np.random.default_rng(0).normal(size=(lmax + 1) ** 2)
    d = representation(max(lmax, degree), improper_rotation(1))
    d_in = d[: (lmax + 1) ** 2, : (lmax + 1) ** 2]
    d_out = d[degree**2 : (degree + 1) ** 2, degree**2 : (degree + 1) ** 2]
    rotated = evaluate_basis(lmax, degree, count, d_in @ features, reduced)
    np.testing.assert_allclose(
        rotated, d_out @ evaluate_basis(lmax, degree, count, features, reduced), atol=1e-10
    )


def test_two_vectors_couple_to_their_square() -> None:
    features = np.array([0.0, 0.3, -0.7, 1.1])
    (value,) = evaluate_basis(1, 0, 2, features, reduced=False)
    squares = [features[0] ** 2, features[1:] @ features[1:] / np.sqrt(3)]
    np.testing.assert_allclose(np.sort(np.abs(value)), np.sort(np.abs(squares)), atol=1e-14)


@pytest.mark.parametrize(("degree", "full", "rank"), [(0, 23, 8), (1, 51, 12), (2, 65, 14)])
def test_number_of_paths_is_mace_torchs(degree: int, full: int, rank: int) -> None:
    """mace-torch 0.3.16 at lmax 3 and three factors, without and with cuequivariance's reduced basis."""
    assert coupling(3, degree, 3).coefficients.shape[1] == full
    assert coupling(3, degree, 3, reduced=True).coefficients.shape[1] == rank


def test_reduced_basis_spans_the_full_one() -> None:
    full, reduced = (coupling(2, 1, 3, reduced=flag).coefficients for flag in (False, True))
    solution = np.linalg.lstsq(reduced, full, rcond=None)[0]
    np.testing.assert_allclose(reduced @ solution, full, atol=1e-12)
    assert np.linalg.matrix_rank(reduced) == reduced.shape[1]


def test_map_equals_dense_contraction() -> None:
    """The map against the dense symmetric tensors, contracted one factor after the other."""
    generator = torch.Generator().manual_seed(0)
    map_ = contraction_map(1, (0, 1), 3)
    coefficients = torch.randn(2, map_.arguments[0].components, 3, generator=generator, dtype=torch.float64)
    features = torch.randn(5, 4, 3, generator=generator, dtype=torch.float64)
    species = Index(torch.tensor([0, 1, 1, 0, 1]), 2)
    (found,) = evaluate(map_, [coefficients, features], {"species": species}, executor=Reference())
    expected = torch.zeros(5, 4, 3, dtype=torch.float64)
    position = 0
    for degree in (0, 1):
        for count in (3, 2, 1):
            basis = coupling(1, degree, count)
            for monomial, m in basis.orders:
                dense = torch.zeros([4] * count, dtype=torch.float64)
                orders = set(permutations(basis.monomials[monomial]))
                for order in orders:
                    dense[order] = 1 / len(orders)
                letters = "ijk"[:count]
                operands = ",".join(f"n{letter}c" for letter in letters)
                power = torch.einsum(f"{letters},{operands}->nc", dense, *[features] * count)
                expected[:, degree**2 + m] += coefficients[species.rows, position] * power
                position += 1
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
