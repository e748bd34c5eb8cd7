import pytest
import torch

from sciten.equivariant.testing.executors import uneven_map
from sciten.equivariant.testing.memory import poisoned_memory
from sciten.tensor.compiler import available
from sciten.tensor.multilinear import Index, Multilinear, Operand, Term, evaluate, looped
from sciten.tensor.multilinear.codegen import Kernel
from sciten.tensor.multilinear.cpu import Cpu
from sciten.tensor.multilinear.reference import Reference

pytestmark = pytest.mark.skipif(not available(), reason="no C++ compiler")

SLOW_CASES = [(24, False), (1, False), (1, True), (64, False), (64, True)]


def large_map(scattered: bool) -> Multilinear:
    """More terms than straight-line code is made for: one to three factors with channels, and scalars beside them."""
    generator = torch.Generator().manual_seed(0)

    def pick(n: int) -> int:
        return int(torch.randint(n, (), generator=generator))

    arguments = (Operand(9, shared=True), Operand(20, index="rows"), Operand(16), Operand(5, channels=False))
    patterns = ((0, 1, 2), (1, 2), (1,), (0, 1, 2, 3), (1, 1, 3, 3), (1, 2, 3), (0, 2, 2, 3))
    terms = []
    for n in range(6 * looped.LIMIT):
        factors = tuple((a, pick(arguments[a].components)) for a in patterns[n % len(patterns)])
        terms.append(
            Term(float(torch.randn((), generator=generator)), factors, (n % 2, pick((11, 7)[n % 2])))
        )
    where = "rows" if scattered else None
    return Multilinear(
        arguments, (Operand(11, index=where), Operand(7, channels=False, index=where)), tuple(terms)
    )


def test_components_that_only_some_kinds_of_terms_reach() -> None:
    """Each is written by the first that does: memory is full of NaN before."""
    map_ = uneven_map()
    assert looped.serves(map_, (0, 1)) and len({s.inner for s in looped.sections(map_, 0)}) > 2
    generator = torch.Generator().manual_seed(1)
    shapes = [(5, 16, 6), (5, 16, 6), (5, 4, 6), (5, 3)]
    arguments = [torch.randn(s, dtype=torch.float64, generator=generator) for s in shapes]
    plain = evaluate(map_, arguments, executor=Reference())
    with poisoned_memory():
        fast = evaluate(map_, arguments, executor=Cpu())
    for found, expected in zip(fast, plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


# Their derivatives take a compiler minutes, the first time.
@pytest.mark.parametrize(
    ("channels", "scattered"),
    [(24, True), *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW_CASES)],
)
def test_large_maps_equal_the_reference(channels: int, scattered: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    map_ = large_map(scattered)
    assert looped.serves(map_, (0,)) and looped.serves(map_, (1,))
    index = Index(torch.randint(6, (37,), generator=generator), 6)
    shapes = [(9, channels), (6, 20, channels), (37, 16, channels), (37, 5)]
    arguments = [torch.randn(s, dtype=torch.float64, generator=generator, requires_grad=True) for s in shapes]

    def everything(executor) -> list[torch.Tensor]:
        results = evaluate(map_, arguments, {"rows": index}, executor=executor)
        return [*results, *torch.autograd.grad(sum(r.sin().sum() for r in results), arguments)]

    for fast, plain in zip(everything(Cpu()), everything(Reference()), strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-11, atol=1e-11 * float(plain.detach().abs().max()))


def test_small_maps_and_polynomials_without_channels_stay_straight() -> None:
    small = Multilinear((Operand(1),), (Operand(1),), (Term(1.0, ((0, 0),), (0, 0)),))
    assert not looped.serves(small, (0,))
    n = 2 * looped.LIMIT
    scalars = Multilinear(
        (Operand(1, channels=False),),
        (Operand(n, channels=False),),
        tuple(Term(1.0, ((0, 0),), (0, k)) for k in range(n)),
    )
    assert not looped.serves(scalars, (0,))
    assert "term_end" not in Kernel(scalars, (0,), 4, False).source()
