"""A run of consecutive frames of an atoms file, in memory."""

from collections.abc import Sequence

import h5py
import numpy as np

from sciten.datasets import extras, schema
from sciten.datasets.structure import Structure

_BLOCK_ATOMS = 2048
_BLOCK_FRAMES = 512


def block_boundaries(pointers: np.ndarray) -> np.ndarray:
    """First frames of the blocks that a file is read in, and the number of frames: `[n_blocks + 1]`.

    Args:
        pointers: `[n_frames + 1]`, first row of each frame.
    """
    n_frames = len(pointers) - 1
    starts = [0]
    while (start := starts[-1]) < n_frames:
        end = int(np.searchsorted(pointers, pointers[start] + _BLOCK_ATOMS, side="right")) - 1
        starts.append(min(max(end, start + 1), start + _BLOCK_FRAMES, n_frames))
    return np.array(starts)


class Block:
    """Frames `start` to `stop` of an open file, read at once.

    Args:
        file: an open atoms file.
        pointers: `[n_frames + 1]`, first row of each frame.
        start, stop: the frames.
        config_names: names of the configuration types.
    """

    def __init__(
        self, file: h5py.File, pointers: np.ndarray, start: int, stop: int, config_names: Sequence[str]
    ) -> None:
        frames, rows = slice(start, stop), slice(int(pointers[start]), int(pointers[stop]))
        self._start = start
        self._pointers = pointers[start : stop + 1] - pointers[start]
        self._config_names = config_names
        self._columns = {
            name: file[name][rows if entry.per_atom else frames] for name, entry in schema.FIELDS.items()
        }
        self._info = list(extras.read(file, "frame", frames, frames))
        self._arrays = list(extras.read(file, "atom", frames, rows))
        #: bytes in memory
        self.nbytes = sum(values.nbytes for values in self._columns.values())
        self.nbytes += sum(values.nbytes for _, values, _ in (*self._info, *self._arrays))

    def structure(self, index: int) -> Structure:
        """Frame `index` of the file, which must be one of the block's."""
        i = index - self._start
        atoms = slice(*self._pointers[i : i + 2].tolist())
        columns = self._columns
        # Copies, so that nobody changes the block, and a structure that is kept does not keep the whole of
        # it.
        return Structure(
            positions=columns["positions"][atoms].copy(),
            numbers=columns["numbers"][atoms].astype(np.int64),
            cell=columns["cell"][i].copy(),
            pbc=columns["pbc"][i].copy(),
            energy=float(columns["energy"][i]) if columns["energy_mask"][i] else None,
            forces=columns["forces"][atoms].copy() if columns["forces_mask"][i] else None,
            stress=columns["stress"][i].copy() if columns["stress_mask"][i] else None,
            config_type=self._config_names[columns["config_type"][i]],
            charge=_known(columns["charge"][i]),
            spin=_known(columns["spin"][i]),
            info={name: _own(values[i]) for name, values, present in self._info if present[i]},
            arrays={name: _own(values[atoms]) for name, values, present in self._arrays if present[i]},
        )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _own(values: np.ndarray | str) -> np.ndarray:
    array = np.array(values)
    return array.astype(str) if array.dtype.kind == "O" else array
