import pytest

from sciten.errors import ConfigError
from sciten.tensor import Multilinear
from sciten.tensor.multilinear import Operand, Term


def product() -> Multilinear:
    return Multilinear((Operand(2), Operand(2)), (Operand(1),), (Term(1.0, ((0, 0), (1, 1)), (0, 0)),))


def test_equal_maps_are_equal_whatever_the_order_of_terms_and_factors() -> None:
    operands = ((Operand(2), Operand(2)), (Operand(1),))
    a = Multilinear(*operands, (Term(1.0, ((0, 0), (1, 1)), (0, 0)), Term(2.0, ((0, 1), (1, 0)), (0, 0))))
    b = Multilinear(
        *operands,
        (
            Term(0.5, ((1, 0), (0, 1)), (0, 0)),
            Term(1.0, ((1, 1), (0, 0)), (0, 0)),
            Term(1.5, ((0, 1), (1, 0)), (0, 0)),
        ),
    )
    assert a == b and hash(a) == hash(b)
    assert len(a.terms) == 2


def test_terms_that_cancel_vanish() -> None:
    terms = (Term(1.0, ((0, 0),), (0, 0)), Term(-1.0, ((0, 0),), (0, 0)))
    assert Multilinear((Operand(1),), (Operand(1),), terms).terms == ()


def test_derivative_of_a_power_follows_the_product_rule() -> None:
    cube = Multilinear((Operand(1),), (Operand(1),), (Term(1.0, ((0, 0),) * 3, (0, 0)),))
    derivative = cube.derivative([0])
    assert derivative.terms == (Term(3.0, ((0, 0), (0, 0), (1, 0)), (0, 0)),)
    assert derivative.derivative([0]).terms == (Term(6.0, ((0, 0), (1, 0), (2, 0)), (0, 0)),)


def test_derivative_of_a_gathered_argument_is_scattered() -> None:
    map_ = Multilinear((Operand(1, index="senders"),), (Operand(1),), (Term(1.0, ((0, 0),), (0, 0)),))
    assert map_.derivative([0]).results == (Operand(1, index="senders"),)


def test_results_without_a_cotangent_drop_out() -> None:
    map_ = Multilinear(
        (Operand(1),), (Operand(1), Operand(1)), (Term(1.0, ((0, 0),), (0, 0)), Term(2.0, ((0, 0),), (1, 0)))
    )
    assert [t.coefficient for t in map_.derivative([0], [1]).terms] == [2.0]


def test_cost_counts_operations_and_bytes() -> None:
    map_ = product()
    assert map_.operations(batch=10, channels=4) == 2 * 40
    assert map_.bytes_moved(batch=10, channels=4, itemsize=4) == (2 + 2 + 1) * 160


def test_with_the_rows_behind_indices_every_row_travels_once() -> None:
    map_ = Multilinear(
        (Operand(2, index="s"), Operand(3, channels=False), Operand(4, shared=True)),
        (Operand(5, index="r"), Operand(1)),
        (Term(1.0, ((0, 0), (1, 0), (2, 0)), (0, 0)),),
    )
    plain = 100 * (2 * 16 + 3) + 4 * 16 + 100 * (5 + 1) * 16
    assert map_.bytes_moved(100, 16) == 4 * plain
    values = 7 * 2 * 16 + 100 * 3 + 4 * 16 + 9 * 5 * 16 + 100 * 1 * 16
    assert map_.bytes_moved(100, 16, rows={"s": 7, "r": 9}) == 4 * values + 2 * 8 * 100


@pytest.mark.parametrize(
    ("factors", "target", "message"),
    [
        (((0, 2), (1, 0)), (0, 0), "argument 0, component 2"),
        (((0, 0), (2, 0)), (0, 0), "argument 2"),
        (((0, 0), (1, 0)), (1, 0), "result 1"),
    ],
)
def test_terms_must_name_what_is_there(factors, target, message) -> None:
    with pytest.raises(ConfigError, match=message):
        Multilinear((Operand(2), Operand(2)), (Operand(1),), (Term(1.0, factors, target),))


def test_how_many_channels_there_are_must_come_from_an_argument() -> None:
    with pytest.raises(ConfigError, match="no argument has any"):
        Multilinear((Operand(1, channels=False),), (Operand(1),), (Term(1.0, ((0, 0),), (0, 0)),))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Operand(-1), "at least 0 components, got -1"),
        (lambda: Operand(2, index="row", shared=True), "an index .* of an operand that is not shared"),
        (lambda: Operand(2, index="a,b"), "an index named by an identifier"),
        (lambda: _product(float("nan")), "expected finite coefficients, got Term"),
        (lambda: _product(1.0).derivative(-1), r"one of 2 arguments, from 0, got -1"),
        (lambda: _product(1.0).derivative([0, 2]), r"one of 2 arguments, from 0, got 2"),
        (lambda: _product(1.0).derivative(0, [1]), r"one of 1 results, from 0, got 1"),
        (lambda: Multilinear.from_text("abc"), "expected text that to_text wrote, got 'abc'"),
    ],
)
def test_what_cannot_be_is_refused(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_lists_are_taken_as_tuples() -> None:
    plain = _product(1.0)
    assert Multilinear(list(plain.arguments), list(plain.results), list(plain.terms)) == plain
    assert hash(Multilinear(list(plain.arguments), list(plain.results), plain.terms)) == hash(plain)


def _product(coefficient: float) -> Multilinear:
    return Multilinear(
        (Operand(1), Operand(1)), (Operand(1),), (Term(coefficient, ((0, 0), (1, 0)), (0, 0)),)
    )
