"""Weights of neuraloperator: what its model computes is written out here by complex FFTs, in its order."""

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from sciten.errors import ModelError
from sciten.integrations.neuraloperator import operator_from_neuraloperator
from sciten.neural_operators import FNO, TFNO

HIDDEN, LAYERS = 4, 2
GRID = (8, 10)
FREQUENCIES = (6, 4)  # of 6 × 6 modes


def _weights(kind: str, separable: bool) -> dict[str, Tensor]:
    """Factors of one convolution under neuraloperator's names."""
    shape = ((HIDDEN,) if separable else (HIDDEN, HIDDEN)) + FREQUENCIES

    def random(*sizes: int) -> Tensor:
        return torch.randn(*sizes, dtype=torch.complex128)

    if kind == "dense":
        return {"tensor": random(*shape)}
    if kind == "tucker":
        ranks = [2] * len(shape)
        factors = {f"factors.factor_{k}": random(n, 2) for k, n in enumerate(shape)}
        return {"core": random(*ranks), **factors}
    if kind == "cp":
        return {"weights": random(3), **{f"factors.factor_{k}": random(n, 3) for k, n in enumerate(shape)}}
    bonds = [1, *[2] * (len(shape) - 1), 1]
    return {f"factors.factor_{k}": random(bonds[k], n, bonds[k + 1]) for k, n in enumerate(shape)}


def _full(factors: Mapping[str, Tensor], kind: str) -> Tensor:
    values = list(factors.values())
    d = len(values) if kind in ("dense", "tt") else len(values) - 1
    letters, ranks = "abcd"[:d], "ABCD"
    if kind == "dense":
        return values[0]
    if kind == "tucker":
        terms = [ranks[:d], *(letters[k] + ranks[k] for k in range(d))]
    elif kind == "cp":
        terms = ["A", *(letter + "A" for letter in letters)]
    else:
        values = [values[0][0], *values[1:-1], values[-1][..., 0]]
        terms = [
            "aA",
            *(ranks[k - 1] + letters[k] + ranks[k] for k in range(1, d - 1)),
            ranks[d - 2] + letters[-1],
        ]
    return torch.einsum(f"{','.join(terms)}->{letters}", *values)


def _state(kind: str, *, separable: bool = False, grid: bool = True) -> dict[str, Tensor]:
    inputs = 2 + (2 if grid else 0)
    sizes = {
        "lifting.fcs.0": (7, inputs),
        "lifting.fcs.1": (HIDDEN, 7),
        "projection.fcs.0": (5, HIDDEN),
        "projection.fcs.1": (3, 5),
    }
    for k in range(LAYERS):
        sizes |= {
            f"fno_blocks.channel_mlp.{k}.fcs.0": (2, HIDDEN),
            f"fno_blocks.channel_mlp.{k}.fcs.1": (HIDDEN, 2),
        }
    state = {}
    for name, (rows, columns) in sizes.items():
        state[f"{name}.weight"] = torch.randn(rows, columns, 1, dtype=torch.float64)
        state[f"{name}.bias"] = torch.randn(rows, dtype=torch.float64)
    for k in range(LAYERS):
        state[f"fno_blocks.convs.{k}.bias"] = torch.randn(HIDDEN, 1, 1, dtype=torch.float64)
        state |= {f"fno_blocks.convs.{k}.weight.{n}": v for n, v in _weights(kind, separable).items()}
        state[f"fno_blocks.fno_skips.{k}.conv.weight"] = torch.randn(HIDDEN, HIDDEN, 1, dtype=torch.float64)
        state[f"fno_blocks.channel_mlp_skips.{k}.weight"] = torch.randn(1, HIDDEN, 1, 1, dtype=torch.float64)
    return state


def _theirs(state: Mapping[str, Tensor], kind: str, fields: Tensor, *, separable: bool, grid: bool) -> Tensor:
    """What the model computes, in the order in which it does, for grids of even numbers of points."""
    gelu: Callable[[Tensor], Tensor] = nn.functional.gelu

    def pointwise(name: str, x: Tensor) -> Tensor:
        first, second = (
            (state[f"{name}.fcs.{k}.weight"][..., 0], state[f"{name}.fcs.{k}.bias"][:, None, None])
            for k in (0, 1)
        )
        hidden = gelu(torch.einsum("oi,bixy->boxy", first[0], x) + first[1])
        return torch.einsum("oi,bixy->boxy", second[0], hidden) + second[1]

    def convolution(k: int, x: Tensor) -> Tensor:
        start = f"fno_blocks.convs.{k}.weight."
        weight = _full({n.removeprefix(start): v for n, v in state.items() if n.startswith(start)}, kind)
        spectrum = torch.fft.fftshift(torch.fft.rfftn(x, dim=(-2, -1), norm="forward"), dim=-2)
        middle = GRID[0] // 2
        kept = (
            ...,
            slice(middle - FREQUENCIES[0] // 2, middle + FREQUENCIES[0] // 2),
            slice(0, FREQUENCIES[1]),
        )
        found = torch.zeros(len(x), HIDDEN, *spectrum.shape[2:], dtype=spectrum.dtype)
        found[kept] = torch.einsum(
            "bixy,ixy->bixy" if separable else "bixy,ioxy->boxy", spectrum[kept], weight
        )
        shifted = torch.fft.fftshift(found, dim=-2)
        return (
            torch.fft.irfftn(shifted, s=GRID, dim=(-2, -1), norm="forward")
            + state[f"fno_blocks.convs.{k}.bias"]
        )

    x = fields
    if grid:
        lines = [torch.arange(n, dtype=torch.float64) / n for n in GRID]
        coordinates = torch.stack(torch.meshgrid(*lines, indexing="ij"))
        x = torch.cat([x, coordinates.expand(len(x), -1, -1, -1)], 1)
    x = pointwise("lifting", x)
    for k in range(LAYERS):
        skip = torch.einsum("oi,bixy->boxy", state[f"fno_blocks.fno_skips.{k}.conv.weight"][..., 0], x)
        gated = state[f"fno_blocks.channel_mlp_skips.{k}.weight"] * x
        found = convolution(k, x) + skip
        last = k + 1 == LAYERS
        found = pointwise(f"fno_blocks.channel_mlp.{k}", found if last else gelu(found)) + gated
        x = found if last else gelu(found)
    return pointwise("projection", x)


@pytest.mark.parametrize("grid", [True, False])
@pytest.mark.parametrize("separable", [True, False])
@pytest.mark.parametrize("kind", ["dense", "tucker", "cp", "tt"])
def test_converted_weights_give_the_same_output(kind: str, separable: bool, grid: bool) -> None:
    torch.manual_seed(0)
    state = _state(kind, separable=separable, grid=grid)
    model = operator_from_neuraloperator(state, positional_grid=grid, separable=separable)
    assert type(model) is (FNO if kind == "dense" else TFNO)
    fields = torch.randn(2, 2, *GRID, dtype=torch.float64)
    expected = _theirs(state, kind, fields, separable=separable, grid=grid)
    torch.testing.assert_close(model(fields), expected)


def test_other_models_are_refused() -> None:
    for state, found in (({"weight": torch.zeros(3)}, "weight"), ({}, "no tensors")):
        with pytest.raises(ModelError, match=rf"state_dict\(\) of a neuraloperator .* got {found};"):
            operator_from_neuraloperator(state)
    with pytest.raises(ModelError, match=r"as its state_dict\(\) has them, got FNO"):
        operator_from_neuraloperator(FNO(1, 1, (4, 4), 4))  # type: ignore[arg-type]
    state = _state("dense") | {"fno_blocks.norm.0.weight": torch.ones(HIDDEN)}
    with pytest.raises(ModelError, match="no normalisation layers"):
        operator_from_neuraloperator(state)
    state = _state("dense")
    state["projection.fcs.0.weight"] = torch.zeros(6, HIDDEN, 1)
    with pytest.raises(ModelError, match="does not fit"):
        operator_from_neuraloperator(state)


def test_no_weight_is_left_over_or_made_up() -> None:
    state = _state("dense")
    with pytest.raises(ModelError, match=r"expected 24 tensors .* got 25"):
        operator_from_neuraloperator(state | {"fno_blocks.fno_skips.0.conv.bias": torch.zeros(HIDDEN)})
    without = {name: value for name, value in state.items() if "lifting.fcs.1" not in name}
    with pytest.raises(ModelError, match=r"got 22, and none for lifting\.second\.weight"):
        operator_from_neuraloperator(without)
    with pytest.raises(ModelError, match="use_channel_mlp=True"):
        operator_from_neuraloperator({n: v for n, v in state.items() if "channel_mlp." not in n})


def test_identity_skips_are_named() -> None:
    torch.manual_seed(0)
    state = _state("dense")
    unity = torch.eye(HIDDEN, dtype=torch.float64)[..., None]
    for k in range(LAYERS):
        state[f"fno_blocks.fno_skips.{k}.conv.weight"] = unity
        state[f"fno_blocks.channel_mlp_skips.{k}.weight"] = torch.ones(1, HIDDEN, 1, 1, dtype=torch.float64)
    bare = {name: value for name, value in state.items() if "skips" not in name}
    fields = torch.randn(2, 2, *GRID, dtype=torch.float64)
    named = operator_from_neuraloperator(bare, skip="identity", mlp_skip="identity")
    torch.testing.assert_close(named(fields), operator_from_neuraloperator(state)(fields))
