"""What the products of signals have in common, and what each of them is."""

import copy
import itertools

import numpy as np
import pytest
import torch
from e3nn import o3
from scipy.spatial.transform import Rotation
from sympy.physics.wigner import wigner_6j, wigner_9j

from sciten.equivariant import (
    ClebschGordanProduct,
    GauntProduct,
    Irreps,
    MatrixProduct,
    TensorProduct,
    VectorGauntProduct,
    interactability,
)
from sciten.equivariant.clebsch_gordan import wigner_3j
from sciten.equivariant.products.gaunt import gaunt_factor
from sciten.equivariant.products.vector_gaunt import _nine_j_factor
from sciten.errors import ConfigError
from tests.equivariant.rotations import improper_rotation, representation

SIGNALS = [
    lambda a, b, c: ClebschGordanProduct(a, b, c),
    lambda a, b, c: GauntProduct(a, b, c),
    lambda a, b, c: GauntProduct(a, b, c, method="fourier"),
    VectorGauntProduct,
    MatrixProduct,
]
NATURAL, PSEUDO = "4x0e+4x1o+4x2e", "4x1e+4x2o"
BOTH = f"{NATURAL}+{PSEUDO}"
CHANNELS = [ClebschGordanProduct, GauntProduct, VectorGauntProduct, MatrixProduct]


def out_of(kind) -> str:
    """There is no axial field of irrep 0e."""
    return BOTH.replace("4x0e+", "") if kind is VectorGauntProduct else BOTH


def acting(irreps: Irreps, matrix: np.ndarray) -> torch.Tensor:
    """The representation of a rotation or rotoinversion on features."""
    lmax, proper = irreps.lmax, matrix * np.sign(np.linalg.det(matrix))
    degrees = representation(lmax, proper)
    blocks = []
    for mul, ir in irreps:
        sign = 1.0 if np.linalg.det(matrix) > 0 else float(ir.p)
        block = degrees[ir.l**2 : (ir.l + 1) ** 2, ir.l**2 : (ir.l + 1) ** 2]
        blocks += [torch.tensor(sign * block)] * mul
    return torch.block_diag(*blocks)


@pytest.mark.parametrize("kind", CHANNELS)
@pytest.mark.parametrize("weights", [False, True])
def test_equivariant_under_rotations_and_inversion(kind, weights) -> None:
    product = kind.from_irreps(BOTH, BOTH, out_of(kind), weights=weights).double()
    if weights:
        torch.nn.init.normal_(product.weight)
    x, y = torch.randn(2, 6, product.irreps_in1.dim, dtype=torch.float64)
    for matrix in (Rotation.random(random_state=1).as_matrix(), improper_rotation(2), -np.eye(3)):
        left, right, out = (
            acting(i, matrix) for i in (product.irreps_in1, product.irreps_in2, product.irreps_out)
        )
        result = product(x, y)
        assert float(result.detach().abs().max()) > 0.01
        torch.testing.assert_close(product(x @ left.T, y @ right.T), result @ out.T, rtol=0, atol=1e-11)


@pytest.mark.parametrize("kind", SIGNALS)
def test_every_path_is_wigner_3j_times_its_documented_factor(kind) -> None:
    product = kind(3, 4, 5)
    reached = interactability(product)
    basis = torch.eye(16, dtype=torch.float64), torch.eye(25, dtype=torch.float64)
    values = product(basis[0].repeat_interleave(25, 0), basis[1].repeat(16, 1)).view(16, 25, 36).numpy()
    for a, b, c in itertools.product(range(4), range(5), range(6)):
        block = values[a * a : (a + 1) ** 2, b * b : (b + 1) ** 2, c * c : (c + 1) ** 2]
        if (a, b, c) not in reached:
            assert np.abs(block).max() < 1e-12
        elif isinstance(product, ClebschGordanProduct):
            into = sum(t[2] == c for t in reached)
            np.testing.assert_allclose(block, np.sqrt((2 * c + 1) / into) * wigner_3j(a, b, c), atol=1e-12)
        else:
            np.testing.assert_allclose(block, product.path_factor(a, b, c) * wigner_3j(a, b, c), atol=1e-12)


def triangles(top: int) -> list[tuple[int, int, int]]:
    degrees = itertools.product(range(top + 1), repeat=3)
    return [(a, b, c) for a, b, c in degrees if abs(a - b) <= c <= a + b]


@pytest.mark.parametrize("lam", [1, 2, 3])
def test_factors_of_matrix_products_are_6j_symbols(lam: int) -> None:
    """Against sympy, with the sign: that of the last degree, which `wigner_3j` conjugates."""
    product = MatrixProduct(2 * lam, 2 * lam, 2 * lam, lam)
    for a, b, c in triangles(2 * lam):
        size = np.sqrt((2 * a + 1) * (2 * b + 1) * (2 * c + 1))
        expected = (-1) ** c * size * float(wigner_6j(a, b, c, lam, lam, lam))
        assert product.path_factor(a, b, c) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("degrees", triangles(3))
def test_factors_of_vector_products_are_9j_symbols(degrees: tuple[int, int, int]) -> None:
    """Against sympy, with signs, field by field, and added up for the parities of `path_factor`."""
    size = np.sqrt(6 * np.prod([2 * degree + 1 for degree in degrees]))
    total = 0.0
    for fields in itertools.product(*[[max(degree - 1, 0), degree, degree + 1] for degree in degrees]):
        a, b, c = fields
        if not abs(a - b) <= c <= a + b or any(
            not abs(l - 1) <= degree <= l + 1 for l, degree in zip(fields, degrees, strict=True)
        ):
            continue
        symbol = wigner_9j(a, 1, degrees[0], b, 1, degrees[1], c, 1, degrees[2])
        expected = size * gaunt_factor(a, b, c) * float(symbol)
        assert _nine_j_factor(fields, degrees) == pytest.approx(expected, rel=1e-12, abs=1e-12)
        # Polar fields of natural parity for the inputs, an axial one of the other parity for the output.
        if all(l != degree for l, degree in zip(fields, degrees, strict=True)):
            total += expected
    product = VectorGauntProduct(3, 3, 3)
    assert product.path_factor(*degrees) == pytest.approx(total, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("method", ["grid", "fourier", "auto"])
@pytest.mark.parametrize("degrees", [(0, 0, 0), (1, 1, 2), (2, 3, 4), (6, 2, 3)])
def test_gaunt_products_are_products_of_functions(method, degrees) -> None:
    """Where nothing is cut off, the product's signal is the product of the signals, at any point."""
    a, b, _ = degrees
    product = GauntProduct(a, b, a + b, method=method)
    x, y = (
        torch.randn(2, 3, (a + 1) ** 2, dtype=torch.float64),
        torch.randn(2, 3, (b + 1) ** 2, dtype=torch.float64),
    )
    points = torch.nn.functional.normalize(torch.randn(20, 3, dtype=torch.float64), dim=1)

    def at(signal: torch.Tensor, lmax: int) -> torch.Tensor:
        harmonics = o3.spherical_harmonics(
            list(range(lmax + 1)), points, normalize=True, normalization="integral"
        )
        return signal @ harmonics.T

    torch.testing.assert_close(at(product(x, y), a + b), at(x, a) * at(y, b), rtol=0, atol=1e-11)


def test_paths_of_a_cut_off_product_are_e3nns() -> None:
    product = GauntProduct(2, 2, 2)
    x, y = torch.randn(2, 9, dtype=torch.float64)
    expected = torch.zeros(9, dtype=torch.float64)
    for a, b, c in itertools.product(range(3), repeat=3):
        if abs(a - b) <= c <= a + b:
            coupling = o3.wigner_3j(a, b, c, dtype=torch.float64)
            parts = x[a * a : (a + 1) ** 2], y[b * b : (b + 1) ** 2]
            expected[c * c : (c + 1) ** 2] += product.path_factor(a, b, c) * torch.einsum(
                "i,j,ijk->k", *parts, coupling
            )
    torch.testing.assert_close(product(x, y), expected, rtol=0, atol=1e-12)


def test_parities_are_told_apart() -> None:
    assert interactability(GauntProduct.from_irreps("1o", "1o", "1e+0e+2e")) == {(1, 1, 0), (1, 1, 2)}
    assert interactability(GauntProduct.from_irreps("1o", "1e", "0o+0e+2e+2o+1o")) == {(1, 1, 0), (1, 1, 2)}
    assert interactability(MatrixProduct.from_irreps("1o", "1o", "1o+1e+0e")) == {(1, 1, 1), (1, 1, 0)}
    assert interactability(VectorGauntProduct.from_irreps("1o", "1o", "1o+1e")) == {(1, 1, 1)}


def test_the_cross_product_of_vectors_is_among_the_vector_products() -> None:
    x, y = torch.randn(2, 5, 3, dtype=torch.float64)
    product = VectorGauntProduct.from_irreps("1o", "1o", "1e")
    factor = product.path_factor(1, 1, 1)
    coupling = o3.wigner_3j(1, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(product(x, y), factor * torch.einsum("zi,zj,ijk->zk", x, y, coupling))
    cross = torch.linalg.cross(x, y)
    ratio = (product(x, y) / cross).mean()
    torch.testing.assert_close(product(x, y), ratio * cross)


def test_matrix_products_lose_the_known_paths() -> None:
    def missing(lam: int) -> set:
        triangle = {
            t
            for t in itertools.product(range(2 * lam + 1), repeat=3)
            if abs(t[0] - t[1]) <= t[2] <= t[0] + t[1]
        }
        return {
            tuple(sorted(t))
            for t in triangle - interactability(MatrixProduct(2 * lam, 2 * lam, 2 * lam, lam))
        }

    assert missing(2) == set()
    assert missing(3) == {(3, 5, 5)}
    assert missing(4) == {(5, 6, 7)}


@pytest.mark.parametrize("kind", CHANNELS)
def test_channels_are_independent_and_layouts_are_e3nns(kind) -> None:
    product = kind.from_irreps(BOTH, NATURAL, out_of(kind))
    single = kind.from_irreps(*(str(i).replace("4x", "") for i in product.irreps))
    x, y = (torch.randn(2, 3, i.dim, dtype=torch.float64) for i in product.irreps[:2])

    def channel(features: torch.Tensor, irreps: Irreps, n: int) -> torch.Tensor:
        blocks = zip(irreps.slices(), irreps, strict=True)
        return torch.cat(
            [features[..., w].unflatten(-1, (4, e.ir.dim))[..., n, :] for w, e in blocks], dim=-1
        )

    result = product(x, y)
    for n in range(4):
        expected = single(channel(x, product.irreps_in1, n), channel(y, product.irreps_in2, n))
        torch.testing.assert_close(channel(result, product.irreps_out, n), expected)


@pytest.mark.parametrize("kind", [GauntProduct, VectorGauntProduct, MatrixProduct])
def test_weights_scale_degrees_and_are_learned(kind) -> None:
    product = kind.from_irreps(
        NATURAL, NATURAL, PSEUDO if kind is VectorGauntProduct else NATURAL, weights=True
    ).double()
    plain = kind.from_irreps(*product.irreps)
    x, y = torch.randn(2, 5, 36, dtype=torch.float64)
    torch.testing.assert_close(product(x, y), plain(x, y))  # one at first
    weight = torch.randn(product.weight_numel, dtype=torch.float64, requires_grad=True)
    scales = [
        torch.cat([w.repeat_interleave(e.ir.dim) for w, e in zip(part, irreps, strict=True)])
        for part, irreps in zip(
            weight.view(-1, 4).split([len(i) for i in product.irreps]), product.irreps, strict=True
        )
    ]
    torch.testing.assert_close(product(x, y, weight), scales[2] * plain(x * scales[0], y * scales[1]))
    product(x, y).square().sum().backward()
    assert float(product.weight.grad.abs().min()) > 0


def test_clebsch_gordan_products_are_e3nns_uuu() -> None:
    product = ClebschGordanProduct.from_irreps(BOTH, NATURAL, BOTH, weights=True).double()
    instructions = [(i, j, k, "uuu", True) for i, j, k in product.paths]
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    theirs = o3.TensorProduct(BOTH, NATURAL, BOTH, instructions, shared_weights=True, internal_weights=False)
    torch.set_default_dtype(before)
    weight = torch.randn(theirs.weight_numel, dtype=torch.float64)
    x, y = torch.randn(7, 68, dtype=torch.float64), torch.randn(7, 36, dtype=torch.float64)
    torch.testing.assert_close(product(x, y, weight), theirs(x, y, weight), rtol=0, atol=1e-12)
    ours = TensorProduct(BOTH, NATURAL, BOTH, instructions, internal_weights=False)
    torch.testing.assert_close(ours(x, y, weight), theirs(x, y, weight), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", SIGNALS)
@pytest.mark.parametrize("leading", [(), (3,), (2, 0, 4), (33,)])
def test_any_leading_axes(kind, leading) -> None:
    product = kind(2, 1, 2)
    x, y = torch.randn(*leading, 9), torch.randn(*leading, 4)
    result = product(x, y)
    assert result.shape == (*leading, 9)
    torch.testing.assert_close(result, product(x.double(), y.double()).float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", SIGNALS)
def test_inputs_that_do_not_fit_are_refused(kind) -> None:
    product = kind(3, 2, 2)
    name = type(product).__name__
    x, y = torch.zeros(5, 16), torch.zeros(5, 9)
    for inputs, message in [
        ((torch.zeros(32, 9), y), r"expected x of shape \[..., 16\] for lmax=3, got \[32, 9\]"),
        ((x, torch.zeros(1, 9)), "expected equal leading axes"),
        ((x, y.double()), "expected one dtype and one device"),
        ((x.int(), y), "expected x to be a floating-point tensor"),
        ((x, y, torch.zeros(1)), r"expected weight of shape \[0\], got \[1\]"),
    ]:
        with pytest.raises(ConfigError, match=f"{name}: {message}"):
            product(*inputs)


@pytest.mark.parametrize("kind", CHANNELS)
def test_irreps_and_degrees_that_do_not_fit_are_refused(kind) -> None:
    name = kind.__name__
    with pytest.raises(ConfigError, match=f"{name}: expected one multiplicity"):
        kind.from_irreps("2x1o", "1o", "1e")
    with pytest.raises(ConfigError, match=f"{name}: expected every irrep once"):
        kind.from_irreps("1o+1o", "1o", "1e")
    with pytest.raises(ConfigError, match=f"{name}: expected lmax1 to be an integer of at least 0, got -1"):
        kind(-1, 1, 1)


@pytest.mark.parametrize("kind", [ClebschGordanProduct, GauntProduct])
def test_products_that_only_say_what_is_wanted_do_not_compute(kind) -> None:
    name = kind.__name__
    assert str(kind()) == f"{name}()"
    with pytest.raises(ConfigError, match="together, or none of them"):
        kind(1)
    with pytest.raises(ConfigError, match=f"{name}: it has no degrees yet"):
        kind()(torch.zeros(1), torch.zeros(1))


def test_what_only_some_products_refuse() -> None:
    with pytest.raises(ConfigError, match="expected method to be grid, fourier or auto, got 'fft'"):
        GauntProduct(1, 1, 1, method="fft")
    with pytest.raises(ConfigError, match="expected lam of at least 2 for degrees up to 3, got 1"):
        MatrixProduct(3, 1, 1, 1)
    with pytest.raises(ConfigError, match="there is no polar field of irrep 0o"):
        VectorGauntProduct.from_irreps("0o", "1o", "1e")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GauntProduct.from_irreps("1o", "1e", "1e"), "1x1o x 1x1e to 1x1e"),
        (lambda: GauntProduct.from_irreps("0e", "1o", "2e"), "1x0e x 1x1o to 1x2e"),
        (lambda: GauntProduct.from_irreps(NATURAL, NATURAL, PSEUDO), "to 4x1e\\+4x2o"),
        (lambda: VectorGauntProduct.from_irreps("1o", "2o", "1e"), "1x1o x 1x2o to 1x1e"),
        (lambda: VectorGauntProduct.from_irreps("1o", "1o", "2e"), "1x1o x 1x1o to 1x2e"),
        (lambda: VectorGauntProduct(0, 0, 0), "1x0e x 1x0e to 1x0o"),
        (lambda: ClebschGordanProduct.from_irreps("1o", "1o", "1o"), "1x1o x 1x1o to 1x1o"),
        (lambda: MatrixProduct.from_irreps("1o", "1o", "1o"), "1x1o x 1x1o to 1x1o"),
        (lambda: MatrixProduct.from_irreps("3o", "5o", "5e", lam=3), "1x3o x 1x5o to 1x5e"),
    ],
)
def test_products_that_couple_nothing_are_refused(make, message) -> None:
    with pytest.raises(ConfigError, match=f"Product: no path leads from .*{message}"):
        make()


def test_outputs_that_are_not_reached_beside_others_are_zero() -> None:
    product = GauntProduct.from_irreps("1o", "1o", "0e+1e+1o")
    result = product(*torch.randn(2, 5, 3))
    # To rounding of the transforms to and from the grid, which processors do differently.
    torch.testing.assert_close(result[:, 1:], torch.zeros(5, 6), rtol=0.0, atol=1e-6)
    assert float(result[:, 0].abs().min()) > 1e-4


@pytest.mark.parametrize("kind", CHANNELS)
def test_copies_compute_the_same(kind) -> None:
    product = kind.from_irreps(BOTH, NATURAL, PSEUDO, weights=True)
    x, y = torch.randn(5, 68), torch.randn(5, 36)
    assert float(product(x, y).detach().abs().min()) > 0
    assert torch.equal(copy.deepcopy(product)(x, y), product(x, y))


def test_compiled_fourier_series_take_an_empty_batch() -> None:
    product = GauntProduct(2, 2, 2, method="fourier")
    compiled = torch.compile(product)
    for rows in (4, 0, 7):
        x, y = torch.randn(rows, 9), torch.randn(rows, 9)
        torch.testing.assert_close(compiled(x, y), product(x, y))
