import copy

import pytest
from e3nn import o3

from sciten.equivariant import Irrep, Irreps
from sciten.errors import ConfigError


@pytest.mark.parametrize("text", ["", "0e", "8x0e + 4x1o", "2x3o+0x1e+1x1e", "12x10e"])
def test_read_and_printed_as_by_e3nn(text: str) -> None:
    ours, theirs = Irreps(text), o3.Irreps(text)
    assert str(ours) == str(theirs)
    assert (ours.dim, ours.num_irreps, len(ours)) == (theirs.dim, theirs.num_irreps, len(theirs))
    assert list(ours.slices()) == theirs.slices()
    assert str(ours.simplify()) == str(theirs.simplify())
    assert Irreps(theirs) == ours
    assert o3.Irreps(ours) == theirs


def test_products_of_irreps_are_those_of_e3nn() -> None:
    for a in ("0o", "1o", "2e", "3e"):
        for b in ("1e", "2o"):
            ours = Irreps(a)[0].ir * Irreps(b)[0].ir
            assert list(map(str, ours)) == list(map(str, o3.Irrep(a) * o3.Irrep(b)))


def test_natural_irreps_have_the_parity_of_harmonics() -> None:
    assert str(Irreps.natural(3, 4)) == "4x0e+4x1o+4x2e+4x3o"
    assert all(entry.ir.is_natural for entry in Irreps.natural(5))
    assert not Irrep(1, 1).is_natural


def test_equal_irreps_are_equal_and_hash_alike() -> None:
    assert Irreps("2x1o") == Irreps([(2, (1, -1))])
    assert hash(Irreps("2x1o")) == hash(Irreps([(2, "1o")]))
    assert Irreps("1o+1o") != Irreps("2x1o")


@pytest.mark.parametrize(
    "wrong", ["1x", "2z", "e", "1o,2e", "-1x0e", [(1, (1, 3))], [(1, 5)], [(-1, (1, 1))]]
)
def test_what_is_no_irrep_is_refused(wrong) -> None:
    with pytest.raises(ConfigError, match="Irreps: expected"):
        Irreps(wrong)


def test_irreps_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Irreps("1o")._entries = ()


def test_irreps_are_copied_as_values() -> None:
    irreps = Irreps("2x0e+1o")
    assert copy.deepcopy(irreps) == copy.copy(irreps) == irreps
