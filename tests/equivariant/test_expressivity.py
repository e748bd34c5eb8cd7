import pytest
import torch

from sciten.equivariant import (
    CartesianProduct,
    ClebschGordanProduct,
    ElementwiseTensorProduct,
    FullTensorProduct,
    FullyConnectedTensorProduct,
    GauntProduct,
    Irreps,
    MatrixProduct,
    SO2Product,
    TensorProduct,
    TensorSquare,
    VectorGauntProduct,
    expressivity,
    interactability,
)
from sciten.errors import ConfigError


def triangle(lmax: int, parity: int | None = None) -> set[tuple[int, int, int]]:
    degrees = range(lmax + 1)
    return {
        (a, b, c)
        for a in degrees
        for b in degrees
        for c in degrees
        if abs(a - b) <= c <= a + b and parity in (None, (a + b + c) % 2)
    }


@pytest.mark.parametrize("lmax", [1, 2, 3])
def test_what_single_irreps_express(lmax: int) -> None:
    # A product without weights of its own has one for each input and output degree, less two overall scales.
    degrees = 3 * (lmax + 1) - 2
    assert expressivity(ClebschGordanProduct(lmax, lmax, lmax, weights=True)) == len(triangle(lmax, 0))
    assert expressivity(GauntProduct(lmax, lmax, lmax)) == min(degrees, len(triangle(lmax, 0)))
    assert expressivity(MatrixProduct(lmax, lmax, lmax)) == min(degrees, len(triangle(lmax)))
    assert interactability(GauntProduct(lmax, lmax, lmax)) == triangle(lmax, 0)
    assert interactability(VectorGauntProduct(lmax, lmax, lmax)) == triangle(lmax, 1)
    assert interactability(MatrixProduct(lmax, lmax, lmax)) == triangle(lmax)


def test_weights_of_the_product_itself_are_not_counted_twice() -> None:
    irreps = "0e+1o+2e"
    plain = GauntProduct.from_irreps(irreps, irreps, irreps)
    weighted = GauntProduct.from_irreps(irreps, irreps, irreps, weights=True).double()
    assert expressivity(plain) == expressivity(weighted) == 7


def test_fully_connected_products_realise_everything() -> None:
    first, second, out = "2x0e+1x1o", "1x0e+2x1o", "2x0e+1x1o"
    instructions = [
        (0, 0, 0, "uvw", True),
        (0, 1, 1, "uvw", True),
        (1, 0, 1, "uvw", True),
        (1, 1, 0, "uvw", True),
    ]
    product = TensorProduct(first, second, out, instructions).double()
    assert expressivity(product) == product.weight_numel == 4 + 4 + 1 + 4


@pytest.mark.parametrize("shared", [False, True])
def test_weights_from_outside_shared_or_not(shared: bool) -> None:
    instructions = [(0, 0, 0, "uuu", True), (0, 1, 1, "uvu", True), (1, 0, 1, "uvu", True)]
    product = TensorProduct(
        "2x0e+2x1o",
        "2x0e+2x1o",
        "2x0e+2x1o",
        instructions,
        shared_weights=shared,
        internal_weights=False,
    )
    assert interactability(product) == {(0, 0, 0), (0, 1, 1), (1, 0, 1)}
    internal = TensorProduct("2x0e+2x1o", "2x0e+2x1o", "2x0e+2x1o", instructions)
    assert expressivity(product) == expressivity(internal)


def test_squares_are_their_symmetric_products() -> None:
    # The antisymmetric product of a vector with itself is not there; that of two vectors is.
    assert interactability(TensorSquare("1o")) == {(1, 1, 0), (1, 1, 2)}
    assert interactability(TensorSquare("2x1o")) == {(1, 1, 0), (1, 1, 1), (1, 1, 2)}
    assert expressivity(TensorSquare("1o")) == 2
    weighted = TensorSquare("0e+1o", "0e+1o")
    assert interactability(weighted) == {(0, 0, 0), (1, 1, 0), (0, 1, 1), (1, 0, 1)}
    # The weights of both orders of a mixed path are one in a square; the linear maps of the inputs tell them apart.
    assert expressivity(weighted) == 4


PRODUCTS = {
    "full": lambda: FullTensorProduct("0e+1o", "0e+1o"),
    "elementwise": lambda: ElementwiseTensorProduct("0e+1o", "0e+1o"),
    "fully connected": lambda: FullyConnectedTensorProduct("0e+1o", "0e+1o", "0e+1o"),
    "weights of samples": lambda: FullyConnectedTensorProduct("0e+1o", "1o", "0e+1o", shared_weights=False),
    "square": lambda: TensorSquare("0e+1o"),
    "square, weights of samples": lambda: TensorSquare("0e+1o", "0e+1o", shared_weights=False),
    "clebsch-gordan": lambda: ClebschGordanProduct(1, 1, 1),
    "clebsch-gordan, weights": lambda: ClebschGordanProduct(1, 1, 1, weights=True),
    "gaunt": lambda: GauntProduct(1, 1, 1),
    "vector gaunt": lambda: VectorGauntProduct(1, 1, 1),
    "matrix": lambda: MatrixProduct(1, 1, 1),
    "so2": lambda: SO2Product(1, 1, 1, 1),
    "cartesian": lambda: CartesianProduct(1, 1, 1),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_every_product_here(name: str) -> None:
    product = PRODUCTS[name]()
    assert expressivity(product) > 0
    assert interactability(product) == interactability(product, seed=1) != frozenset()


def test_cartesian_products() -> None:
    # The matrix product couples all of 0e, 1e and 2e but (1, 1, 1) and (2, 2, 1) differ only by commutators.
    assert interactability(CartesianProduct(2, 2, 2)) == triangle(2)
    assert interactability(CartesianProduct(1, 1, 1)) == {(1, 1, 1)}
    assert interactability(CartesianProduct(1, 1, 0)) == {(1, 1, 0)}
    assert expressivity(CartesianProduct(1, 1, 2)) == 3


class Mine:
    """A product that somebody else wrote."""

    irreps_in1, irreps_in2, irreps_out = "1o", "1o", Irreps("0e+1e")

    def __call__(self, x, y):
        return torch.cat([(x * y).sum(-1, keepdim=True), torch.linalg.cross(x, y)], dim=-1)


def test_user_defined_products() -> None:
    assert interactability(Mine()) == {(1, 1, 0), (1, 1, 1)}
    assert expressivity(Mine()) == 2


def test_what_is_no_equivariant_product_is_refused() -> None:
    class Wrong(Mine):
        def __call__(self, x, y):
            return torch.cat([x * y, x[..., :1]], dim=-1)

    with pytest.raises(ConfigError, match="Wrong: it is not equivariant"):
        expressivity(Wrong())
    with pytest.raises(ConfigError, match="expected a product with irreps_in1"):
        interactability(torch.nn.Linear(1, 1))
