"""Every product and executor here against the conformance suite.

By default a sample: every product at one degree, the ones that compute differently at every degree up to 6, and some of
them recorded. The full sweep over products and degrees is marked slow.
"""

from collections.abc import Callable, Iterator

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
)
from sciten.equivariant.products.grids import AntipodalGrid, DenseGrid, SeparableGrid
from sciten.equivariant.testing import (
    check_compile,
    check_derivatives,
    check_equivariance,
    check_executor,
    check_export,
    check_finite_differences,
    check_hessian_symmetry,
    check_low_precision,
    check_operator,
    check_product,
    check_recorded_derivatives,
    check_state,
    check_variance,
    executor_cases,
)
from sciten.equivariant.testing.executors import ExecutorCase, product_map
from sciten.equivariant.testing.subjects import Subject
from sciten.tensor import compiler
from sciten.tensor.multilinear.cpu import Cpu
from sciten.tensor.multilinear.executors import Executor
from sciten.tensor.multilinear.reference import Reference
from sciten.tensor.multilinear.triton import Triton, available

PLAIN = Reference()
LMAX = 6
Degrees = tuple[int, ...]


def natural(degrees: Degrees, mul: int = 1) -> Irreps:
    return Irreps([(mul, (l, (-1) ** l)) for l in degrees])


def pseudo(degrees: Degrees, mul: int = 1) -> Irreps:
    return Irreps([(mul, (l, -((-1) ** l))) for l in degrees])


def both(degrees: Degrees, mul: int = 1) -> Irreps:
    return Irreps([*natural(degrees, mul), *pseudo(degrees, mul)])


def tensor_product(mode: str, degrees: Degrees, executor: Executor | None, **options) -> TensorProduct:
    """All paths in one mode, of two copies of each irrep of the inputs."""
    inputs = natural(degrees, 2)
    copies = {"uvuv": 4, "uvu<v": 1, "u<vw": 3, "uvw": 3, "uuw": 3}.get(mode, 2)
    alike = mode in ("uvu<v", "u<vw")
    out = Irreps([(copies, (l, 1)) for l in degrees]) if alike else natural(degrees, copies)
    instructions = [
        (i, j, k, mode, True)
        for i, a in enumerate(inputs)
        for j, b in enumerate(inputs)
        for k, c in enumerate(out)
        if c.ir in a.ir * b.ir and (i == j or not alike)
    ]
    return TensorProduct(inputs, inputs, out, instructions, executor=executor, **options).double()


def on_grid(kind: Callable[..., object], degrees: Degrees) -> GauntProduct:
    """The Gaunt product on a grid that is not left to be chosen."""
    product = GauntProduct.from_irreps(*[natural(degrees)] * 3)
    product._combinations = [((0, 0, 0), kind((degrees,) * 3))]
    return product


def axial(degrees: Degrees, mul: int = 1) -> Irreps:
    """Irreps that have axial fields."""
    return Irreps([entry for entry in both(degrees, mul) if entry.ir != (0, 1)])


def polar(degrees: Degrees, mul: int = 1) -> Irreps:
    return Irreps([entry for entry in both(degrees, mul) if entry.ir != (0, -1)])


def vector_gaunt(degrees: Degrees) -> VectorGauntProduct:
    """Degree 0 alone has no path, and is refused."""
    degrees = degrees if max(degrees) else (0, 1)
    return VectorGauntProduct.from_irreps(natural(degrees), natural(degrees), pseudo(degrees))


def weighted_vector_gaunt(degrees: Degrees) -> VectorGauntProduct:
    degrees = degrees if max(degrees) else (0, 1)
    return VectorGauntProduct.from_irreps(
        polar(degrees, 2), polar(degrees, 2), axial(degrees, 2), weights=True
    )


def so2(degrees: Degrees, executor: Executor | None, **options) -> SO2Product:
    top = max(degrees)
    return SO2Product(top, min(top, 3), 1, 1, dtype=torch.float64, executor=executor, **options)


Make = Callable[[Degrees, Executor | None], object]
#: Those that compute differently, tested at every degree by default.
CORE: dict[str, Make] = {
    "uvw": lambda d, e: tensor_product("uvw", d, e),
    "clebsch-gordan": lambda d, e: ClebschGordanProduct.from_irreps(*[natural(d)] * 3, executor=e),
    "gaunt dense": lambda d, e: on_grid(DenseGrid, d),
    "gaunt antipodal": lambda d, e: on_grid(AntipodalGrid, d),
    "gaunt separable": lambda d, e: on_grid(SeparableGrid, d),
    "gaunt fourier": lambda d, e: GauntProduct.from_irreps(*[natural(d)] * 3, method="fourier"),
    "vector gaunt": lambda d, e: vector_gaunt(d),
    "matrix": lambda d, e: MatrixProduct(max(d), max(d), max(d)),
    "so2": so2,
}
OTHERS: dict[str, Make] = {
    **{
        mode: lambda d, e, mode=mode: tensor_product(mode, d, e)  # type: ignore[misc]
        for mode in ("uvu", "uvv", "uuw", "uuu", "uvuv", "uvu<v", "u<vw")
    },
    "weights of samples": lambda d, e: tensor_product("uvu", d, e, shared_weights=False),
    "path normalization": lambda d, e: tensor_product("uvw", d, e, path_normalization="path"),
    "no internal weights": lambda d, e: tensor_product("uvv", d, e, internal_weights=False),
    "fully connected": lambda d, e: FullyConnectedTensorProduct(both(d), natural(d), both(d), executor=e),
    "full": lambda d, e: FullTensorProduct(natural(d, 2), natural(d), [(l, 1) for l in d], executor=e),
    "elementwise": lambda d, e: ElementwiseTensorProduct(natural(d, 2), pseudo(d, 2), executor=e),
    "square": lambda d, e: TensorSquare(natural(d, 2), filter_ir_out=[(l, 1) for l in d], executor=e),
    "connected square": lambda d, e: TensorSquare(natural(d, 2), natural(d, 2), executor=e),
    "clebsch-gordan, weights": lambda d, e: ClebschGordanProduct.from_irreps(
        both(d, 2), natural(d, 2), both(d, 2), weights=True, executor=e
    ),
    "gaunt": lambda d, e: GauntProduct(max(d), max(d), max(d)),
    "gaunt, weights": lambda d, e: GauntProduct.from_irreps(
        both(d, 2), natural(d, 2), both(d, 2), weights=True
    ),
    "vector gaunt, weights": lambda d, e: weighted_vector_gaunt(d),
    "matrix, weights": lambda d, e: MatrixProduct.from_irreps(
        both(d, 2), natural(d, 2), both(d, 2), weights=True
    ),
    "so2, parity": lambda d, e: so2(d, e, parity=True),
    "so2, orders left out": lambda d, e: so2(d, e, mmax=min(max(d), 1), rescale=True),
}
ALL = {**CORE, **OTHERS}
#: Recorded by default, and how.
RECORDED: dict[str, tuple[Callable[[object], float], ...]] = {
    "uvw": (check_compile, check_recorded_derivatives, check_export),
    "clebsch-gordan": (check_recorded_derivatives, check_export, lambda p: check_operator(p, maps=1)),
    "gaunt, weights": (check_compile, check_export),
    "gaunt fourier": (check_recorded_derivatives, check_export),
    "so2": (check_compile, check_recorded_derivatives),
}


def some_degrees(top: int) -> Degrees:
    """The degree itself with the lowest ones: few paths, and the fewest samples of what a high degree can do wrong."""
    return tuple(sorted({0, 1, top})) if top else (0,)


def check_numbers(product: object, differences: int = 3) -> None:
    check_equivariance(product)
    check_derivatives(product)
    check_finite_differences(product, orders=differences)
    check_hessian_symmetry(product)


@pytest.mark.parametrize("degree", range(LMAX + 1))
@pytest.mark.parametrize("name", CORE)
def test_every_degree(name: str, degree: int) -> None:
    product = CORE[name](some_degrees(degree), PLAIN)
    if name == "so2" and degree > 2:  # to higher order in the full sweep
        check_equivariance(product)
        check_finite_differences(product, orders=1)
        check_hessian_symmetry(product)
    else:
        check_numbers(product, differences=2)


@pytest.mark.parametrize("name", OTHERS)
def test_a_sample_of_degrees(name: str) -> None:
    check_numbers(OTHERS[name](some_degrees(2 if "so2" in name else 3), PLAIN), differences=2)


@pytest.mark.parametrize("name", ALL)
def test_precision_state_and_variance(name: str) -> None:
    product = ALL[name](some_degrees(2), PLAIN)
    check_derivatives(product, orders=2, dtype=torch.float32)
    check_low_precision(product)
    check_state(product)
    if Subject.of(product).unit_variance:
        check_variance(product)


def test_who_claims_unit_variance() -> None:
    claim = {name for name, make in ALL.items() if Subject.of(make((0, 1), PLAIN)).unit_variance}
    assert {name for name in ALL if "clebsch" in name or "gaunt" in name or "matrix" in name} == set(
        ALL
    ) - claim


def rank_triples() -> Iterator[tuple[int, int, int]]:
    for a in range(5):
        for b in range(5):
            for c in range(abs(a - b), min(a + b, 4) + 1):
                if (a + b - c) % 2 == 0 or (c < a + b and c > abs(a - b)):
                    yield a, b, c


@pytest.mark.parametrize("ranks", [(1, 1, 1), (2, 2, 2), (2, 2, 1), (3, 1, 2)])
def test_cartesian_products(ranks: tuple[int, int, int]) -> None:
    product = CartesianProduct(*ranks)
    check_numbers(product)
    check_low_precision(product)
    check_state(product)
    check_compile(product)


@pytest.mark.parametrize("name", RECORDED)
def test_recording(name: str) -> None:
    product = ALL[name](some_degrees(1), None)
    for check in RECORDED[name]:
        check(product)


def test_plain_executor() -> None:
    """Against the terms themselves, one by one, differentiated by torch."""
    assert check_executor(PLAIN) < 1e-12


SMALL = (
    "a convolution between atoms",
    "a map of every kind of operand",
    "many terms that reach unlike components",
)


@pytest.mark.skipif(not compiler.available(), reason="no C++ compiler")
def test_compiled_executor() -> None:
    check_executor(Cpu(), cases=[case for case in executor_cases() if case.name in SMALL])


@pytest.mark.skipif(not available(), reason="neither a CUDA device nor Triton's interpreter")
def test_triton_executor() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sample = ExecutorCase("a product", product_map(1, shared=True), 3, 5, orders=2)
    check_executor(Triton(tile=1024), cases=[sample], device=device)


@pytest.mark.slow
@pytest.mark.parametrize("degree", range(LMAX + 1))
@pytest.mark.parametrize("name", ALL)
def test_every_degree_to_the_third_derivative(name: str, degree: int) -> None:
    check_numbers(ALL[name](some_degrees(degree), PLAIN))


@pytest.mark.slow
@pytest.mark.parametrize("lmax", range(LMAX + 1))
@pytest.mark.parametrize("name", [*CORE, "uvu", "gaunt", "so2, parity"])
def test_all_degrees_together(name: str, lmax: int) -> None:
    """On the executor that is chosen by default; a third derivative of all paths up to degree 6 has too many terms."""
    product = ALL[name](tuple(range(lmax + 1)), None)
    orders = 3 if lmax < 4 else 2
    check_equivariance(product)
    check_derivatives(product, orders=orders)
    check_derivatives(product, orders=2, dtype=torch.float32)
    check_finite_differences(product, orders=orders - 1)
    check_hessian_symmetry(product)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_everything_at_low_degrees(name: str) -> None:
    check_product(ALL[name]((0, 1, 2), None)).raise_if_failed()


@pytest.mark.slow
@pytest.mark.parametrize("ranks", list(rank_triples()))
def test_all_cartesian_products(ranks: tuple[int, int, int]) -> None:
    check_product(CartesianProduct(*ranks), recording=sum(ranks) < 7).raise_if_failed()


@pytest.mark.slow
@pytest.mark.skipif(not compiler.available(), reason="no C++ compiler")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_compiled_executor_on_everything(dtype: torch.dtype) -> None:
    check_executor(Cpu(), dtype=dtype)


@pytest.mark.slow
@pytest.mark.skipif(not available(), reason="neither a CUDA device nor Triton's interpreter")
def test_triton_executor_on_small_maps() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    check_executor(Triton(tile=1024), cases=executor_cases(large=False), device=device)
