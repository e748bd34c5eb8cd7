import pytest
import torch

from sciten.tensor.multilinear import Index


@pytest.mark.parametrize("rows", [[], [0, 0, 3, 3, 3], [3, 0, 3, 1, 0, 3, 3]])
def test_offsets_bound_the_elements_of_each_row(rows: list[int]) -> None:
    index = Index(torch.tensor(rows, dtype=torch.int64), 5)
    order = range(len(rows)) if index.order is None else index.order.tolist()
    for row in range(5):
        first, last = index.offsets[row : row + 2].tolist()
        # In their old order, so that sums do not depend on the sorting.
        assert [order[j] for j in range(first, last)] == [n for n, r in enumerate(rows) if r == row]
    assert index.longest == max((rows.count(r) for r in range(5)), default=0)


@pytest.mark.parametrize("length", [1, 2, 3, 100])
def test_pieces_make_up_the_rows(length: int) -> None:
    index = Index(torch.tensor([3, 0, 3, 1, 0, 3, 3]), 5)
    bounds, rows = index.pieces(length)
    lengths = bounds.diff()
    assert lengths.min() >= 1 and lengths.max() <= length
    assert rows.size == 5 and rows.is_sorted
    found = torch.zeros(5, dtype=torch.int64).index_add(0, rows.rows, lengths)
    assert torch.equal(found, index.offsets.diff())
    assert index.pieces(length)[0] is bounds


def test_an_index_without_rows() -> None:
    index = Index(torch.zeros(0, dtype=torch.int64), 0)
    assert index.offsets.tolist() == [0] and index.longest == 0
    bounds, rows = index.pieces(4)
    assert bounds.tolist() == [0] and len(rows) == 0
