"""The compiled walk over the points beside its reference: results, gradients, and when it is not taken."""

from dataclasses import replace
from itertools import product
from typing import get_args

import pytest
import torch
from torch import Tensor

from sciten.neural_operators import FNO, pointwise
from sciten.neural_operators.pointwise import Pointwise, Skip, Weights
from sciten.tensor import compiler

POINTS = (3, 37, 41)  # no whole number of tiles

compiled = pytest.mark.skipif(not compiler.available(), reason="no C++ compiler")


def problem(
    kind: Pointwise, inputs: int, hidden: int, outputs: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor | None, Weights]:
    """Random fields and weights, all to be differentiated."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    def skip(kind: str, channels: int) -> Tensor | None:
        return {"linear": draw(channels, channels), "soft_gating": draw(channels)}.get(kind)

    weights = Weights(
        skip(kind.skip, inputs),
        draw(inputs) if kind.convolved else None,
        draw(inputs, hidden),
        draw(hidden),
        draw(hidden, outputs),
        skip(kind.mlp_skip, outputs),
        draw(outputs),
    )
    return draw(*POINTS, inputs), draw(*POINTS, outputs) if kind.convolved else None, weights


def outcome(y: Tensor, given: list[Tensor]) -> list[Tensor]:
    """The result and the gradients of a sum of it."""
    return [y.detach(), *torch.autograd.grad((y * y.detach().sin()).sum(), given)]


ALL = [Pointwise(*kinds, convolved=True) for kinds in product(get_args(Skip), get_args(Skip))]
ALL += [replace(kind, activated=True) for kind in ALL]
USUAL = [
    ALL[0],
    Pointwise("linear", "soft_gating", True, True),
    Pointwise("soft_gating", "identity", True, True),
]
CASES = [(Pointwise(), 3, 20, 5), (Pointwise(), 33, 64, 1)] + [(kind, 24, 9, 24) for kind in USUAL]
# Each is a kernel of its own, which takes a second to compile.
CASES += [pytest.param(kind, 24, 9, 24, marks=pytest.mark.slow) for kind in ALL if kind not in USUAL]


@compiled
@pytest.mark.parametrize(("kind", "inputs", "hidden", "outputs"), CASES)
def test_results_and_gradients_are_as_exact_as_the_reference(
    kind: Pointwise, inputs: int, hidden: int, outputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pointwise, "_FEWEST_POINTS", 1)
    u, x, weights = problem(kind, inputs, hidden, outputs, torch.float32)
    given = [t for t in (u, x, *weights) if t is not None]
    if not (kind.skip != "none" or kind.mlp_skip != "none"):
        given = [t for t in given if t is not x]
    y = kind(u, x, weights)
    assert y.grad_fn is not None and "Compiled" in y.grad_fn.name()
    plain = kind.reference(u, x, weights)
    exact_u, exact_x, exact_weights = problem(kind, inputs, hidden, outputs, torch.float64)
    exact = {id(t): e for t, e in zip((u, x, *weights), (exact_u, exact_x, *exact_weights), strict=True)}
    truth = outcome(kind(exact_u, exact_x, exact_weights), [exact[id(t)] for t in given])
    for ours, theirs, value in zip(outcome(y, given), outcome(plain, given), truth, strict=True):
        error, usual = ((one - value).norm() / value.norm() for one in (ours, theirs))
        assert ours.shape == value.shape and float(error) <= max(4 * float(usual), 1e-6)


@compiled
def test_gelu_is_exact_over_all_its_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pointwise, "_FEWEST_POINTS", 1)
    u = torch.cat([torch.linspace(-14, 14, 100_001), torch.tensor([-1e30, -100.0, 0.0, 100.0, 1e30])])[
        :, None
    ]
    u.requires_grad_()
    one, zero = torch.ones(1, 1), torch.zeros(1)
    y = Pointwise()(u, None, Weights(first=one, first_bias=zero, second=one, second_bias=zero))
    (slope,) = torch.autograd.grad(y.sum(), u)
    exact = u.detach().double().requires_grad_()
    value = torch.nn.functional.gelu(exact)
    (true_slope,) = torch.autograd.grad(value.sum(), exact)
    assert bool(y.isfinite().all()) and bool(slope.isfinite().all())
    torch.testing.assert_close(y.double(), value, rtol=3e-7, atol=1e-7)
    torch.testing.assert_close(slope.double(), true_slope, rtol=3e-7, atol=3e-7)


@compiled
def test_what_is_not_a_number_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pointwise, "_FEWEST_POINTS", 1)
    kind = Pointwise("linear", "soft_gating", convolved=True, activated=True)
    u, x, weights = problem(kind, 8, 4, 8, torch.float32)
    with torch.no_grad():
        u[1, 2, 3, 4] = float("nan")
        bad = kind(u, x, weights).isnan().any(-1)
    assert bad.nonzero().tolist() == [[1, 2, 3]]


@compiled
def test_higher_derivatives_are_those_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pointwise, "_FEWEST_POINTS", 1)
    kind = Pointwise("linear", "soft_gating", convolved=True, activated=True)
    x, _, weights = problem(kind, 8, 4, 8, torch.float32)
    found = []
    given = [x, *(w for w in weights if w is not None)]
    for function in (kind, kind.reference):
        y = function(x.sin(), x, weights)  # u is made of x, as in a block
        gradients = torch.autograd.grad(y.square().mean(), given, create_graph=True)
        total = torch.stack([g.square().sum() for g in gradients]).sum()
        found.append([*gradients, *torch.autograd.grad(total, given)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-5 * float(theirs.detach().abs().max()))


@compiled
def test_the_number_of_threads_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Pointwise("linear", "soft_gating", convolved=True, activated=True)
    u, x, weights = problem(kind, 16, 8, 16, torch.float32)
    given = [t for t in (u, x, *weights) if t is not None]
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(outcome(kind(u, x, weights), given))
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
    monkeypatch.setattr(pointwise, "_serves", lambda *_: False)
    for one, other in zip(fast, outcome(model(fields), list(model.parameters())), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


@compiled
def test_transforms_of_functions_get_the_reference() -> None:
    model, fields = operator()
    model.requires_grad_(False)
    directions = torch.randn_like(fields)
    _, slope = torch.func.jvp(model, (fields,), (directions,))
    exact = FNO(**model.arguments(), dtype=torch.float64)
    exact.load_state_dict(model.state_dict())
    step = 1e-6 * directions.double()
    wanted = (exact(fields.double() + step) - exact(fields.double() - step)) / 2e-6
    torch.testing.assert_close(slope.double(), wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    batched = torch.func.vmap(lambda one: model(one[None])[0])(fields)
    torch.testing.assert_close(batched, model(fields), rtol=1e-4, atol=1e-5)


@compiled
def test_frozen_weights_and_inputs_get_no_gradients() -> None:
    model, fields = operator()
    model.requires_grad_(False)
    weight = model.blocks[0].mlp.first.weight.requires_grad_()
    fields.requires_grad_()
    found = torch.autograd.grad(model(fields).square().sum(), [weight, fields])
    assert all(float(one.abs().max()) > 0 for one in found)
    assert not model(fields.detach()).detach().requires_grad
