"""A neighbour list with a skin, reused over small steps."""

import numpy as np

from sciten.datasets.graphs import neighbor_list
from sciten.errors import ConfigError


class VerletList:
    """Neighbours within a cutoff, from a list of the wider radius `cutoff + skin` that is rebuilt seldom.

    The wider list serves until an atom could have come inside the cutoff without being on it. With a
    deformation `F` between the cell of the list and the present one, atoms that have moved by at most `u`
    beyond it are closer than before by at most `2 u`, and `F` shortens no distance by more than its
    smallest singular value `s`; the list therefore holds while `2 u <= s (cutoff + skin) - cutoff`. At
    constant cell this is Verlet's criterion, `u <= skin / 2` (Verlet, Phys. Rev. 159, 98 (1967)).

    The edges keep the canonical order of `neighbor_list`, so that sums over neighbours do not depend, in
    their last bit, on when the list was built.

    Args:
        cutoff: Å.
        skin: Å; zero builds a new list for every structure.
    """

    def __init__(self, cutoff: float, skin: float) -> None:
        if not (np.isfinite(skin) and skin >= 0):
            raise ConfigError(f"skin: expected a length of zero or more in Å, got {skin}")
        self.cutoff = cutoff
        self.skin = skin
        self.builds = 0  #: how many neighbour lists have been built so far
        self._reference: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._edges = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3)))

    def edges(
        self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Senders `[n_edges]`, receivers `[n_edges]` (ascending) and shifts `[n_edges, 3]` within the cutoff.

        Args:
            positions: `[n_atoms, 3]`, Å.
            cell: `[3, 3]`, rows are lattice vectors, Å; zeros along directions without one.
            pbc: `[3]`, bool.
        """
        if not self._holds(positions, cell, pbc):
            self._build(positions, cell, pbc)
        senders, receivers, shifts = self._edges
        # `take` gathers rows about twice as fast as indexing does.
        vectors = positions.take(receivers, axis=0) - positions.take(senders, axis=0) + shifts @ cell
        inside = np.flatnonzero(np.einsum("ij,ij->i", vectors, vectors) < self.cutoff**2)
        return senders.take(inside), receivers.take(inside), shifts.take(inside, axis=0)

    def _holds(self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> bool:
        if self._reference is None:
            return False
        old_positions, old_cell, old_pbc = self._reference
        if old_positions.shape != positions.shape or not np.array_equal(old_pbc, pbc):
            return False
        stretch, shrinkage = np.eye(3), 1.0
        if pbc.any() and not np.array_equal(old_cell, cell):
            stretch = np.linalg.solve(_completed(old_cell), _completed(cell))
            shrinkage = float(np.linalg.svd(stretch, compute_uv=False)[-1])
        moved = np.linalg.norm(positions - old_positions @ stretch, axis=1).max(initial=0.0)
        return bool(2 * moved <= shrinkage * (self.cutoff + self.skin) - self.cutoff)

    def _build(self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> None:
        senders, receivers, shifts = neighbor_list(positions, cell, pbc, self.cutoff + self.skin)
        self._edges = (senders, receivers, shifts.astype(np.float64))
        self._reference = (positions.copy(), np.array(cell), np.array(pbc))
        self.builds += 1


def _completed(cell: np.ndarray) -> np.ndarray:
    # Directions without a lattice vector get a unit normal, so that the strain between two cells is defined.
    from ase.geometry import complete_cell

    return np.asarray(complete_cell(cell))
