import numpy as np
import pytest

from sciten.datasets import Structure
from sciten.datasets.validate import check_structure
from sciten.errors import DataError
from tests.datasets.conftest import make_structure


def spoiled(name, index, value) -> Structure:
    structure = make_structure()
    getattr(structure, name)[index] = value
    return structure


def test_a_good_structure_passes():
    check_structure(make_structure(), "here")
    check_structure(make_structure(periodic=False, energy=None, forces=None), "here")
    check_structure(make_structure(0, 1, config_type="isolated_atom"), "here")


CASES = {
    "no atoms": (
        Structure(np.zeros((0, 3)), np.zeros(0, int)),
        "the frame has no atoms",
    ),
    "nan position": (spoiled("positions", (2, 1), np.nan), "positions of atom 2 is nan, expected finite"),
    "infinite force": (spoiled("forces", (3, 0), np.inf), "forces of atom 3 is inf, expected finite"),
    "nan stress": (spoiled("stress", 5, np.nan), "stress is nan, expected finite"),
    "nan energy": (make_structure(energy=float("nan")), "energy is nan, expected finite"),
    "infinite energy": (make_structure(energy=-np.inf), "energy is -inf, expected finite"),
    "nan cell": (spoiled("cell", (0, 0), np.nan), "cell is nan, expected finite"),
    "short positions": (
        make_structure(positions=np.zeros((4, 3))),
        r"positions: expected shape \[5, 3\], got \[4, 3\]",
    ),
    "short forces": (
        make_structure(forces=np.zeros((4, 3))),
        r"forces: expected shape \[5, 3\], got \[4, 3\]",
    ),
    "full stress": (make_structure(stress=np.zeros((3, 3))), r"stress: expected shape \[6\]"),
    "dummy atom": (spoiled("numbers", 4, 0), "atom 4 has the atomic number 0, expected 1 to 118"),
    "too heavy": (spoiled("numbers", 1, 119), "atom 1 has the atomic number 119"),
    "no cell": (make_structure(cell=np.zeros((3, 3))), "periodic frame .* without a cell"),
    "flat cell": (make_structure(cell=np.ones((3, 3))), "singular"),
    "isolated pair": (make_structure(0, 2, config_type="IsolatedAtom"), "'IsolatedAtom', but has 2 atoms"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_named(name):
    structure, message = CASES[name]
    with pytest.raises(DataError, match=f"^data.xyz: frame 7: .*{message}"):
        check_structure(structure, "data.xyz: frame 7")


@pytest.mark.parametrize(
    ("distance", "bad"), [(0.0, True), (0.05, True), (0.099, True), (0.101, False), (0.7, False)]
)
def test_close_atoms(distance, bad):
    positions = np.array([[0, 0, 0], [2.0, 0, 0], [2.0, distance, 0]])
    structure = Structure(positions, np.array([1, 1, 1]))
    if bad:
        with pytest.raises(
            DataError,
            match=r"here: atoms (1 and 2|2 and 1) are .* Å apart, expected (at least 0\.1|different)",
        ):
            check_structure(structure, "here")
    else:
        check_structure(structure, "here")


def test_close_images():
    positions = np.array([[0.02, 0, 0], [4.97, 0, 0]])
    apart = Structure(positions, np.array([1, 1]))
    check_structure(apart, "here")
    with pytest.raises(DataError, match=r"atoms \d and \d are 0\.05 Å apart"):
        check_structure(
            Structure(positions, np.array([1, 1]), cell=5 * np.eye(3), pbc=np.ones(3, bool)), "here"
        )
    with pytest.raises(DataError, match=r"atom 0 and its own image are 0\.09 Å apart"):
        tiny = np.diag([0.09, 5, 5])
        check_structure(Structure(positions[:1], np.array([1]), cell=tiny, pbc=np.ones(3, bool)), "here")
