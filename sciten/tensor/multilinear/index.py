"""Gather and scatter indices with the orderings that make scattering race-free and deterministic."""

from functools import cached_property

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.tracing import is_traced


class Index:
    """For each batch element, the row it reads from (gather) or is added to (scatter).

    Args:
        rows: `[batch]`, int64, each in `[0, size)`.
        size: number of rows of the indexed tensor.

    Raises:
        ConfigError: a row lies outside; while a program is recorded, only its runs can tell.
    """

    def __init__(self, rows: Tensor, size: int) -> None:
        if rows.ndim != 1 or rows.dtype != torch.int64:
            raise ConfigError(
                f"Index: expected int64 rows of shape [batch], got {rows.dtype} of {list(rows.shape)}"
            )
        if not is_traced(rows) and len(rows) and not (int(rows.min()) >= 0 and int(rows.max()) < size):
            raise ConfigError(
                f"Index: expected rows in [0, {size}), got {int(rows.min())} to {int(rows.max())}"
            )
        self.rows = rows.contiguous()
        self.size = size

    @classmethod
    def trusted(cls, rows: Tensor, size: int) -> "Index":
        """An index that is not checked: its rows are symbols of a recorded program."""
        index = cls.__new__(cls)
        index.rows, index.size = rows, size
        return index

    @classmethod
    def one_row(cls, batch: int) -> "Index":
        """The index of a batch whose elements all belong to a single row."""
        index = cls.trusted(torch.zeros(batch, dtype=torch.int64), 1)
        index.is_sorted = True
        return index

    def __len__(self) -> int:
        return self.rows.shape[0]

    @cached_property
    def is_sorted(self) -> bool:
        """Whether the rows ascend."""
        return bool((self.rows[1:] >= self.rows[:-1]).all())

    @cached_property
    def order(self) -> Tensor | None:
        """The stable permutation that sorts the rows, or None where they ascend already."""
        return None if self.is_sorted else torch.argsort(self.rows, stable=True)

    @cached_property
    def offsets(self) -> Tensor:
        """Where the elements of each row begin in the sorted order, and the last ones end, `[size + 1]`."""
        rows = self.rows if self.order is None else self.rows[self.order]
        return torch.searchsorted(rows, torch.arange(self.size + 1, device=rows.device))

    @cached_property
    def longest(self) -> int:
        """Number of elements of the fullest row."""
        return int(self.offsets.diff().max()) if self.size else 0

    def pieces(self, length: int) -> tuple[Tensor, "Index"]:
        """The rows cut into pieces of at most `length` elements in sorted order, none of them empty.

        Returns where each piece begins and the last one ends, `[n_pieces + 1]`, and the index that adds the pieces up
        in their rows.
        """
        if length not in self._pieces:
            counts = (self.offsets.diff() + length - 1) // length
            rows = torch.repeat_interleave(torch.arange(self.size, device=counts.device), counts)
            before = counts.cumsum(0) - counts
            within = torch.arange(len(rows), device=rows.device) - before[rows]
            ends = self.offsets[-1:]
            self._pieces[length] = (
                torch.cat([self.offsets[rows] + within * length, ends]),
                Index(rows, self.size),
            )
        return self._pieces[length]

    @cached_property
    def _pieces(self) -> dict[int, tuple[Tensor, "Index"]]:
        return {}
