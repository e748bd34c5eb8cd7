import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciten.pde.chains import Chain, summed
from sciten.tensor import TensorTrain


@settings(max_examples=60, deadline=None)
@given(data=st.data(), d=st.integers(1, 4), count=st.integers(1, 6))
def test_sums_are_sums(data: st.DataObject, d: int, count: int) -> None:
    """Terms built from a small stock of cores, so that parts are shared in all ways."""
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    stock = [
        [torch.randn(1, 2, 2, 1, generator=generator, dtype=torch.float64) for _ in range(2)]
        for _ in range(d)
    ]
    chains = []
    for _ in range(count):
        cores = [stock[k][data.draw(st.integers(0, 1))] for k in range(d)]
        switch = data.draw(st.integers(0, d - 1))
        cores[switch] = cores[switch] * 2.0  # a factor, as operators put it into the switching core
        chains.append(Chain(tuple(cores), switch))
    expected = sum(TensorTrain(chain.cores, operator=True).full() for chain in chains)
    found = TensorTrain(tuple(summed(chains)), operator=True)
    torch.testing.assert_close(found.full(), expected)


def test_a_sum_of_local_terms_has_rank_two_and_neighbours_rank_three() -> None:
    eyes = [torch.eye(3, dtype=torch.float64)[None, ..., None] for _ in range(6)]
    a = torch.randn(1, 3, 3, 1, dtype=torch.float64)
    local = [Chain((*eyes[:k], a, *eyes[k + 1 :]), k) for k in range(6)]
    assert [core.shape[-1] for core in summed(local)] == [2, 2, 2, 2, 2, 1]
    pairs = [Chain((*eyes[:k], a, a, *eyes[k + 2 :]), k + 1) for k in range(5)]
    assert max(core.shape[-1] for core in summed(local + pairs)) == 3
