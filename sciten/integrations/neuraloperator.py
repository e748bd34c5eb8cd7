"""Models of the package neuraloperator as ours, from their weights alone.

Files of weights are read by `torch.load(path, weights_only=True)`; nothing else is needed, not even the package.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from sciten.errors import ModelError
from sciten.neural_operators import FNO, TFNO, CPFactors, Dense, Factorization, TTFactors, TuckerFactors
from sciten.neural_operators.blocks import Skip
from sciten.neural_operators.pairs import as_pairs

_CONVOLUTION = "fno_blocks.convs.{}.weight"


def operator_from_neuraloperator(
    state: Mapping[str, Any], *, positional_grid: bool = True, separable: bool = False
) -> FNO:
    """An `FNO`, or a `TFNO` where the weights are factors, that gives what the model with these weights gives.

    For models of real data without normalisation layers, domain padding, stabiliser, preactivation and identity skips
    (which leave no trace in the weights), as are the defaults of neuraloperator 2.0. It takes all axes for periodic, as
    those models do. Grids with an odd number of points give other numbers: theirs moves some coefficients to the
    neighbouring frequency there.

    Args:
        state: the model's `state_dict()`.
        positional_grid: whether the model adds coordinates to its inputs (its default).
        separable: whether its convolutions are.

    Raises:
        ModelError: the weights are not of such a model.
    """
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if unknown := [name for name in tensors if ".norm." in name]:
        raise ModelError(f"operator_from_neuraloperator: expected no normalisation layers, got {unknown[0]}")
    try:
        return _converted(tensors, positional_grid, separable)
    except (KeyError, IndexError, RuntimeError) as error:
        raise ModelError(
            f"operator_from_neuraloperator: expected the weights of a neuraloperator FNO or TFNO; {error} does not fit"
        ) from error


def _converted(tensors: Mapping[str, Tensor], positional_grid: bool, separable: bool) -> FNO:
    n_layers = len({name.split(".")[2] for name in tensors if name.startswith("fno_blocks.convs.")})
    factorization, shape = _format(_factors(tensors, 0))
    frequencies = shape[1 if separable else 2 :]
    lifting, projection = tensors["lifting.fcs.0.weight"], tensors["projection.fcs.1.weight"]
    mlp = tensors.get("fno_blocks.channel_mlp.0.fcs.0.weight")
    kind = FNO if isinstance(factorization, Dense) else TFNO
    model = kind(
        in_channels=lifting.shape[1] - (len(frequencies) if positional_grid else 0),
        out_channels=projection.shape[0],
        modes=(*frequencies[:-1], max(1, 2 * (frequencies[-1] - 1))),
        hidden_channels=shape[0],
        n_layers=n_layers,
        lifting_channels=lifting.shape[0],
        projection_channels=projection.shape[1],
        skip=_skip(tensors, "fno_blocks.fno_skips.0"),
        mlp_channels=0 if mlp is None else mlp.shape[0],
        mlp_skip=_skip(tensors, "fno_blocks.channel_mlp_skips.0"),
        positional_grid=positional_grid,
        factorization=factorization,
        separable=separable,
        dtype=lifting.dtype,
    )
    model.load_state_dict(_state(tensors, n_layers), strict=False)
    return model


def _state(tensors: Mapping[str, Tensor], n_layers: int) -> dict[str, Tensor]:
    """Under our names."""
    pairs = [("lifting", "lifting"), ("projection", "projection")]
    pairs += [(f"fno_blocks.channel_mlp.{k}", f"blocks.{k}.mlp") for k in range(n_layers)]
    found = {}
    for theirs, ours in pairs:
        for number, layer in enumerate(("first", "second")):
            if (weight := tensors.get(f"{theirs}.fcs.{number}.weight")) is not None:
                found[f"{ours}.{layer}.weight"] = weight.flatten(1).mT
                found[f"{ours}.{layer}.bias"] = tensors[f"{theirs}.fcs.{number}.bias"]
    for k in range(n_layers):
        for number, factor in enumerate(_factors(tensors, k)):
            found[f"blocks.{k}.convolution.weight.factors.{number}"] = as_pairs(factor)
        found[f"blocks.{k}.convolution.bias"] = tensors[f"fno_blocks.convs.{k}.bias"].flatten()
        for theirs, ours in (("fno_skips", "skip"), ("channel_mlp_skips", "mlp_skip")):
            if (weight := tensors.get(f"fno_blocks.{theirs}.{k}.conv.weight")) is not None:
                found[f"blocks.{k}.{ours}.map.weight"] = weight.flatten(1).mT
            if (weight := tensors.get(f"fno_blocks.{theirs}.{k}.weight")) is not None:
                found[f"blocks.{k}.{ours}.gates"] = weight.flatten()
    return found


def _factors(tensors: Mapping[str, Tensor], k: int) -> list[Tensor]:
    """Of a convolution's weight, in the order of ours."""
    start = _CONVOLUTION.format(k)
    first = [
        tensors[name] for name in (f"{start}.tensor", f"{start}.core", f"{start}.weights") if name in tensors
    ]
    count = sum(name.startswith(f"{start}.factors.") for name in tensors)
    return first + [tensors[f"{start}.factors.factor_{number}"] for number in range(count)]


def _format(factors: Sequence[Tensor]) -> tuple[Factorization, tuple[int, ...]]:
    """The format of these factors, and the shape of the weight."""
    first = factors[0]
    if len(factors) == 1:
        return Dense(), tuple(first.shape)
    if first.ndim == 1:
        return CPFactors(len(first)), tuple(len(factor) for factor in factors[1:])
    if all(factor.ndim == 3 for factor in factors):
        return TTFactors([core.shape[2] for core in factors[:-1]]), tuple(core.shape[1] for core in factors)
    return TuckerFactors(list(first.shape)), tuple(len(factor) for factor in factors[1:])


def _skip(tensors: Mapping[str, Tensor], name: str) -> Skip:
    if f"{name}.conv.weight" in tensors:
        return "linear"
    return "soft_gating" if f"{name}.weight" in tensors else "none"
