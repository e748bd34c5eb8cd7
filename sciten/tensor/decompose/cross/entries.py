"""The entries of a tensor that is given as a function of the index."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.formats.tensor_train import TensorTrain

Function = Callable[[Tensor], Tensor]

#: Numbers in the indices that a function is given at a time.
_INDEX_NUMBERS = 2**23
#: How many of the places with the largest values are remembered.
_REMEMBERED = 32


class OutOfEvaluationsError(Exception):
    """More values were wanted than are allowed."""


class Entries:
    """A function of indices, called in few large batches.

    It counts the values, refuses those that are none, and remembers where the largest of them were.

    Args:
        name: of what is called by the user, for errors.
        function: from int64 indices `[n, d]` to values `[n]`.
        shape: of the tensor.
        most: how many values may be taken.
        device: of the indices.
    """

    def __init__(
        self, name: str, function: Function, shape: Sequence[int], most: int, device: torch.device
    ) -> None:
        self.name, self.function, self.shape, self.most, self.device = (
            name,
            function,
            tuple(shape),
            most,
            device,
        )
        self.count = 0
        self.dtype = torch.float64  # of the values
        self.large = torch.zeros(0, len(self.shape), dtype=torch.int64, device=device)
        self._sizes: Tensor | None = None  # of the values there, descending

    @property
    def largest(self) -> float:
        """The largest modulus of a value so far."""
        return 0.0 if self._sizes is None or not len(self._sizes) else float(self._sizes[0])

    def __call__(self, indices: Tensor) -> Tensor:
        """Values at `[n, d]`; raises `OutOfEvaluationsError` where they are too many, and takes none then."""
        self._take(len(indices))
        step = max(1, _INDEX_NUMBERS // len(self.shape))
        return torch.cat([self._values(part) for part in indices.split(step)])

    def block(self, left: Tensor, right: Tensor) -> Tensor:
        """Values where each of `left`, `[m, a]`, goes on with each of `right`, `[c, d - a]`: `[m, c]`."""
        self._take(len(left) * len(right))
        step = max(1, _INDEX_NUMBERS // (len(self.shape) * len(right)))
        return torch.cat([self._values(joined(part, right)) for part in left.split(step)]).unflatten(
            0, (len(left), len(right))
        )

    def _take(self, wanted: int) -> None:
        if self.count + wanted > self.most:
            raise OutOfEvaluationsError
        self.count += wanted

    def _values(self, indices: Tensor) -> Tensor:
        values = self.function(indices)
        if not isinstance(values, Tensor) or values.shape != indices.shape[:1]:
            found = list(values.shape) if isinstance(values, Tensor) else f"a {type(values).__name__}"
            raise ConfigError(
                f"{self.name}: expected the function to return values [{len(indices)}] for indices "
                f"{list(indices.shape)}, got {found}"
            )
        values = values.detach().to(self.device)
        if not (values.is_floating_point() or values.is_complex()):
            values = values.double()
        wrong = ~torch.isfinite(values)
        if bool(wrong.any()):
            first = int(wrong.nonzero()[0])
            raise ConfigError(
                f"{self.name}: expected finite values, got {values[first].item()} at the index "
                f"{tuple(indices[first].tolist())}"
            )
        self.dtype = values.dtype
        self._remember(indices, values.abs())
        return values

    def _remember(self, indices: Tensor, sizes: Tensor) -> None:
        if self._sizes is None:
            self._sizes = sizes[:0]
        if not len(sizes) or (len(self._sizes) == _REMEMBERED and sizes.max() <= self._sizes[-1]):
            return
        top = sizes.topk(min(_REMEMBERED, len(sizes))).indices
        places = torch.cat([self.large, indices[top]])
        places, inverse = torch.unique(places, dim=0, return_inverse=True)
        every = torch.cat([self._sizes, sizes[top]])
        found = every.new_zeros(len(places)).index_copy(0, inverse, every)
        kept = found.topk(min(_REMEMBERED, len(found)))
        self.large, self._sizes = places[kept.indices], kept.values


class Problem(NamedTuple):
    """What a method works on."""

    entries: Entries
    max_rank: int
    generator: torch.Generator

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""
        return self.entries.shape


class Steps(Protocol):
    """A method at work.

    `prefixes[k]`, `[r, k]`, and `suffixes[k]`, `[r', d - k]`, are the places that it knows on either side of bond k,
    for k = 1..d - 1; before the first mode and after the last one they are a row without columns.
    """

    sweeps: int
    prefixes: list[Tensor]
    suffixes: list[Tensor]

    def improve(self, failing: Tensor, cut: float) -> TensorTrain:
        """A better train.

        Args:
            failing: places `[m, d]` where the last one was wrong.
            cut: differences of entries that may be neglected.
        """
        ...


class Method(Protocol):
    """A way of choosing crosses."""

    @property
    def max_sweeps(self) -> int:
        """Sweeps after which it gives up."""
        ...

    def begin(self, problem: Problem, places: Tensor) -> Steps:
        """Start from places `[m, d]`, the largest entry first, which is not zero."""
        ...


def joined(left: Tensor, right: Tensor) -> Tensor:
    """Each row of `left`, `[m, a]`, followed by each row of `right`, `[c, b]`: `[m c, a + b]`."""
    m, c = len(left), len(right)
    return torch.cat([left.repeat_interleave(c, 0), right.repeat(m, 1)], 1)


def along(n: int, like: Tensor) -> Tensor:
    """The indices of one mode, `[n, 1]`."""
    return torch.arange(n, device=like.device)[:, None]


def random_places(shape: Sequence[int], count: int, generator: torch.Generator) -> Tensor:
    """Uniformly distributed indices, `[count, d]`."""
    columns: list[Any] = [
        torch.randint(n, (count,), generator=generator, device=generator.device) for n in shape
    ]
    return torch.stack(columns, 1)
