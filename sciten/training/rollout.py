"""Applying an operator again and again to what it said before."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from sciten.datasets import FieldDataset
from sciten.errors import ConfigError
from sciten.neural_operators import NeuralOperator


def rollout(model: NeuralOperator, dataset: FieldDataset, inputs: Tensor, steps: int) -> Iterator[Tensor]:
    """Predictions `[B, C_out, *grid]` of `steps` frames, each from those before it.

    Args:
        model: its input channels are those of `dataset`.
        dataset: says which channels are the history that predictions enter.
        inputs: of the first step, `[B, C_in, *grid]`.
        steps: how many frames.

    Raises:
        ConfigError: there are several steps, and the targets are not what varies in time among the inputs.
    """
    for step in range(steps):
        prediction = model(inputs)
        yield prediction
        if step + 1 < steps:
            inputs = dataset.advance(inputs, prediction)


def require_channels(model: NeuralOperator, dataset: FieldDataset) -> None:
    """Raise `ConfigError` where an operator has not as many axes and channels as a dataset."""
    name, channels, file = type(model).__name__, dataset.channels, dataset.paths[0]
    if model.n_dims != len(dataset.grid.axes):
        raise ConfigError(
            f"{file}: expected fields on {model.n_dims} axes, as the {name} takes them, got "
            f"{', '.join(dataset.grid.names)}; give model.modes and model.periodic a number for each axis, or take "
            "other data"
        )
    for what, expected, found in (
        ("inputs", model.in_channels, channels.inputs),
        ("targets", model.out_channels, channels.targets),
    ):
        if len(found) != expected:
            raise ConfigError(
                f"{file}: expected {expected} channels as {what}, which the {name} has, got {len(found)} "
                f"({', '.join(found)}); name other {what}, or train an operator for these"
            )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, without dropout, until the end of the block; then each module is as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def scaled(model: NeuralOperator, fields: Tensor) -> Tensor:
    """Fields `[B, C_out, *grid]` with each channel in units of its standard deviation, so that all weigh alike.

    Means stay: an error relative to a field depends on where zero is.
    """
    return fields.to(model.dtype) / model.output_std.view(-1, *[1] * model.n_dims)
