import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor import TensorTrain

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(shape: tuple[int, ...], rank: int = 3, seed: int = 0, **options: object) -> TensorTrain:
    return TensorTrain.random(shape, rank, generator=generator(seed), **options)


def operator(
    modes: list[tuple[int, int]], rank: int = 2, seed: int = 0, batch: tuple[int, ...] = ()
) -> TensorTrain:
    merged = TensorTrain.random([n * m for n, m in modes], rank, generator=generator(seed), batch_shape=batch)
    return TensorTrain(
        tuple(core.unflatten(-2, mode) for core, mode in zip(merged.cores, modes, strict=True)), operator=True
    )


def matrix(train: TensorTrain) -> Tensor:
    """An operator as a matrix."""
    rows = int(np.prod([n for n, _ in train.modes]))
    return train.full().reshape(*train.batch_shape, rows, -1)


shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
kinds = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([torch.float64, torch.complex128]),
        "batch_shape": st.sampled_from([(), (2,), (2, 3)]),
    }
)


def dense(train: TensorTrain) -> Tensor:
    """Entries as products of matrices, one by one."""
    result = train.cores[0].new_zeros(*train.batch_shape, *train.shape)
    for place in np.ndindex(*train.shape):
        entry = train.cores[0][..., place[0], :]
        for core, i in zip(train.cores[1:], place[1:], strict=True):
            entry = entry @ core[..., i, :]
        result[(..., *place)] = entry[..., 0, 0]
    return result


@settings(max_examples=40, deadline=None)
@given(shapes, kinds)
def test_entries_are_products_of_matrices(shape: tuple[int, ...], kind: dict) -> None:
    x = random(shape, **kind)
    torch.testing.assert_close(x.full(), dense(x))
    places = torch.from_numpy(np.argwhere(np.ones(shape)))
    torch.testing.assert_close(x.at(places), dense(x).flatten(len(x.batch_shape)))
    assert x.shape == shape and x.ranks[0] == x.ranks[-1] == 1 and len(x) == len(shape)


@settings(max_examples=40, deadline=None)
@given(shapes, kinds)
def test_the_algebra_is_that_of_full_tensors(shape: tuple[int, ...], kind: dict) -> None:
    x, y = random(shape, 3, 0, **kind), random(shape, 2, 1, **kind)
    a, b = x.full(), y.full()
    batch = tuple(range(len(x.batch_shape)))
    axes = tuple(range(len(batch), a.ndim))
    torch.testing.assert_close((x + y).full(), a + b)
    torch.testing.assert_close((x - 2.5 * y).full(), a - 2.5 * b)
    torch.testing.assert_close((x * y).full(), a * b)
    torch.testing.assert_close((-x / 4).full(), -a / 4)
    torch.testing.assert_close(x.inner(y), (a.conj() * b).sum(axes))
    torch.testing.assert_close(x.norm(), a.abs().square().sum(axes).sqrt())
    torch.testing.assert_close(x.sum(), a.sum(axes))
    torch.testing.assert_close(x.conj().full(), a.conj())
    weights = torch.arange(1.0, 1 + np.prod(x.batch_shape)).reshape(x.batch_shape).to(x.dtype)
    torch.testing.assert_close((x * weights).full(), a * weights.reshape(*x.batch_shape, *[1] * len(shape)))


@DTYPES
@pytest.mark.parametrize("batch", [(), (3,)])
def test_operators_are_matrices(dtype: torch.dtype, batch: tuple[int, ...]) -> None:
    a = operator([(2, 3), (4, 2), (1, 3)], 2, 0, batch).to(dtype=dtype)
    b = operator([(3, 2), (2, 2), (3, 4)], 3, 1, batch).to(dtype=dtype)
    x = random((3, 2, 3), 2, 2, dtype=dtype, batch_shape=batch)
    if dtype.is_complex:
        a = a * (1 + 2j)
    d = len(batch)
    torch.testing.assert_close(
        (a @ x).full().flatten(d), (matrix(a) @ x.full().flatten(d)[..., None])[..., 0]
    )
    torch.testing.assert_close(matrix(a @ b), matrix(a) @ matrix(b))
    torch.testing.assert_close(matrix(a.mH), matrix(a).mH)
    torch.testing.assert_close(matrix(a + a * 2), 3 * matrix(a))
    torch.testing.assert_close(a.norm(), torch.linalg.matrix_norm(matrix(a)))
    assert a.shape == (2, 4, 1, 3, 2, 3) and (a @ b).ranks == (1, 6, 6, 1)
    identity = TensorTrain.identity(x.shape, dtype=dtype)
    if not batch:
        torch.testing.assert_close((identity @ x).full(), x.full())


def test_products_of_all_pairs_follow_each_other() -> None:
    x, y = random((2, 3), 2), random((4,), 1, 1)
    torch.testing.assert_close(x.kron(y).full(), x.full()[..., None] * y.full())
    a, b = operator([(2, 3)]), operator([(3, 2), (2, 2)], seed=1)
    torch.testing.assert_close(matrix(a.kron(b)), torch.kron(matrix(a), matrix(b)))


@pytest.mark.parametrize(
    "key",
    [
        0,
        (slice(None), 2),
        (..., -1),
        (1, 2, 3),
        (1, slice(1, 3)),
        (slice(None, None, 2), ..., 0),
        ([0, 2, 2],),
        (1, ..., slice(2)),
    ],
    ids=str,
)
def test_parts_are_those_of_full_tensors(key) -> None:
    for batch in ((), (2,)):
        x = random((3, 4, 5), batch_shape=batch)
        places = key if isinstance(key, tuple) else (key,)
        if len(places) == 1 and isinstance(places[0], list):
            key = (torch.tensor(places[0]),)
            places = key
        full = x.full()
        missing = 3 - len([k for k in places if k is not Ellipsis])
        if Ellipsis in [k for k in places if not isinstance(k, Tensor)]:
            at = [k is Ellipsis for k in places].index(True)
            places = (*places[:at], *[slice(None)] * missing, *places[at + 1 :])
        expected = full[(*[slice(None)] * len(batch), *places)]
        found = x[key]
        torch.testing.assert_close(found.full() if isinstance(found, TensorTrain) else found, expected)


@settings(max_examples=60, deadline=None)
@given(shapes, kinds, st.sampled_from([0.0, 1e-10, 1e-2, 0.3, 0.9]))
def test_rounding_keeps_its_error(shape: tuple[int, ...], kind: dict, tolerance: float) -> None:
    x = random(shape, 4, **kind)
    rounded = x.round(tolerance)
    error = (rounded.full() - x.full()).flatten(len(x.batch_shape)).norm(dim=-1)
    assert bool((error <= (tolerance + 1e-14) * x.norm()).all())
    largest = [min(np.prod(shape[:k]), np.prod(shape[k:])) for k in range(1, len(shape))]
    assert all(r <= most for r, most in zip(rounded.ranks[1:-1], largest, strict=True)) or tolerance == 0


def test_rounding_finds_the_ranks_of_sums() -> None:
    x = random((4, 5, 6, 3), 2)
    assert (x + x).round().ranks == x.ranks
    assert (x + random(x.shape, 1, 1)).round().ranks == (1, 3, 3, 3, 1)
    assert (x * 0).round().ranks == (1, 1, 1, 1, 1)
    assert x.round(0.5, rank=1).ranks == (1, 1, 1, 1, 1)
    assert x.round(rank=[2, 1, 2]).ranks == (1, 2, 1, 2, 1)


def test_ranks_are_the_least_for_the_error_of_a_matrix() -> None:
    """Of two modes, rounding is the best approximation (Eckart and Young)."""
    x = random((20, 30), 15)
    values = torch.linalg.svdvals(x.full())
    for tolerance in (0.1, 0.4, 0.7):
        rank = x.round(tolerance).ranks[1]
        tails = values.square().flip(0).cumsum(0).flip(0).sqrt() / x.norm()
        assert tails[rank] <= tolerance < tails[rank - 1]


def test_the_norm_of_a_difference_is_accurate() -> None:
    x = random((10, 10, 10), 5)
    y = x + 1e-12 * random((10, 10, 10), 1, 1)
    expected = float((1e-12 * random((10, 10, 10), 1, 1)).norm())
    assert float((x - y).norm()) == pytest.approx(expected, rel=0.01)


@DTYPES
@pytest.mark.parametrize("case", ["needless ranks", "equal singular values", "truncated"])
def test_gradients_of_rounding_are_those_of_finite_differences(case: str, dtype: torch.dtype) -> None:
    weights = random((3, 2, 3, 2), 2, 9, dtype=dtype)
    rank: int | None = None
    if case == "equal singular values":
        # Of x = a⊗a⊗... + b⊗b⊗... with orthonormal a and b all singular values are one.
        eye = torch.eye(3, dtype=dtype)
        cores = [
            t.clone()
            for t in (
                TensorTrain.rank_one([eye[0, :n] for n in (3, 2, 3, 2)])
                + TensorTrain.rank_one([eye[1, :n] for n in (3, 2, 3, 2)])
            ).cores
        ]
    elif case == "truncated":
        cores, rank = list(random((3, 2, 3, 2), 3, dtype=dtype).cores), 2
    else:
        x = random((3, 2, 3, 2), 1, dtype=dtype)
        cores = list((x + x * 0.5 + random((3, 2, 3, 2), 1, 1, dtype=dtype)).cores)

    def value(*given: Tensor) -> Tensor:
        rounded = TensorTrain(given).round(1e-6, rank=rank if rank else 2)
        return torch.stack([rounded.inner(weights), (rounded * rounded).inner(weights)])

    assert torch.autograd.gradcheck(value, [core.clone().requires_grad_() for core in cores])


def test_shapes_change_as_those_of_full_tensors() -> None:
    x = random((6, 4, 10), 3)
    for shape in (
        (6, 4, 10),
        (24, 10),
        (2, 3, 2, 2, 5, 2),
        (3, 8, 10),
        (240,),
        (1, 6, 1, 4, 10, 1),
        (4, 6, 10),
    ):
        found = x.reshape(shape)
        assert found.shape == shape
        torch.testing.assert_close(found.full(), x.full().reshape(shape))
    torch.testing.assert_close(x.reshape((1, 6, 4, 10, 1)).reshape((6, 4, 10)).full(), x.full())


def test_quantised_exponentials_have_rank_one_and_the_first_bit_counts_most() -> None:
    values = torch.exp(torch.arange(16, dtype=torch.float64) / 16)
    train = TensorTrain.rank_one([values]).reshape([2] * 4)
    assert train.ranks == (1, 1, 1, 1, 1)
    assert float(train[1, 0, 0, 0]) == pytest.approx(float(values[8]), rel=1e-14)


@pytest.mark.parametrize(
    "make", [lambda: random((2, 3), batch_shape=(2,)), lambda: operator([(2, 3), (4, 1)])]
)
def test_arrays_make_the_same_train(make) -> None:
    x = make()
    again = TensorTrain.from_arrays(x.to_arrays())
    assert again.operator == x.operator and all(map(torch.equal, again.cores, x.cores))
    with pytest.raises(ConfigError, match="'core_1' is missing"):
        TensorTrain.from_arrays({k: v for k, v in x.to_arrays().items() if k != "core_1"})


def test_entries_have_unit_variance() -> None:
    x = random((30, 30, 30), 8)
    assert float(x.norm().square()) / x.entries == pytest.approx(1, rel=0.3)


def test_they_say_what_they_are() -> None:
    assert repr(random((64, 32), 5)) == (
        "TensorTrain(64 x 32, ranks=(1, 5, 1), float64, 480 numbers for 2,048 entries)"
    )
    assert repr(operator([(2, 3), (4, 1)])).startswith("TensorTrain(2·3 x 4·1, operator, ranks=(1, 2, 1)")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: TensorTrain(()), "expected at least one core"),
        (lambda: TensorTrain((torch.ones(2, 3, 1),)), r"core 0 of left rank 1, got \[2, 3, 1\]"),
        (lambda: TensorTrain((torch.ones(1, 3, 2), torch.ones(3, 3, 1))), "core 1 of left rank 2"),
        (lambda: TensorTrain((torch.ones(1, 3, 2),)), "last core to have right rank 1, got 2"),
        (lambda: TensorTrain((torch.ones(1, 3),)), r"core 0 of shape \[..., r, n, r'\]"),
        (lambda: TensorTrain((torch.ones(1, 3, 1).int(),)), "core 0 to be a real or complex tensor"),
        (lambda: TensorTrain((torch.ones(1, 3, 1), torch.ones(1, 3, 1).double())), "cores of one dtype"),
        (lambda: random((2, 3)) + random((2, 4)), r"\+ expects equal modes, got TensorTrain\(2 x 3"),
        (lambda: random((2, 3)) + 1, r"\+ expects another one, got a int"),
        (lambda: random((2, 3)) @ random((2, 3)), "@ expects an operator and a train"),
        (lambda: operator([(2, 3)]) @ random((2,)), r"expects something of shape \[3\]"),
        (lambda: random((2, 3)).at(torch.tensor([[0, 3]])), r"within the shape \(2, 3\)"),
        (lambda: random((2, 3)).at(torch.zeros(2, 3).long()), r"int64 indices \[n_places, 2\]"),
        (lambda: random((2, 3))[2], "an index of mode 0 from -2 to 1, got 2"),
        (lambda: random((2, 3))[0, 0, 0], "expected at most 2 indices"),
        (lambda: random((2, 3)).round(-1.0), "a tolerance from 0 to 1, got -1.0"),
        (lambda: random((2, 3)).round(rank=0), "ranks of at least 1"),
        (lambda: random((2, 3)).reshape((5,)), "a shape of 6 entries"),
        (lambda: (random((2, 3)) * float("nan")).round(), "expected finite entries"),
        (lambda: random((2, 3)).mT, "expected an operator to transpose"),
        (lambda: operator([(2, 3)])[0], r"\[\] is for vectors"),
        (lambda: random((2, 3), batch_shape=(2,)) * torch.ones(3), r"a factor of shape \[2\]"),
    ],
)
def test_what_does_not_fit_is_named(wrong, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong()
