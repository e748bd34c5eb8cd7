import pytest
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.linalg import leading_space, rank_within, split, svd

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def with_values(values: list[float], m: int, n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """A matrix of these singular values."""
    left = torch.linalg.qr(random(m, len(values), dtype=dtype))[0]
    right = torch.linalg.qr(random(n, len(values), seed=1, dtype=dtype))[0]
    return left @ torch.diag(torch.tensor(values, dtype=dtype)) @ right.mH


@DTYPES
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (2, 4, 4), (1, 1), (2, 3, 6, 4)])
def test_splits_keep_everything_without_a_tolerance(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    matrix = random(*shape, dtype=dtype)
    left, right = split(matrix)
    torch.testing.assert_close(left @ right, matrix)
    identity = torch.eye(left.shape[-1], dtype=dtype).expand(*shape[:-2], -1, -1)
    torch.testing.assert_close(left.mH @ left, identity)


@DTYPES
def test_the_error_is_the_norm_of_what_is_cut(dtype: torch.dtype) -> None:
    values = [3.0, 2.0, 1.0, 0.5, 0.25]
    matrix = with_values(values, 9, 7, dtype)
    for tolerance, rank in ((0.2, 5), (0.26, 4), (0.6, 3), (1.2, 2), (100.0, 1)):
        left, right = split(matrix, tolerance=tolerance)
        assert left.shape[-1] == rank
        expected = sum(v * v for v in values[rank:]) ** 0.5
        assert float(torch.linalg.norm(matrix - left @ right)) == pytest.approx(expected, abs=1e-13)
    assert split(matrix, tolerance=0.2, rank=2)[0].shape == (9, 2)


def test_a_batch_has_the_rank_that_all_of_it_needs() -> None:
    batch = torch.stack([with_values([1.0, 1e-9], 4, 3), with_values([1.0, 0.5], 4, 3)])
    assert split(batch, tolerance=1e-6)[0].shape == (2, 4, 2)
    each = torch.tensor([1e-6, 1.0], dtype=torch.float64)
    assert split(batch, tolerance=each)[0].shape == (2, 4, 1)


def test_small_values_are_not_lost_beside_large_ones() -> None:
    values = torch.tensor([1.0, *[1e-9] * 10000], dtype=torch.float64)
    assert rank_within(values, 1.01e-7) == 1  # the norm of all 10000
    assert rank_within(values, 0.99e-7) > 1


def test_iterations_take_over_where_divide_and_conquer_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for matrix in (random(6, 4), random(3, 5, dtype=torch.complex128), random(2, 3, 4, 4)):
        expected = torch.linalg.svdvals(matrix)
        with monkeypatch.context() as patch:
            patch.setattr(torch.linalg, "svd", _fails)
            u, s, vh = svd(matrix)
        torch.testing.assert_close(s, expected)
        torch.testing.assert_close(u * s[..., None, :].to(u.dtype) @ vh, matrix)
    monkeypatch.setattr(torch.linalg, "svd", _fails)
    with pytest.raises(ConfigError, match="svd: expected finite entries"):
        svd(torch.full((2, 2), torch.nan))


def _fails(*_: object, **__: object) -> None:
    raise torch.linalg.LinAlgError("did not converge")


def projector_and_product(matrix: Tensor, rank: int) -> Tensor:
    """What does not depend on the basis of the left factor."""
    left, right = split(matrix, rank=rank)
    return torch.cat([(left @ right).flatten(), (left @ left.mH).flatten()])


@DTYPES
@pytest.mark.parametrize("shape", [(5, 4), (4, 5), (4, 4), (2, 4, 3)])
def test_gradients_are_those_of_finite_differences(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    matrix = random(*shape, dtype=dtype).requires_grad_()
    for rank in range(1, min(shape[-2:]) + 1):
        assert torch.autograd.gradcheck(lambda m, rank=rank: projector_and_product(m, rank), (matrix,))


@DTYPES
@pytest.mark.parametrize(
    "values", [[2.0, 2.0, 1.0, 0.5], [3.0, 2.0, 1.0, 1.0], [2.0, 2.0, 2.0, 0.0], [2.0, 2.0, 1.0, 1.0]]
)
def test_equal_singular_values_on_one_side_of_the_cut_do_not_matter(
    values: list[float], dtype: torch.dtype
) -> None:
    rank = 3 if values[2] == 2.0 else 2
    matrix = with_values(values, 5, 4, dtype).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: projector_and_product(m, rank), (matrix,))


def test_a_cut_through_equal_singular_values_is_refused() -> None:
    matrix = with_values([2.0, 1.0, 1.0], 5, 4).requires_grad_()
    left, right = split(matrix, rank=2)
    with pytest.raises(ConfigError, match="the cut at rank 2 goes through equal singular values"):
        (left @ right).sum().backward()


@DTYPES
@pytest.mark.parametrize("inner", [3, 5])
def test_a_right_factor_of_deficient_rank_has_a_finite_gradient(inner: int, dtype: torch.dtype) -> None:
    """Of the leading space of a product, by both of its factors, where these have repeated columns and rows."""
    columns = random(6, inner, dtype=dtype)
    rows = random(inner, 4, seed=1, dtype=dtype)

    def space(first: Tensor, second: Tensor, third: Tensor, fourth: Tensor) -> Tensor:
        left, right = torch.cat([first, second], 1), torch.cat([third, fourth])
        basis = leading_space(left, rank=2, right=right.detach(), gram=right @ right.mH)
        return basis @ basis.mH

    factors = [t.clone().requires_grad_() for t in (columns, columns, rows, 2 * rows)]
    assert torch.autograd.gradcheck(space, factors)


def test_the_second_derivative_is_refused() -> None:
    matrix = random(3, 3).requires_grad_()
    left, right = split(matrix, rank=1)
    (gradient,) = torch.autograd.grad((left @ right).sum(), matrix, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
