"""Models of the package neuraloperator as ours, from their weights alone.

What that package writes holds classes and functions beside tensors, which nothing should unpickle. In an environment
that has it, save the tensors alone,

    torch.save({name: t for name, t in model.state_dict().items() if isinstance(t, torch.Tensor)}, path)

and read them here by `torch.load(path, weights_only=True)`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from sciten.errors import ConfigError, ModelError
from sciten.neural_operators import FNO, TFNO, CPFactors, Dense, Factorization, TTFactors, TuckerFactors
from sciten.neural_operators.pairs import as_pairs
from sciten.neural_operators.pointwise import Skip

_NAME = "operator_from_neuraloperator"
_CONVOLUTION = "fno_blocks.convs.{}.weight"


def operator_from_neuraloperator(
    state: Mapping[str, Any],
    *,
    positional_grid: bool = True,
    separable: bool = False,
    skip: Skip | None = None,
    mlp_skip: Skip | None = None,
) -> FNO:
    """An `FNO`, or a `TFNO` where the weights are factors, that gives what the model with these weights gives.

    For models of real data without normalisation layers, domain padding, stabiliser and preactivation, as are the
    defaults of neuraloperator 2.0; but for the first these leave no trace in the weights and cannot be noticed here. It
    takes all axes for periodic, as those models do. Grids with an odd number of points give other numbers: theirs moves
    some coefficients to the neighbouring frequency there.

    Args:
        state: the model's `state_dict()`.
        positional_grid: whether the model adds coordinates to its inputs (its default).
        separable: whether its convolutions are.
        skip, mlp_skip: what goes past the convolutions and past the blocks; by default what there are weights of, or
            nothing. Identity connections have none and must be named.

    Raises:
        ModelError: the weights are not of such a model, or some are left over or missing.
    """
    if not isinstance(state, Mapping):
        raise ModelError(
            f"{_NAME}: expected the tensors of a model by name, as its state_dict() has them, got "
            f"{type(state).__name__}"
        )
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if not any(name.startswith(_CONVOLUTION.format(0)) for name in tensors):
        raise ModelError(
            f"{_NAME}: expected the state_dict() of a neuraloperator FNO or TFNO, with tensors named "
            f"{_CONVOLUTION.format(0)}..., got {', '.join(list(tensors)[:2]) or 'no tensors'}; models of sciten itself "
            "are read by load_operator"
        )
    if unknown := [name for name in tensors if ".norm." in name]:
        raise ModelError(f"{_NAME}: expected no normalisation layers, got {unknown[0]}")
    if "lifting.fcs.0.weight" in tensors and "fno_blocks.channel_mlp.0.fcs.0.weight" not in tensors:
        raise ModelError(
            f"{_NAME}: expected blocks with a channel MLP, got none: neuraloperator then takes GELU twice in each, "
            "which is not done here; train one with use_channel_mlp=True"
        )
    try:
        return _converted(tensors, positional_grid, separable, skip, mlp_skip)
    except (KeyError, IndexError, RuntimeError, ConfigError) as error:
        raise ModelError(
            f"{_NAME}: expected the weights of a neuraloperator FNO or TFNO; {error} does not fit"
        ) from error


def _converted(
    tensors: Mapping[str, Tensor],
    positional_grid: bool,
    separable: bool,
    skip: Skip | None,
    mlp_skip: Skip | None,
) -> FNO:
    n_layers = len({name.split(".")[2] for name in tensors if name.startswith("fno_blocks.convs.")})
    factorization, shape = _format(_factors(tensors, 0))
    frequencies = shape[1 if separable else 2 :]
    lifting, projection = tensors["lifting.fcs.0.weight"], tensors["projection.fcs.1.weight"]
    kind = FNO if isinstance(factorization, Dense) else TFNO
    model = kind(
        in_channels=lifting.shape[1] - (len(frequencies) if positional_grid else 0),
        out_channels=projection.shape[0],
        modes=(*frequencies[:-1], max(1, 2 * (frequencies[-1] - 1))),
        hidden_channels=shape[0],
        n_layers=n_layers,
        lifting_channels=lifting.shape[0],
        projection_channels=projection.shape[1],
        skip=skip or _skip(tensors, "fno_blocks.fno_skips.0"),
        mlp_channels=tensors["fno_blocks.channel_mlp.0.fcs.0.weight"].shape[0],
        mlp_skip=mlp_skip or _skip(tensors, "fno_blocks.channel_mlp_skips.0"),
        positional_grid=positional_grid,
        factorization=factorization,
        separable=separable,
        dtype=lifting.dtype,
    )
    found = _state(tensors, n_layers)
    missing = [name for name in dict(model.named_parameters()) if name not in found]
    # Each is taken once: their number tells whether some were not.
    if missing or len(found) != len(tensors):
        raise ModelError(
            f"{_NAME}: expected {len(found) + len(missing)} tensors of a neuraloperator FNO with two lifting and two "
            f"projection layers, got {len(tensors)}{', and none for ' + missing[0] if missing else ''}"
        )
    model.load_state_dict(found, strict=False)  # the scales of the fields have no counterpart
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
