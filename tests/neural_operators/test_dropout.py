from collections.abc import Callable, Sequence
from itertools import product
from math import prod

import pytest
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.neural_operators.dropout import drop_cp, drop_tensor_train, drop_tucker, rank_scales

SHAPE = (3, 4, 2)


def pairs(*shape: int) -> Tensor:
    return torch.randn(*shape, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def cp() -> tuple[tuple[int, ...], Callable[[Sequence[Tensor]], Tensor]]:
    """The ranks of a format, and its whole tensor for given scales."""
    weights, factors = pairs(4), [torch.view_as_complex(pairs(n, 4)) for n in SHAPE]

    def full(scales: Sequence[Tensor]) -> Tensor:
        return torch.einsum("r,ir,jr,kr->ijk", torch.view_as_complex(drop_cp(weights, scales[0])), *factors)

    return (4,), full


def cp_by_a_factor() -> tuple[tuple[int, ...], Callable[[Sequence[Tensor]], Tensor]]:
    first, *rest = (pairs(n, 4) for n in SHAPE)

    def full(scales: Sequence[Tensor]) -> Tensor:
        factors = [torch.view_as_complex(f) for f in (drop_cp(first, scales[0]), *rest)]
        return torch.einsum("ir,jr,kr->ijk", *factors)

    return (4,), full


def tucker() -> tuple[tuple[int, ...], Callable[[Sequence[Tensor]], Tensor]]:
    ranks = (2, 3, 2)
    core = pairs(*ranks)
    factors = [torch.view_as_complex(pairs(n, r)) for n, r in zip(SHAPE, ranks, strict=True)]

    def full(scales: Sequence[Tensor]) -> Tensor:
        return torch.einsum("abc,ia,jb,kc->ijk", torch.view_as_complex(drop_tucker(core, scales)), *factors)

    return ranks, full


def tensor_train() -> tuple[tuple[int, ...], Callable[[Sequence[Tensor]], Tensor]]:
    bonds = (1, 3, 2, 1)
    cores = [pairs(bonds[k], n, bonds[k + 1]) for k, n in enumerate(SHAPE)]

    def full(scales: Sequence[Tensor]) -> Tensor:
        dropped = [torch.view_as_complex(core) for core in drop_tensor_train(cores, scales)]
        return torch.einsum("aib,bjc,ckd->ijk", *dropped)

    return bonds[1:-1], full


FORMATS = pytest.mark.parametrize("make", [cp, cp_by_a_factor, tucker, tensor_train])


@FORMATS
@pytest.mark.parametrize("dropped", [0.3, 0.75])
def test_the_mean_over_all_masks_is_the_weight(make: Callable, dropped: float) -> None:
    ranks, full = make()
    kept = 1 - dropped
    mean, total = torch.zeros(SHAPE, dtype=torch.complex128), 0.0
    for bits in product((0, 1), repeat=sum(ranks)):
        chance = prod(kept if bit else dropped for bit in bits)
        scales = torch.tensor(bits, dtype=torch.float64).div(kept).split(list(ranks))
        mean, total = mean + chance * full(scales), total + chance
    assert total == pytest.approx(1)
    whole = full([torch.ones(r, dtype=torch.float64) for r in ranks])
    torch.testing.assert_close(mean, whole, rtol=1e-12, atol=1e-12)


@FORMATS
def test_scales_that_are_drawn_are_those_of_the_masks(make: Callable) -> None:
    ranks, _ = make()
    generator = torch.Generator().manual_seed(0)
    probabilities = [0.2 + 0.1 * k for k in range(len(ranks))]
    like = torch.zeros((), dtype=torch.float64)
    drawn = [rank_scales(ranks, probabilities, like, generator=generator) for _ in range(4000)]
    for k, (rank, dropped) in enumerate(zip(ranks, probabilities, strict=True)):
        scales = torch.stack([scales[k] for scales in drawn])
        assert scales.shape == (4000, rank)
        values = scales.unique()
        torch.testing.assert_close(values, torch.tensor([0, 1 / (1 - dropped)], dtype=torch.float64))
        # Five standard deviations of the mean of 4000 Bernoulli variables.
        spread = 5 * (dropped * (1 - dropped) / 4000) ** 0.5
        assert float(((scales == 0).double().mean(0) - dropped).abs().max()) < spread


@FORMATS
def test_nothing_is_dropped_at_a_probability_of_zero(make: Callable) -> None:
    ranks, full = make()
    scales = rank_scales(ranks, 0.0, torch.zeros((), dtype=torch.float64))
    assert all(bool((scale == 1).all()) for scale in scales)
    assert full(scales).abs().min() > 0


def test_both_parts_of_a_number_are_dropped_together() -> None:
    core = drop_tucker(pairs(3, 2), [torch.tensor([0.0, 2.0, 2.0]), torch.tensor([2.0, 0.0])])
    zero = core == 0
    assert torch.equal(zero[..., 0], zero[..., 1])
    assert zero[..., 0].tolist() == [[True, True], [False, True], [False, True]]


@FORMATS
def test_a_weight_of_which_all_is_dropped_is_zero(make: Callable) -> None:
    ranks, full = make()
    scales = [torch.zeros(rank, dtype=torch.float64) for rank in ranks]
    assert torch.equal(full(scales), torch.zeros(SHAPE, dtype=torch.complex128))


def test_gradients_are_finite_where_all_is_dropped() -> None:
    weights = pairs(3).requires_grad_()
    (gradient,) = torch.autograd.grad(drop_cp(weights, torch.zeros(3)).square().sum(), weights)
    assert torch.equal(gradient, torch.zeros_like(weights))


def test_a_generator_or_the_seed_decides_what_is_dropped() -> None:
    like = torch.zeros(1)

    def drawn(generator: torch.Generator | None) -> Tensor:
        (scale,) = rank_scales((64,), 0.5, like, generator=generator)
        return scale

    first, second = (drawn(torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)
    torch.manual_seed(5)
    third = drawn(None)
    torch.manual_seed(5)
    assert torch.equal(third, drawn(None))
    assert first.dtype == torch.float32


def test_axes_before_the_ranks_are_a_batch() -> None:
    scales = [torch.tensor([0.0, 2.0]), torch.tensor([2.0, 2.0, 0.0])]
    core = pairs(5, 2, 3)
    each = torch.stack([drop_tucker(one, scales) for one in core])
    assert torch.equal(drop_tucker(core, scales), each)


def test_what_does_not_fit_is_refused() -> None:
    like = torch.zeros(1)
    for dropped in (-0.1, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="from 0 to below 1"):
            rank_scales((2,), dropped, like)
    with pytest.raises(ConfigError, match="each of 2 ranks, got 3"):
        rank_scales((2, 3), [0.1] * 3, like)
    with pytest.raises(ConfigError, match=r"drop_cp: expected scales as long .* \[4, 2\], got \[3\]"):
        drop_cp(pairs(4), torch.ones(3))
    with pytest.raises(ConfigError, match="drop_tucker: expected scales as long"):
        drop_tucker(pairs(4), [torch.ones(2), torch.ones(4), torch.ones(4)])
    with pytest.raises(ConfigError, match="the 1 bonds between 2 cores, got 2"):
        drop_tensor_train([pairs(1, 3, 2), pairs(2, 3, 1)], [torch.ones(2)] * 2)
