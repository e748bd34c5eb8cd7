"""The maps on irreducible parts against what they stand for on 3x3 matrices."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from sciten.equivariant.harmonics import spherical_harmonics
from sciten.potentials.tensornet.algebra import (
    Matrices,
    basis,
    embedding_map,
    message_map,
    product_map,
    squared_norms,
    update_map,
)
from sciten.tensor.multilinear import Index, evaluate

N, C = 7, 3


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def parts_of(matrices: Tensor) -> Matrices:
    """Irreducible parts of `[n, channels, 3, 3]`."""
    components = torch.einsum("kab,ncab->nkc", torch.from_numpy(basis()), matrices)
    return components[:, :1], components[:, 1:4], components[:, 4:]


def matrices_of(parts: Matrices) -> Tensor:
    """The inverse of `parts_of`."""
    return torch.einsum("kab,nkc->ncab", torch.from_numpy(basis()), torch.cat(parts, dim=1))


def assert_same(found: tuple[Tensor, ...], expected: Tensor) -> None:
    torch.testing.assert_close(matrices_of(found), expected, rtol=0, atol=1e-13)  # type: ignore[arg-type]


def test_basis_is_orthonormal_and_irreducible() -> None:
    matrices = basis()
    np.testing.assert_allclose(np.einsum("iab,jab->ij", matrices, matrices), np.eye(9), atol=1e-15)
    rotation = Rotation.random(random_state=0).as_matrix()
    turned = np.einsum("ab,kbc,dc,lad->lk", rotation, matrices, rotation, matrices)
    blocks = np.zeros((9, 9), dtype=bool)
    for start, end in ((0, 1), (1, 4), (4, 9)):
        blocks[start:end, start:end] = True
    assert np.abs(turned[~blocks]).max() < 1e-15
    np.testing.assert_allclose(turned[1:4, 1:4], rotation, atol=1e-15)


def test_products() -> None:
    y, m = random(N, C, 3, 3), random(N, C, 3, 3, seed=1)
    arguments = [*parts_of(y), *parts_of(m)]
    assert_same(evaluate(product_map("O(3)", with_state=False), arguments), y @ m + m @ y)
    assert_same(evaluate(product_map("SO(3)", with_state=False), arguments), 2 * y @ m)
    state = random(N, 1, seed=2)
    expected = (1 + state[:, :, None, None]) * (y @ m + m @ y)
    assert_same(evaluate(product_map("O(3)", with_state=True), [*arguments, state]), expected)


def test_update() -> None:
    x, d, state = random(N, C, 3, 3), random(N, C, 3, 3, seed=1), random(N, 1, seed=2)
    arguments = [*parts_of(x), *parts_of(d)]
    assert_same(evaluate(update_map(with_state=False), arguments), x + d + d @ d)
    expected = x + d + (1 + state[:, :, None, None]) * (d @ d)
    assert_same(evaluate(update_map(with_state=True), [*arguments, state]), expected)


def test_norms() -> None:
    x = random(N, C, 3, 3)
    parts = parts_of(x)
    torch.testing.assert_close(squared_norms(parts)[:, 0], x.square().sum((2, 3)))
    antisymmetric = 0.5 * (x - x.mT)
    identity = 3 * (x.diagonal(dim1=2, dim2=3).mean(-1)).square()
    symmetric = x.square().sum((2, 3)) - identity - antisymmetric.square().sum((2, 3))
    expected = torch.stack([identity, antisymmetric.square().sum((2, 3)), symmetric], dim=1)
    torch.testing.assert_close(squared_norms(parts, by_degree=True), expected)


@pytest.mark.parametrize("gathered", [False, True])
def test_messages(gathered: bool) -> None:
    senders, receivers = torch.tensor([0, 3, 3, 6, 1]), torch.tensor([1, 1, 2, 5, 5])
    pairs = torch.tensor([0, 1, 1, 2, 0])
    weights, x = random(3 if gathered else 5, 3, C), random(N, C, 3, 3, seed=1)
    indices = {"senders": Index(senders, N), "receivers": Index(receivers, N), "pairs": Index(pairs, 3)}
    found = evaluate(message_map("pairs" if gathered else None), [weights, *parts_of(x)], indices)
    expected = torch.zeros_like(x)
    for e, (i, j) in enumerate(zip(receivers, senders, strict=True)):
        part = parts_of(x[j : j + 1])
        row = weights[pairs[e] if gathered else e]
        expected[i] += matrices_of(tuple(p * row[l] for l, p in enumerate(part)))[0]  # type: ignore[arg-type]
    assert_same(found, expected)


def test_embedding_of_an_edge() -> None:
    unit = random(4, 3)
    unit /= unit.norm(dim=1, keepdim=True)
    weights, features = random(4, 3, C, seed=1), random(2, 1, C, seed=2)
    kinds, receivers = torch.tensor([1, 0, 0, 1]), torch.tensor([0, 1, 2, 3])
    indices = {"elements": Index(kinds, 2), "receivers": Index(receivers, 4)}
    found = evaluate(embedding_map(None), [weights, features, spherical_harmonics(2, unit)], indices)
    x, y, z = unit.unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(4, 3, 3)
    eye = torch.eye(3, dtype=torch.float64)
    traceless = unit[:, :, None] * unit[:, None] - eye / 3
    shapes = torch.stack([eye.expand(4, 3, 3), cross, traceless], dim=1)
    expected = torch.einsum("elc,elab,ec->ecab", weights, shapes, features[kinds, 0])
    assert_same(found, expected)
