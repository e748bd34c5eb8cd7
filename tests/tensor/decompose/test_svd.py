import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor import TensorTrain, Tucker
from sciten.tensor.decompose import hosvd, tree_svd, tt_svd
from sciten.tensor.formats import Format, Tree

METHODS = {
    "hosvd": lambda x, **k: hosvd(x, **k),
    "hosvd, whole": lambda x, **k: hosvd(x, sequential=False, **k),
    "train": lambda x, **k: tt_svd(x, **k),
    "balanced": lambda x, **k: tree_svd(x, Tree.balanced(x.ndim - k.get("n_batch", 0)), **k),
    "caterpillar": lambda x, **k: tree_svd(x, Tree.caterpillar(x.ndim - k.get("n_batch", 0)), **k),
}
ALL = pytest.mark.parametrize("method", list(METHODS))


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@ALL
@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    n_batch=st.integers(0, 2),
    dtype=st.sampled_from([torch.float64, torch.complex128]),
    tolerance=st.sampled_from([0.0, 1e-12, 0.1, 0.5, 0.9]),
)
def test_the_error_is_kept(
    method: str, shape: list[int], n_batch: int, dtype: torch.dtype, tolerance: float
) -> None:
    x = random(*[2] * n_batch, *shape, dtype=dtype)
    found = METHODS[method](x, tolerance=tolerance, n_batch=n_batch)
    assert found.full().shape == x.shape and found.batch_shape == x.shape[:n_batch]
    error, norm = ((t).flatten(n_batch).norm(dim=-1) for t in (found.full() - x, x))
    assert bool((error <= (tolerance + 1e-13) * norm).all())


@ALL
def test_ranks_of_low_rank_tensors_are_found(method: str) -> None:
    vectors = [random(n, seed=n) for n in (4, 5, 6, 3)]
    others = [random(n, seed=n + 10) for n in (4, 5, 6, 3)]
    x = torch.einsum("i,j,k,l->ijkl", *vectors) + torch.einsum("i,j,k,l->ijkl", *others)
    found: Format = METHODS[method](x)
    inner = found.ranks if isinstance(found, Tucker) else [r for r in found.ranks if r > 1]
    assert set(inner) == {2}
    torch.testing.assert_close(found.full(), x)


@ALL
def test_a_rank_may_be_given(method: str) -> None:
    x = random(4, 4, 4)
    options = (
        {"rank": 2}
        if "hosvd" not in method and method != "train"
        else {"ranks": [2, 2, 2][: 3 if "h" in method else 2]}
    )
    found = METHODS[method](x, **options)
    assert max(found.ranks) == 2


def test_matrices_are_cut_as_eckart_and_young_say() -> None:
    x = random(8, 6)
    s = torch.linalg.svdvals(x)
    assert float((tt_svd(x, ranks=3).full() - x).norm()) == pytest.approx(float(s[3:].norm()))


@ALL
def test_gradients_are_those_of_finite_differences(method: str) -> None:
    x = random(3, 2, 3).requires_grad_()
    weights = random(3, 2, 3, seed=1)
    options = (
        {"rank": 2}
        if method in ("balanced", "caterpillar")
        else {"ranks": [2, 2] if method == "train" else [2, 2, 2]}
    )

    def value(given: Tensor) -> Tensor:
        found = METHODS[method](given, tolerance=0.0, **options).full()
        return torch.stack([(found * weights).sum(), (found.square() * weights).sum()])

    assert torch.autograd.gradcheck(value, (x,))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: hosvd(random(2, 3), 1.5), "hosvd: expected a tolerance from 0 to 1, got 1.5"),
        (lambda: hosvd(random(2, 3), ranks=[1]), "hosvd: expected 2 ranks"),
        (lambda: tt_svd(random(2, 3), ranks=[0]), "tt_svd: expected 1 ranks of at least 1"),
        (lambda: tt_svd(random(2), n_batch=1), "at least one axis after a batch of 1"),
        (lambda: tt_svd(random(2, 0)), "a tensor with entries"),
        (lambda: tree_svd(random(2, 3), Tree.balanced(3)), "tree_svd: expected a tree with 2 leaves"),
        (lambda: tt_svd(torch.full((2, 2), torch.inf)), "expected finite entries"),
    ],
)
def test_what_does_not_fit_is_named(wrong, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong()


def test_the_result_is_a_format() -> None:
    assert isinstance(tt_svd(random(2, 2)), TensorTrain) and isinstance(hosvd(random(2, 2)), Tucker)
