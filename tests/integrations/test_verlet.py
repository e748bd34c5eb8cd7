import numpy as np
import pytest

from sciten.datasets import neighbor_list
from sciten.errors import ConfigError
from sciten.integrations.verlet import VerletList

CUTOFF = 3.0
PERIODIC = np.array([True, True, True])


def crystal(rng: np.random.Generator, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    cell = np.array([[7.0, 0.0, 0.0], [1.0, 6.5, 0.0], [0.5, -0.8, 7.5]])
    return rng.uniform(size=(count, 3)) @ cell, cell


def assert_fresh(found, positions, cell, pbc):
    expected = neighbor_list(positions, cell, pbc, CUTOFF)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("pbc", [PERIODIC, np.array([True, False, True]), np.zeros(3, dtype=bool)])
def test_edges_are_those_of_a_fresh_list_in_the_same_order(pbc):
    rng = np.random.default_rng(0)
    positions, cell = crystal(rng)
    neighbors = VerletList(CUTOFF, 0.6)
    for _ in range(60):
        positions = positions + rng.normal(scale=0.03, size=positions.shape)
        assert_fresh(neighbors.edges(positions, cell, pbc), positions, cell, pbc)
    assert 2 <= neighbors.builds <= 20


def test_edges_stay_right_while_the_cell_shrinks_and_shears():
    rng = np.random.default_rng(1)
    positions, cell = crystal(rng)
    neighbors = VerletList(CUTOFF, 0.6)
    for _ in range(40):
        strain = np.eye(3) - 0.004 * np.eye(3) + rng.normal(scale=0.003, size=(3, 3))
        positions, cell = positions @ strain + rng.normal(scale=0.005, size=positions.shape), cell @ strain
        assert_fresh(neighbors.edges(positions, cell, PERIODIC), positions, cell, PERIODIC)
    assert 2 <= neighbors.builds <= 30


def test_a_pure_expansion_needs_no_new_list():
    positions, cell = crystal(np.random.default_rng(2))
    neighbors = VerletList(CUTOFF, 0.6)
    for factor in (1.0, 1.01, 1.02):
        assert_fresh(
            neighbors.edges(factor * positions, factor * cell, PERIODIC),
            factor * positions,
            factor * cell,
            PERIODIC,
        )
    assert neighbors.builds == 1


def test_two_atoms_that_approach_each_other_are_seen():
    # Each moves by just over half the skin: the pair was beyond cutoff + skin and is now inside the cutoff.
    cell, pbc = np.zeros((3, 3)), np.zeros(3, dtype=bool)
    apart = np.array([[0.0, 0.0, 0.0], [CUTOFF + 0.601, 0.0, 0.0]])
    neighbors = VerletList(CUTOFF, 0.6)
    assert len(neighbors.edges(apart, cell, pbc)[0]) == 0
    near = apart + np.array([[0.302, 0.0, 0.0], [-0.302, 0.0, 0.0]])
    assert len(neighbors.edges(near, cell, pbc)[0]) == 2


def test_another_periodicity_or_number_of_atoms_builds_anew():
    positions, cell = crystal(np.random.default_rng(3))
    neighbors = VerletList(CUTOFF, 0.6)
    neighbors.edges(positions, cell, PERIODIC)
    free = np.zeros(3, dtype=bool)
    assert_fresh(neighbors.edges(positions, cell, free), positions, cell, free)
    assert_fresh(neighbors.edges(positions[:-1], cell, free), positions[:-1], cell, free)
    assert neighbors.builds == 3


def test_without_skin_every_move_builds_anew():
    positions, cell = crystal(np.random.default_rng(4))
    neighbors = VerletList(CUTOFF, 0.0)
    for shift in (0.0, 0.0, 1e-3):
        neighbors.edges(positions + shift * np.eye(len(positions), 3), cell, PERIODIC)
    assert neighbors.builds == 2


@pytest.mark.parametrize("skin", [-0.1, np.nan, np.inf])
def test_a_senseless_skin_is_refused(skin):
    with pytest.raises(ConfigError, match="skin"):
        VerletList(CUTOFF, skin)
