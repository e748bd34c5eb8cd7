"""One sample of fields, and several as a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class FieldSample:
    """What a model is given, and what it should answer.

    Attributes:
        inputs: `[C_in, *grid]`. First what varies in time, frame by frame, the oldest first; then the others.
        targets: `[horizon, C_out, *grid]`.
        parameters: `[p]`.
    """

    inputs: Tensor
    targets: Tensor
    parameters: Tensor


@dataclass(frozen=True)
class FieldBatch:
    """Samples one above the other.

    Attributes:
        inputs: `[B, C_in, *grid]`.
        targets: `[B, horizon, C_out, *grid]`.
        parameters: `[B, p]`.
    """

    inputs: Tensor
    targets: Tensor
    parameters: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def to(
        self,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        non_blocking: bool = False,
    ) -> "FieldBatch":
        """The batch on another device or in another precision."""
        return FieldBatch(
            *(
                tensor.to(device=device, dtype=dtype, non_blocking=non_blocking)
                for tensor in (self.inputs, self.targets, self.parameters)
            )
        )

    def pin_memory(self) -> "FieldBatch":
        """The batch in page-locked memory, as a `DataLoader` with `pin_memory` asks for it."""
        return FieldBatch(self.inputs.pin_memory(), self.targets.pin_memory(), self.parameters.pin_memory())


def collate_fields(samples: Sequence[FieldSample]) -> FieldBatch:
    """Samples of one dataset as a batch; the `collate_fn` of a `DataLoader`."""
    return FieldBatch(
        torch.stack([sample.inputs for sample in samples]),
        torch.stack([sample.targets for sample in samples]),
        torch.stack([sample.parameters for sample in samples]),
    )
