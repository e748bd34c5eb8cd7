"""The compiled walk over the points beside its reference: results, gradients, and when it is not taken."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import get_args

import pytest
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.neural_operators import FNO, pointwise
from sciten.neural_operators.pointwise import Pointwise, Skip, Weights
from sciten.tensor import compiler

POINTS = (3, 37, 41)  # no whole number of tiles

compiled = pytest.mark.skipif(not compiler.available(), reason="no C++ compiler")


def problem(
    kind: Pointwise, inputs: int, hidden: int, outputs: int, dtype: torch.dtype, *, biased: bool = True
) -> tuple[Tensor, Tensor | None, Weights]:
    """Random fields and weights, all to be differentiated."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    def skip(kind: str, channels: int) -> Tensor | None:
        return {"linear": draw(channels, channels), "soft_gating": draw(channels)}.get(kind)

    weights = Weights(
        skip(kind.skip, inputs),
        draw(inputs) if biased else None,
        draw(inputs, hidden),
        draw(hidden),
        draw(hidden, outputs),
        skip(kind.mlp_skip, outputs),
        draw(outputs),
    )
    passed = kind.skip != "none" or kind.mlp_skip != "none"
    return draw(*POINTS, inputs), draw(*POINTS, outputs) if passed else None, weights


def outcome(y: Tensor, given: list[Tensor]) -> list[Tensor]:
    """The result and the gradients of a sum of it."""
    return [y.detach(), *torch.autograd.grad((y * y.detach().sin()).sum(), given)]


ALL = [Pointwise(*kinds) for kinds in product(get_args(Skip), get_args(Skip))]
ALL += [replace(kind, activated=True) for kind in ALL]
USUAL = [
    ALL[0],
    Pointwise("linear", "soft_gating", True),
    Pointwise("soft_gating", "identity", True),
]
CASES = [(Pointwise(), 3, 20, 5), (Pointwise(), 33, 64, 1)] + [(kind, 24, 9, 24) for kind in USUAL]
# Each is a kernel of its own, which takes a second to compile.
CASES += [pytest.param(kind, 24, 9, 24, marks=pytest.mark.slow) for kind in ALL if kind not in USUAL]


@compiled
@pytest.mark.parametrize(("kind", "inputs", "hidden", "outputs"), CASES)
def test_results_and_gradients_are_as_exact_as_the_reference(
    kind: Pointwise, inputs: int, hidden: int, outputs: int
) -> None:
    biased = inputs == outputs
    u, x, weights = problem(kind, inputs, hidden, outputs, torch.float32, biased=biased)
    given = [t for t in (u, x, *weights) if t is not None]
    y = kind(u, x, weights, compiled=True)
    plain = kind(u, x, weights, compiled=False)
    exact_u, exact_x, exact_weights = problem(kind, inputs, hidden, outputs, torch.float64, biased=biased)
    exact = {id(t): e for t, e in zip((u, x, *weights), (exact_u, exact_x, *exact_weights), strict=True)}
    truth = outcome(kind(exact_u, exact_x, exact_weights), [exact[id(t)] for t in given])
    for ours, theirs, value in zip(outcome(y, given), outcome(plain, given), truth, strict=True):
        error, usual = ((one - value).norm() / value.norm() for one in (ours, theirs))
        assert ours.shape == value.shape and float(error) <= max(4 * float(usual), 1e-6)


@compiled
def test_gelu_is_exact_over_all_its_range() -> None:
    u = torch.cat([torch.linspace(-14, 14, 100_001), torch.tensor([-1e30, -100.0, 0.0, 100.0, 1e30])])[
        :, None
    ]
    u.requires_grad_()
    one, zero = torch.ones(1, 1), torch.zeros(1)
    weights = Weights(first=one, first_bias=zero, second=one, second_bias=zero)
    y = Pointwise()(u, None, weights, compiled=True)
    (slope,) = torch.autograd.grad(y.sum(), u)
    exact = u.detach().double().requires_grad_()
    value = torch.nn.functional.gelu(exact)
    (true_slope,) = torch.autograd.grad(value.sum(), exact)
    assert bool(y.isfinite().all()) and bool(slope.isfinite().all())
    torch.testing.assert_close(y.double(), value, rtol=3e-7, atol=1e-7)
    torch.testing.assert_close(slope.double(), true_slope, rtol=3e-7, atol=3e-7)


@compiled
def test_what_is_not_a_number_is_not_hidden() -> None:
    kind = Pointwise("linear", "soft_gating", activated=True)
    u, x, weights = problem(kind, 8, 4, 8, torch.float32)
    with torch.no_grad():
        u[1, 2, 3, 4] = float("nan")
        bad = kind(u, x, weights, compiled=True).isnan().any(-1)
    assert bad.nonzero().tolist() == [[1, 2, 3]]


@compiled
def test_higher_derivatives_are_those_of_the_reference() -> None:
    kind = Pointwise("linear", "soft_gating", activated=True)
    x, _, weights = problem(kind, 8, 4, 8, torch.float32)
    found = []
    given = [x, *(w for w in weights if w is not None)]
    for compiled_code in (True, False):
        y = kind(x.sin(), x, weights, compiled=compiled_code)  # u is made of x, as in a block
        gradients = torch.autograd.grad(y.square().mean(), given, create_graph=True)
        total = torch.stack([g.square().sum() for g in gradients]).sum()
        found.append([*gradients, *torch.autograd.grad(total, given)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-5 * float(theirs.detach().abs().max()))


@compiled
def test_the_number_of_threads_does_not_matter() -> None:
    kind = Pointwise("linear", "soft_gating", activated=True)
    u, x, weights = problem(kind, 16, 8, 16, torch.float32)
    given = [t for t in (u, x, *weights) if t is not None]
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(outcome(kind(u, x, weights, compiled=True), given))
    finally:
        torch.set_num_threads(before)
    for others in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found[0], others, strict=True))


def operator() -> tuple[FNO, Tensor]:
    """A model, and fields of enough points."""
    model = FNO(1, 1, (6, 6), hidden_channels=6, n_layers=2, padding=0.1, periodic=(True, False))
    return model, torch.randn(2, 1, 48, 47)


@compiled
def test_models_take_it_and_learn_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, fields = operator()
    used = []
    original = pointwise._Compiled.forward
    monkeypatch.setattr(
        pointwise._Compiled, "forward", lambda ctx, kind, *t: used.append(kind) or original(ctx, kind, *t)
    )
    fast = outcome(model(fields), list(model.parameters()))
    assert len(used) == 4
    monkeypatch.setattr(pointwise, "_FEWEST_POINTS", 10**9)
    for one, other in zip(fast, outcome(model(fields), list(model.parameters())), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))
    assert len(used) == 4


@compiled
def test_memory_need_not_be_clean_nor_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views, strides and expanded gradients; and everything new is full of NaN."""
    kind = Pointwise("linear", "identity", activated=True)
    u, x, weights = problem(kind, 9, 5, 9, torch.float32)
    given = [t for t in (u, x, *weights) if t is not None]
    results = []
    for run in (True, False):
        with monkeypatch.context() as patch:
            if run:
                for name, owner in (("empty_like", torch), ("new_empty", Tensor)):
                    patch.setattr(owner, name, poisoned(getattr(owner, name)))
            turned = [t.transpose(0, 1) for t in (u, x)]
            y = kind(
                turned[0], turned[1], weights._replace(first=weights.first.mT.contiguous().mT), compiled=run
            )
            results.append([y.detach(), *torch.autograd.grad(y.sum(), given)])
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5 * float(plain.abs().max()))


def poisoned(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *args, **options: make(*args, **options).fill_(float("nan"))


@compiled
def test_what_it_cannot_do_goes_to_the_reference_and_is_said_where_it_is_asked_for() -> None:
    kind = Pointwise("linear", "soft_gating", activated=True)
    u, x, weights = problem(kind, 8, 4, 8, torch.float32)
    cases = [
        (u, x.double(), weights, "not float32 on the CPU"),
        (u, x[:1], weights, "do not fit"),
        (u, x, weights._replace(first_bias=None), "missing"),
        (u, x, weights._replace(skip=None), "missing"),
        (u, x, weights._replace(first=None), "missing"),
        (u.to("meta"), x, weights, "not float32 on the CPU"),
    ]
    for *given, words in cases:
        assert words in kind.unsupported(*given)
        with pytest.raises(ConfigError, match=words):
            kind(*given, compiled=True)
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(ConfigError, match="mixed precision"):
        kind(u, x, weights, compiled=True)
    without = weights._replace(first_bias=None)
    assert torch.equal(kind(u, x, without), kind.reference(u, x, without))


@compiled
def test_gradients_may_be_batched() -> None:
    kind = Pointwise("linear", "soft_gating", activated=True)
    u, x, weights = problem(kind, 8, 4, 8, torch.float32)
    directions = torch.randn(3, *u.shape)
    y = kind(u, x, weights, compiled=True)
    batched = torch.autograd.grad(y, [u, x], directions, is_grads_batched=True, retain_graph=True)
    for k, direction in enumerate(directions):
        for one, all_ in zip(
            torch.autograd.grad(y, [u, x], direction, retain_graph=True), batched, strict=True
        ):
            torch.testing.assert_close(all_[k], one, rtol=1e-4, atol=1e-4)


@compiled
def test_sums_over_many_points_keep_their_digits() -> None:
    u = torch.rand(10**6, 1)
    given = [torch.ones(1, 1), torch.zeros(1), torch.ones(1, 1), torch.zeros(1)]
    first, first_bias, second, second_bias = (t.requires_grad_() for t in given)
    y = Pointwise()(u, None, Weights(None, None, first, first_bias, second, None, second_bias), compiled=True)
    bias, weight = torch.autograd.grad(y.sum(), [second_bias, second])
    assert float(bias) == 10**6
    assert float(weight) == pytest.approx(float(torch.nn.functional.gelu(u.double()).sum()), rel=1e-6)


@compiled
def test_transforms_of_functions_get_the_reference() -> None:
    model, fields = operator()
    model.requires_grad_(False)
    directions = torch.randn_like(fields)
    _, slope = torch.func.jvp(model, (fields,), (directions,))
    exact = FNO(**model.arguments(), dtype=torch.float64)
    exact.load_state_dict(model.state_dict())
    step = 1e-6 * directions.double()
    with torch.no_grad():
        wanted = (exact(fields.double() + step) - exact(fields.double() - step)) / 2e-6
    torch.testing.assert_close(slope.double(), wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    batched = torch.func.vmap(lambda one: model(one[None])[0])(fields)
    torch.testing.assert_close(batched, model(fields), rtol=1e-4, atol=1e-5)


@compiled
def test_frozen_weights_and_inputs_get_no_gradients() -> None:
    model, fields = operator()
    model.requires_grad_(False)
    assert model(fields).grad_fn is None
    weight = model.blocks[0].mlp.first.weight.requires_grad_()
    fields.requires_grad_()
    model(fields).square().sum().backward()
    wanted = {id(weight): weight.grad, id(fields): fields.grad}
    assert all(found is not None and float(found.abs().max()) > 0 for found in wanted.values())
    assert all(p.grad is None for p in model.parameters() if p is not weight)


@compiled
def test_single_gradients_are_those_of_all_together() -> None:
    kind = Pointwise("linear", "soft_gating", activated=True)
    u, x, weights = problem(kind, 8, 4, 8, torch.float32)
    given = [t for t in (u, x, *weights) if t is not None]
    y = kind(u, x, weights, compiled=True)
    together = torch.autograd.grad(y.sum(), given, retain_graph=True)
    for chosen, expected in zip(given, together, strict=True):
        fixed = [None if t is None else t.detach() if t is not chosen else t for t in (u, x, *weights)]
        y = kind(fixed[0], fixed[1], Weights(*fixed[2:]), compiled=True)
        assert torch.equal(torch.autograd.grad(y.sum(), chosen)[0], expected)


@compiled
def test_inference_first_and_training_after() -> None:
    model, _ = operator()
    fields = torch.randn(1, 1, 70, 68)  # a grid that no other test has
    with torch.inference_mode():
        model(fields)
    model(fields).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
