import e3nn
import numpy as np
import pytest
import torch
from e3nn import o3
from packaging.version import Version
from scipy.spatial.transform import Rotation

from sciten.equivariant.clebsch_gordan import levi_civita, wigner_3j
from sciten.errors import ConfigError
from tests.equivariant.rotations import representation

TRIPLES = [(a, b, c) for a in range(5) for b in range(5) for c in range(abs(a - b), min(a + b, 6) + 1)]


@pytest.mark.skipif(Version(e3nn.__version__) < Version("0.5"), reason="e3nn 0.4 has other signs")
def test_equals_e3nn() -> None:
    for triple in TRIPLES:
        expected = o3.wigner_3j(*triple, dtype=torch.float64).numpy()
        np.testing.assert_allclose(wigner_3j(*triple), expected, atol=1e-14)


def test_is_invariant_under_rotation() -> None:
    d = representation(5, Rotation.random(random_state=0).as_matrix())
    for l1, l2, l3 in [(1, 1, 1), (2, 1, 3), (3, 2, 2), (4, 3, 5)]:
        d1, d2, d3 = (d[l * l : (l + 1) ** 2, l * l : (l + 1) ** 2] for l in (l1, l2, l3))
        rotated = np.einsum("ia,jb,kc,abc->ijk", d1, d2, d3, wigner_3j(l1, l2, l3))
        np.testing.assert_allclose(rotated, wigner_3j(l1, l2, l3), atol=1e-12)


def test_couplings_of_two_vectors_are_the_dot_and_the_cross_product() -> None:
    np.testing.assert_allclose(wigner_3j(1, 1, 0)[:, :, 0], np.eye(3) / np.sqrt(3), atol=1e-15)
    cross = wigner_3j(1, 1, 1)
    np.testing.assert_allclose(np.abs(cross[0, 1]), [0, 0, 1 / np.sqrt(6)], atol=1e-15)
    np.testing.assert_allclose(cross, -cross.transpose(1, 0, 2), atol=1e-15)


def test_the_levi_civita_symbol_is_the_cross_product() -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 3))
    np.testing.assert_allclose(np.einsum("abc,a,b->c", levi_civita(), x, y), np.cross(x, y), atol=1e-15)


def test_impossible_triple_is_refused() -> None:
    with pytest.raises(ConfigError, match="triangle"):
        wigner_3j(1, 1, 3)
