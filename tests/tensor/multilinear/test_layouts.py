import pytest
import torch

from sciten.errors import ConfigError
from sciten.tensor.compiler import available
from sciten.tensor.multilinear import Index, Multilinear, Operand, Term, evaluate, looped
from sciten.tensor.multilinear.cpu import Cpu
from sciten.tensor.multilinear.reference import Reference

pytestmark = pytest.mark.skipif(not available(), reason="no C++ compiler")
BLOCKS = (1, 3, 5)


def blocked_map(n_terms: int, *, blocks: bool, scattered: bool) -> Multilinear:
    """Random terms of two arguments in e3nn's layout and a shared one, into such a result and one without channels."""
    generator = torch.Generator().manual_seed(0)

    def pick(n: int) -> int:
        return int(torch.randint(n, (), generator=generator))

    layout = BLOCKS if blocks else None
    arguments = (Operand(9, blocks=layout), Operand(9, blocks=layout, index="rows"), Operand(4, shared=True))
    results = (
        Operand(9, blocks=layout, index="rows" if scattered else None),
        Operand(3, channels=False, index="rows" if scattered else None),
    )
    terms = [
        Term(
            float(torch.randn((), generator=generator)),
            ((0, pick(9)), (1, pick(9)), (2, pick(4))),
            (r, pick(n)),
        )
        for _ in range(n_terms)
        for r, n in ((0, 8), (1, 3))  # component 8 of the result is never written
    ]
    return Multilinear(arguments, results, tuple(terms))


def e3nn_layout(x: torch.Tensor) -> torch.Tensor:
    """From `[rows, 9, channels]`, one entry at a time."""
    return torch.cat([b.transpose(1, 2).flatten(1) for b in x.split(BLOCKS, dim=1)], dim=1)


@pytest.mark.parametrize("scattered", [False, True])
@pytest.mark.parametrize(("n_terms", "channels"), [(30, 1), (30, 63), (30, 32), (2000, 64), (2000, 24)])
def test_blocks_are_the_same_map_in_another_layout(n_terms, channels, scattered) -> None:
    generator = torch.Generator().manual_seed(1)
    plain = blocked_map(n_terms, blocks=False, scattered=scattered)
    blocked = blocked_map(n_terms, blocks=True, scattered=scattered)
    assert looped.serves(blocked, (0,)) == (n_terms > 1000)
    assert Multilinear.from_text(blocked.to_text()) == blocked
    indices = {"rows": Index(torch.randint(5, (11,), generator=generator), 5)}
    shapes = [(11, 9, channels), (5, 9, channels), (4, channels)]
    x, y, w = (torch.randn(s, dtype=torch.float64, generator=generator, requires_grad=True) for s in shapes)

    def orders(map_, executor, convert) -> list[torch.Tensor]:
        arguments = [convert(x), convert(y), w]
        results = evaluate(map_, arguments, indices, executor=executor)
        first = torch.autograd.grad(sum(r.sin().sum() for r in results), [x, y, w], create_graph=True)
        second = torch.autograd.grad(sum((g**2).sum() for g in first), [x, y, w])
        return [results[1], *first, *second], results[0]

    expected, result = orders(plain, Reference(), lambda t: t)
    for executor in (Reference(), Cpu()):
        found, blocked_result = orders(blocked, executor, e3nn_layout)
        torch.testing.assert_close(blocked_result, e3nn_layout(result), rtol=1e-11, atol=1e-9)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11 * float(b.abs().max()))


def test_blocks_must_fit() -> None:
    with pytest.raises(ConfigError, match="blocks that add up to 4 components"):
        Operand(4, blocks=(1, 2))
    with pytest.raises(ConfigError, match="with channels"):
        Operand(3, channels=False, blocks=(3,))
    with pytest.raises(ConfigError, match=r"expected argument 1 of shape \[5, 63\]"):
        map_ = blocked_map(3, blocks=True, scattered=False)
        rows = Index(torch.zeros(11, dtype=torch.int64), 5)
        evaluate(map_, [torch.zeros(11, 63), torch.zeros(5, 9, 7), torch.zeros(4, 7)], {"rows": rows})
