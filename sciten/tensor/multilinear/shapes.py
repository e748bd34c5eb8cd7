"""Whether arguments and indices fit a map, and how large its batch is."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.multilinear.description import Multilinear
from sciten.tensor.multilinear.index import Index


def sizes(map_: Multilinear, arguments: Sequence[Tensor], indices: Mapping[str, Index]) -> tuple[int, int]:
    """Batch and channels; raises `ConfigError` where arguments and indices do not fit the map and each other."""
    _require_tensors(map_, arguments)
    named = {operand.index for operand in (*map_.arguments, *map_.results) if operand.index is not None}
    if missing := named - set(indices):
        raise ConfigError(f"Multilinear: needs the index {', '.join(sorted(missing))}, which was not given")
    for name in sorted(named):
        if not isinstance(indices[name], Index):
            what = type(indices[name]).__name__
            raise ConfigError(
                f"Multilinear: expected the index {name} to be an Index(rows, size), got a {what}"
            )
    # Neither len() nor a set: either would turn the symbol that a traced length is into a number.
    lengths = {name: indices[name].rows.shape[0] for name in sorted(named)}
    batch: int | None = next(iter(lengths.values()), None)
    if any(length != batch for length in lengths.values()):
        raise ConfigError(f"Multilinear: expected indices of one length, the batch, got {lengths}")
    device = arguments[0].device
    if foreign := [name for name in lengths if indices[name].rows.device != device]:
        raise ConfigError(
            f"Multilinear: expected the index {foreign[0]} on {device}, where the arguments are"
        )
    channels: int | None = None
    for position, (operand, argument) in enumerate(zip(map_.arguments, arguments, strict=True)):
        expected: list[int | None] = []
        if not operand.shared:
            if operand.index is None and batch is None and argument.ndim:
                batch = argument.shape[0]
            expected.append(batch if operand.index is None else indices[operand.index].size)
        if operand.channels and channels is None and argument.ndim:
            last = argument.shape[-1]
            channels = last if operand.blocks is None else last // max(operand.components, 1)
        # Not `operand.row_shape`: `torch.compile` reads the attributes of a map, but calls none of its methods.
        if operand.blocks is not None:
            expected.append(operand.components * (channels or 0))
        else:
            expected += [operand.components, channels] if operand.channels else [operand.components]
        kind = (arguments[0].dtype, device)
        if list(argument.shape) != expected or (argument.dtype, argument.device) != kind:
            raise ConfigError(
                f"Multilinear: expected argument {position} of shape {expected}, {kind[0]} on {kind[1]}, "
                f"got {list(argument.shape)}, {argument.dtype} on {argument.device}"
            )
    return batch if batch is not None else 1, channels if channels is not None else 1


def _require_tensors(map_: Multilinear, arguments: Sequence[Tensor]) -> None:
    if not arguments or len(arguments) != len(map_.arguments):
        least = max(1, len(map_.arguments))
        raise ConfigError(f"Multilinear: expected {least} arguments, got {len(arguments)}")
    for position, argument in enumerate(arguments):
        # Of complex numbers the gradients would lack their conjugation.
        if not isinstance(argument, Tensor) or not argument.is_floating_point():
            what = f"{argument.dtype} tensor" if isinstance(argument, Tensor) else type(argument).__name__
            raise ConfigError(
                f"Multilinear: expected argument {position} to be a floating-point tensor, got a {what}"
            )
