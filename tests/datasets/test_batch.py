"""Undirected pairs of a batch."""

from dataclasses import replace

import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from sciten.datasets.batch import AtomsBatch
from sciten.datasets.graphs import batch_from_ase


def batch() -> AtomsBatch:
    """Molecules, an isolated atom, and a crystal whose atoms have their own images as neighbours."""
    crystal = bulk("Cu", "fcc", a=3.6)
    crystal.rattle(0.05, seed=0)
    return batch_from_ase([molecule("CH3CH2OH"), Atoms("O"), crystal, bulk("Si", "diamond", a=5.4)], 4.0)


def test_each_pair_holds_an_edge_and_its_reverse() -> None:
    graph = batch()
    pairs, vectors = graph.pairs, graph.edge_vectors()
    assert len(pairs.edges) == pairs.index.size == graph.n_edges // 2
    for pair, edge in enumerate(pairs.edges.tolist()):
        members = (pairs.index.rows == pair).nonzero()[:, 0].tolist()
        assert len(members) == 2 and edge in members
        (reverse,) = set(members) - {edge}
        assert (
            graph.senders[edge] == graph.receivers[reverse]
            and graph.receivers[edge] == graph.senders[reverse]
        )
        torch.testing.assert_close(vectors[edge], -vectors[reverse], rtol=0, atol=1e-12)


@pytest.mark.parametrize("edge", [0, 40, -1])
def test_without_its_reverse_each_edge_is_a_pair_of_its_own(edge: int) -> None:
    graph = batch()
    kept = torch.ones(graph.n_edges, dtype=torch.bool)
    kept[edge] = False
    parts = {name: getattr(graph, name)[kept] for name in ("senders", "receivers", "shifts")}
    pairs = replace(graph, **parts).pairs
    assert torch.equal(pairs.edges, torch.arange(graph.n_edges - 1))
    assert torch.equal(pairs.index.rows, pairs.edges)


def test_there_may_be_no_edges() -> None:
    pairs = batch_from_ase([Atoms("H"), Atoms("O")], 4.0).pairs
    assert len(pairs.edges) == 0 and len(pairs.index) == 0
