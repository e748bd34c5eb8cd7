"""Planted faults: each must be caught, by the check that is there for it, and named."""

from math import isnan

import pytest
import torch

from sciten.equivariant import (
    CartesianProduct,
    ClebschGordanProduct,
    FullyConnectedTensorProduct,
    GauntProduct,
    Irreps,
    MatrixProduct,
    SO2Product,
    TensorProduct,
    VectorGauntProduct,
    expressivity,
    interactability,
)
from sciten.equivariant.clebsch_gordan import wigner_3j
from sciten.equivariant.harmonics import spherical_harmonics
from sciten.equivariant.products import so2_frames
from sciten.equivariant.testing import (
    ConformanceError,
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
from sciten.equivariant.testing.subjects import Subject
from sciten.errors import ConfigError, SciTenError
from sciten.tensor.multilinear.reference import Reference

PLAIN = Reference()


class Mine:
    """A product that somebody else wrote, of plain torch operations: all paths between degrees up to 3."""

    irreps_in1 = irreps_in2 = irreps_out = Irreps.natural(3)
    factor = staticmethod(lambda l1, l2, l3: 1.0 if (l1 + l2 + l3) % 2 == 0 else 0.0)

    def __init__(self):
        self.full = torch.zeros(16, 16, 16, dtype=torch.float64)
        for a in range(4):
            for b in range(4):
                for c in range(abs(a - b), min(a + b, 3) + 1):
                    block = self.factor(a, b, c) * torch.tensor(wigner_3j(a, b, c))
                    self.full[a * a : (a + 1) ** 2, b * b : (b + 1) ** 2, c * c : (c + 1) ** 2] = block

    def tensor(self, like):
        return self.full.to(like)

    def __call__(self, x, y):
        # Two at a time: the order that einsum takes three in is chosen for one size of the batch.
        return torch.einsum("zi,zik->zk", x, torch.einsum("zj,ijk->zik", y, self.tensor(x)))


def test_a_sound_product_passes_everything() -> None:
    report = check_product(Mine())
    assert report.passed, report
    assert {f.name for f in report.findings} >= {
        "equivariance",
        "derivatives",
        "compile",
        "export",
        "operator",
    }
    assert "equivariance" in str(report) and "passed" in str(report)
    assert report.raise_if_failed() is report


def test_a_wrong_sign_in_one_path() -> None:
    class Wrong(Mine):
        factor = staticmethod(lambda *ls: -Mine.factor(*ls) if ls == (2, 3, 1) else Mine.factor(*ls))

    check_equivariance(Wrong())  # it is a product in its own right
    check_finite_differences(Wrong())
    with pytest.raises(ConformanceError, match=r"^Wrong: its values of irrep 1o deviate .*at most 1e-10"):
        check_derivatives(Wrong(), Mine())
    plain = Mine()
    with pytest.raises(ConformanceError, match="irrep 1o"):
        check_derivatives(Wrong(), lambda x, y: plain(x, y))


@pytest.mark.parametrize("kind", [GauntProduct, MatrixProduct])
def test_a_wrong_sign_against_closed_forms(kind, monkeypatch) -> None:
    factor = kind.path_factor
    monkeypatch.setattr(
        kind, "path_factor", lambda self, *ls: factor(self, *ls) * (-1 if ls == (2, 2, 2) else 1)
    )
    with pytest.raises(ConformanceError, match="values of irrep 2e"):
        check_derivatives(kind(2, 2, 2))


@pytest.mark.parametrize("parity", [False, True])
@pytest.mark.parametrize("fault", ["factor of an order", "order of degrees", "rescaling"])
def test_a_wrong_factor_inside_an_so2_product(fault: str, parity: bool, monkeypatch) -> None:
    """Such products are equivariant and smooth; only a reference of another make shows what is wrong."""
    product = SO2Product(2, 3, 2, 3, mmax=1, parity=parity, rescale=True, executor=PLAIN, dtype=torch.float64)
    check_derivatives(product)
    if fault == "factor of an order":
        factor = SO2Product._factor
        monkeypatch.setattr(SO2Product, "_factor", lambda self, m: factor(self, m) * (7 if m == 1 else 1))
    elif fault == "order of degrees":
        weight = SO2Product._weight
        monkeypatch.setattr(SO2Product, "_weight", lambda self, m: weight(self, m).flip(-2))
    else:
        monkeypatch.setattr(so2_frames, "_scale", lambda l, mmax: 1.0)
    check_finite_differences(product, orders=1)
    with pytest.raises(ConformanceError, match=r"SO2Product: its values of irrep .* deviate"):
        check_derivatives(product)


@pytest.mark.parametrize("kind", [GauntProduct, VectorGauntProduct, MatrixProduct])
def test_a_wrong_factor_of_a_product_of_both_parities(kind, monkeypatch) -> None:
    both = Irreps("1o+1e+2e+2o")
    product = kind.from_irreps(both, both, both, weights=True).double()
    check_derivatives(product)
    multiply = kind.multiply
    monkeypatch.setattr(kind, "multiply", lambda self, x, y: 7 * multiply(self, x, y))
    check_equivariance(product)
    with pytest.raises(ConformanceError, match="values of irrep"):
        check_derivatives(product)


@pytest.mark.parametrize("ranks", [(2, 2, 2), (2, 2, 1), (3, 1, 2)])
def test_indices_contracted_in_the_wrong_order(ranks: tuple[int, int, int], monkeypatch) -> None:
    product = CartesianProduct(*ranks)
    check_derivatives(product)

    def swapped(self, x, y):
        return forward(self, x.unflatten(-1, (-1, 3, 3)).transpose(-1, -2).flatten(-3), y)

    forward = CartesianProduct.forward
    monkeypatch.setattr(CartesianProduct, "forward", swapped)
    check_equivariance(product)
    with pytest.raises(ConformanceError, match="CartesianProduct: its values of irrep"):
        check_derivatives(product)


def test_without_a_reference_the_values_of_a_foreign_product_are_its_own() -> None:
    """What the default proves of it is that it is bilinear, with the derivatives of its values."""

    class Sevenfold(Mine):
        factor = staticmethod(lambda *ls: 7 * Mine.factor(*ls))

    class Quadratic(Mine):
        def __call__(self, x, y):
            return super().__call__(x, y) * (1 + x[:, :1])

    check_derivatives(Sevenfold())
    with pytest.raises(ConformanceError, match="values of irrep"):
        check_derivatives(Sevenfold(), Mine())
    with pytest.raises(ConformanceError, match="values of irrep"):
        check_derivatives(Quadratic())


def test_a_wrong_coupling_of_a_tensor_product() -> None:
    product = FullyConnectedTensorProduct("2x0e+2x1o", "1x1o", "2x0e+2x1o", executor=PLAIN)
    other = FullyConnectedTensorProduct(
        "2x0e+2x1o", "1x1o", "2x0e+2x1o", path_normalization="path", executor=PLAIN
    )
    check_derivatives(product)
    paths = [(0, 0, 1, "uvw", True), (1, 0, 0, "uvw", True, 2.0)]
    product._program = TensorProduct("2x0e+2x1o", "1x1o", "2x0e+2x1o", paths)._program
    with pytest.raises(ConformanceError, match="values of irrep 0e deviate"):
        check_derivatives(product)
    check_derivatives(other)


class _WrongAtThree(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, cotangent):
        wrong = torch.ones_like(cotangent)
        wrong[:, 9:] = 1.1  # degree 3
        return cotangent * wrong


def test_forces_that_derive_from_no_energy_for_degree_three_alone() -> None:
    class NotConservative(Mine):
        def __call__(self, x, y):
            return super().__call__(_WrongAtThree.apply(x), y)

    check_equivariance(NotConservative())
    for check in (check_finite_differences, lambda p: check_derivatives(p, Mine())):
        with pytest.raises(
            ConformanceError, match=r"NotConservative: its first derivatives by x of irrep 3o dev"
        ):
            check(NotConservative())


class _OneSided(torch.autograd.Function):
    """A product whose derivative by the first factor forgets that it depends on the second."""

    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x * y

    @staticmethod
    def backward(ctx, cotangent):
        x, y = ctx.saved_tensors
        return cotangent * y.detach(), cotangent * x


def test_second_derivatives_that_depend_on_the_order() -> None:
    class Wrong(Mine):
        def __call__(self, x, y):
            return super().__call__(x, y) + _OneSided.apply(x, y[:, :1])

    check_hessian_symmetry(Mine())
    with pytest.raises(
        ConformanceError, match=r"derivatives by [xy] of irrep .* and y of irrep 0e depend on the or"
    ):
        check_hessian_symmetry(Wrong())


class _WrongTwice(torch.autograd.Function):
    """Its first derivative is right, the derivative of that is not."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return cotangent * x.detach().cos()


def test_a_second_derivative_that_is_missing() -> None:
    class Wrong(Mine):
        def __call__(self, x, y):
            return super().__call__(_WrongTwice.apply(x[:, :1]) * x, y)

    check_finite_differences(Wrong(), orders=1)
    with pytest.raises(
        ConformanceError, match="second derivatives by x of irrep 0e deviate from finite diff"
    ):
        check_finite_differences(Wrong(), orders=2)


def test_a_product_that_is_not_equivariant_under_inversion() -> None:
    class Odd(Mine):
        factor = staticmethod(lambda *ls: 1.0 if (sum(ls)) % 2 == 0 or ls == (1, 2, 2) else 0.0)

    check_equivariance(Odd(), inversion=False)
    with pytest.raises(
        ConformanceError, match=r"not equivariant under inversion.*irrep 2e from x of irrep 1o and y of"
    ):
        check_equivariance(Odd())
    check_equivariance(MatrixProduct(2, 2, 2))  # which says that it is not
    with pytest.raises(ConformanceError, match="MatrixProduct: it is not equivariant under inversion"):
        check_equivariance(MatrixProduct(2, 2, 2), inversion=True)


def test_a_product_that_is_not_equivariant_at_all() -> None:
    class Wrong(Mine):
        def __call__(self, x, y):
            result = super().__call__(x, y)
            return torch.cat([result[:, :4], result[:, 4:5] * 1.001, result[:, 5:]], 1)

    with pytest.raises(
        ConformanceError, match=r"under a rotation: .* by \d.\de-\d\d .*most of all in irrep 2e"
    ):
        check_equivariance(Wrong())


def test_a_wrong_normalisation() -> None:
    product = FullyConnectedTensorProduct("4x0e+4x1o", "4x0e+4x1o", "4x0e+4x1o", executor=PLAIN)
    assert product.unit_variance
    check_variance(product)
    other = FullyConnectedTensorProduct(
        "4x0e+4x1o", "4x0e+4x1o", "4x0e+4x1o", path_normalization="none", executor=PLAIN
    )
    assert not other.unit_variance
    with pytest.raises(
        ConformanceError, match=r"irrep 0e of the result has variance \d\d\.\d\d; expected 1 to with"
    ):
        check_variance(other)


def test_infinite_and_misshapen_results_are_caught() -> None:
    class Infinite(Mine):
        def __call__(self, x, y):
            return super().__call__(x, y) / 0

    class Short(Mine):
        def __call__(self, x, y):
            return super().__call__(x, y)[:, :15]

    with pytest.raises(ConformanceError, match=r"differs .* by inf"):
        check_equivariance(Infinite())
    with pytest.raises(ConformanceError):
        check_derivatives(Short(), Mine())


def test_what_cannot_be_recorded() -> None:
    class Branching(Mine):
        def __call__(self, x, y):
            return super().__call__(x, y) if float(x.sum()) > -1e9 else x

    for check, way in [
        (check_compile, "torch.compile"),
        (check_recorded_derivatives, "make_fx"),
        (check_export, "torch.export"),
    ]:
        with pytest.raises(ConformanceError, match=f"Branching: {way} cannot record it: "):
            check(Branching())


def test_a_batch_that_is_written_into_the_program() -> None:
    class Fixed(Mine):
        def __call__(self, x, y):
            return super().__call__(x, y).view(int(x.shape[0]), 16)

    with pytest.raises(ConformanceError, match=r"torch.export cannot record it"):
        check_export(Fixed())


def test_what_a_call_leaves_behind() -> None:
    class Caching(Mine):
        kept = None

        def tensor(self, like):
            # Rounded to the dtype of the last call, which spoils the next.
            self.kept = super().tensor(like) if self.kept is None else self.kept.to(like)
            return self.kept

    class Random(Mine):
        def __call__(self, x, y):
            torch.rand(1)
            return super().__call__(x, y)

    check_state(Mine())
    with pytest.raises(ConformanceError, match="a call changes its results, after a call in another dtype"):
        check_state(Caching())
    state = torch.get_rng_state()
    with pytest.raises(ConformanceError, match="a call changes torch's random numbers"):
        check_state(Random())
    torch.set_rng_state(state)


def test_low_precision_works_or_is_refused() -> None:
    class Refusing(Mine):
        def __call__(self, x, y):
            if x.dtype == torch.bfloat16:
                raise SciTenError("Refusing: expected float32 or float64")
            return super().__call__(x, y)

    class Failing(Mine):
        def __call__(self, x, y):
            return torch.fft.rfft(super().__call__(x, y)).real

    assert check_low_precision(Mine()) > 0
    assert isnan(check_low_precision(Refusing()))
    with pytest.raises(ConformanceError, match=r"it fails on torch.bfloat16 with RuntimeError"):
        check_low_precision(Failing())


class _Faulty(Reference):
    """Wrong by a thousandth where a map has as many arguments as a derivative of some order."""

    def __init__(self, arguments: int) -> None:
        self.arguments = arguments

    def run(self, map_, arguments, indices, batch, channels):
        results = super().run(map_, arguments, indices, batch, channels)
        return tuple(r * 1.001 for r in results) if len(map_.arguments) == self.arguments else results


@pytest.mark.parametrize(("arguments", "said"), [(4, "first"), (7, "second")])
def test_an_executor_that_is_wrong_in_a_derivative(arguments: int, said: str) -> None:
    cases = [case for case in executor_cases(large=False) if case.name == "a convolution between atoms"]
    check_executor(PLAIN, cases=cases)
    with pytest.raises(
        ConformanceError, match=f"_Faulty: {said} derivatives of a convolution between atoms .*by arg"
    ):
        check_executor(_Faulty(arguments), cases=cases)
    assert check_executor(_Faulty(99), cases=cases) < 1e-14


def test_the_reference_executor_is_not_its_own_measure(monkeypatch) -> None:
    group = Reference._group
    monkeypatch.setattr(Reference, "_group", lambda self, *arguments: 1.001 * group(self, *arguments))
    with pytest.raises(ConformanceError, match=r"Reference: values of a convol.* from its terms"):
        check_executor(PLAIN, cases=executor_cases(large=False)[:1])


def test_an_executor_that_leaves_traces() -> None:
    class Writing(Reference):
        def run(self, map_, arguments, indices, batch, channels):
            results = super().run(map_, arguments, indices, batch, channels)
            arguments[0].detach().zero_()
            return results

    class Unsteady(Reference):
        runs = 0

        def run(self, *arguments):
            Unsteady.runs += 1
            return tuple(r * (1 + 1e-13 * Unsteady.runs) for r in super().run(*arguments))

    with pytest.raises(ConformanceError, match="Writing: it changes the arguments of a conv"):
        check_executor(Writing(), cases=executor_cases(large=False)[:1])
    with pytest.raises(ConformanceError, match=r"Unsteady: two runs of .* give different numbers"):
        check_executor(Unsteady(), cases=executor_cases(large=False)[:1])


def test_the_operator_is_checked_with_the_maps_of_a_product(monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(torch.library, "opcheck", lambda op, args: seen.append((op, args[0])))
    check_operator(ClebschGordanProduct(1, 1, 1), maps=9)
    check_operator(GauntProduct(1, 1, 1))  # has none
    assert len(seen) == len({text for _, text in seen}) >= 2

    def failing(*_):
        raise RuntimeError("no fake")

    monkeypatch.setattr(torch.library, "opcheck", failing)
    with pytest.raises(ConformanceError, match=r"opcheck fails on one of its maps, of .*no fake"):
        check_operator(ClebschGordanProduct(1, 1, 1))


def test_reports_hold_what_failed() -> None:
    class Wrong(Mine):
        def __call__(self, x, y):
            return super().__call__(x, y).abs()

    report = check_product(Wrong(), reference=Mine(), recording=False)
    assert not report.passed
    assert {f.name for f in report.findings if not f.passed} >= {"equivariance", "derivatives"}
    assert "FAILED: Wrong: it is not equivariant" in str(report)
    with pytest.raises(AssertionError, match="not equivariant"):
        report.raise_if_failed()


def test_a_check_that_fails_in_another_way_leaves_the_report_on_the_others() -> None:
    class Fragile(Mine):
        def __call__(self, x, y):
            if x.shape[0] == 0:
                raise ZeroDivisionError("no samples")
            return super().__call__(x, y)

    report = check_product(Fragile(), reference=Mine(), recording=False)
    failed = [f for f in report.findings if not f.passed]
    assert [f.name for f in failed] == ["state"] and len(report.findings) > 5
    assert failed[0].message == "Fragile: state: it fails with ZeroDivisionError: no samples"
    with pytest.raises(ConformanceError, match="ZeroDivisionError"):
        report.raise_if_failed()


def test_a_refusal_is_reported_as_one() -> None:
    findings = {
        f.name: f for f in check_product(SO2Product(1, 1, 1, 1, executor=PLAIN), recording=False).findings
    }
    assert findings["low precision"].passed and findings["low precision"].refused
    assert str(findings["low precision"]) == "refused, in one sentence"
    assert not findings["state"].refused and "passed" in str(findings["state"])


class Reversed(torch.nn.Module):
    """A product of weights and of features in a layout of its own, components the other way round."""

    irreps_in1 = irreps_in2 = irreps_out = Irreps.natural(3)

    def __init__(self):
        super().__init__()
        self.plain = Mine()
        self.weight = torch.nn.Parameter(torch.tensor([2.0, -3.0], dtype=torch.float64))

    def forward(self, x, y):
        result = self.plain(x.flip(-1), y.flip(-1)) * self.weight[0].to(x)
        return (result * self.weight[1].to(x)).flip(-1)

    def as_irreps(self, x, y):
        return self(x.flip(-1), y.flip(-1)).flip(-1)


def test_weights_of_a_product_in_its_own_layout() -> None:
    product = Reversed()
    subject = Subject.of(product)
    assert [argument.name for argument in subject.arguments] == ["x", "y", "weight"]
    plain = Mine()
    check_derivatives(product, lambda x, y, weight: plain(x, y) * weight[0] * weight[1])
    report = check_product(product)
    assert report.passed, report
    assert torch.equal(product.weight.detach(), torch.tensor([2.0, -3.0], dtype=torch.float64))


def test_a_product_that_is_bilinear_by_another_name() -> None:
    class Odd:
        """Not called with irreps at all."""

        def __call__(self, pair):
            return Mine()(*pair)

        def as_bilinear(self):
            return Mine()

    subject = Subject.of(Odd())
    assert subject.name == "Odd"
    report = check_product(Odd(), reference=Mine(), recording=False)
    assert report.passed and report.product == "Odd"
    assert interactability(Odd()) == interactability(Mine())


def test_what_is_no_product_is_refused() -> None:
    with pytest.raises(ConfigError, match="Linear: expected a product with irreps_in1"):
        check_equivariance(torch.nn.Linear(1, 1))
    check_equivariance(CartesianProduct(2, 2, 2))


@pytest.mark.parametrize("parity", [False, True])
@pytest.mark.parametrize(("lmax_in", "lmax_out"), [(2, 2), (1, 3), (2, 0)])
def test_so2_products_realise_all_paths_that_mix_channels(lmax_in: int, lmax_out: int, parity: bool) -> None:
    product = SO2Product(lmax_in, lmax_out, 2, 1, parity=parity, executor=PLAIN)
    paths = {
        (a, b, c)
        for a in range(lmax_in + 1)
        for c in range(lmax_out + 1)
        for b in range(abs(a - c), a + c + 1)
        if not parity or (a + b + c) % 2 == 0
    }
    assert interactability(product) == paths
    assert expressivity(product) == 2 * len(paths)


def test_leaving_out_orders_takes_away_paths() -> None:
    products = [SO2Product(2, 2, 1, 1, mmax=m, executor=PLAIN) for m in range(3)]
    counts = [expressivity(product) for product in products]
    assert counts == sorted(counts) and counts[0] < counts[1] <= counts[2] == 19


@pytest.mark.parametrize("parity", [False, True])
def test_so2_products_are_bilinear_in_the_harmonics_of_the_edge(parity: bool) -> None:
    product = SO2Product(2, 3, 2, 3, mmax=2, parity=parity, executor=PLAIN, dtype=torch.float64)
    bilinear = product.as_bilinear()
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4, bilinear.irreps_in1.dim, generator=generator, dtype=torch.float64)
    vectors = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    weight = torch.randn(bilinear.weight_numel, generator=generator, dtype=torch.float64)
    along = spherical_harmonics(5, torch.nn.functional.normalize(vectors))
    torch.testing.assert_close(
        bilinear(features, along, weight), bilinear.messages(features, vectors, weight), rtol=0, atol=1e-12
    )
    check_equivariance(bilinear)
