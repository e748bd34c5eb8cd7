"""Does an executor give the right numbers for every kind of map, to the third derivative?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

import torch
from torch import Tensor

from sciten.equivariant.clebsch_gordan import wigner_3j
from sciten.equivariant.harmonics import harmonics_map
from sciten.equivariant.products.channelwise import convolution_map
from sciten.equivariant.products.symmetric import contraction_map
from sciten.equivariant.testing.derivatives import all_orders
from sciten.equivariant.testing.errors import ORDINALS, TOLERANCES, ConformanceError, deviation
from sciten.equivariant.testing.memory import poisoned_memory
from sciten.equivariant.testing.naive import term_by_term
from sciten.tensor.multilinear import Executor, Index, Multilinear, Operand, Term, evaluate


@dataclass(frozen=True)
class ExecutorCase:
    """A map with arguments.

    Attributes:
        name: for messages.
        map_: the map.
        batch: batch elements; none are fewer than the rows that indices point to.
        channels: of operands that have any.
        rows: of operands that are gathered or scattered, by name of the index.
        orders: up to which derivatives are compared.
        strided: whether arguments are not contiguous.
        ordered: whether indices ascend.
    """

    name: str
    map_: Multilinear
    batch: int
    channels: int
    rows: Mapping[str, int] = field(default_factory=dict)
    orders: int = 3
    strided: bool = False
    ordered: bool = False

    def draw(
        self, seed: int, dtype: torch.dtype, device: torch.device | str
    ) -> tuple[list[Tensor], dict[str, Index]]:
        """Random arguments and indices; the last row of an index is one that nothing points to."""
        generator = torch.Generator().manual_seed(seed)
        indices = {}
        for name, size in self.rows.items():
            rows = torch.randint(0, max(size - 1, 1), (self.batch,), generator=generator)
            rows = rows.sort().values if self.ordered else rows
            indices[name] = Index(rows.to(device), size)
        arguments = []
        for operand in self.map_.arguments:
            rows_ = self.batch if operand.index is None else self.rows[operand.index]
            shape = [*([] if operand.shared else [rows_]), operand.components]
            shape += [self.channels] if operand.channels else []
            values = torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)
            arguments.append(torch.stack([values, values], -1)[..., 0] if self.strided else values)
        return arguments, indices


def executor_cases(*, large: bool = True) -> tuple[ExecutorCase, ...]:
    """What `check_executor` runs.

    Args:
        large: whether maps of more than a thousand terms and a thousand channels are among them.
    """
    atoms = {"senders": 9, "receivers": 7}
    convolution = convolution_map(1, 2, 1)
    species = {"species": 4}
    cases = [
        ExecutorCase("a convolution between atoms", convolution, 37, 63, atoms),
        ExecutorCase("a convolution along sorted edges", convolution, 40, 8, atoms, ordered=True),
        ExecutorCase("a convolution along no edges", convolution, 0, 8, atoms),
        ExecutorCase("a convolution of strided arguments", convolution, 11, 8, atoms, strided=True),
        ExecutorCase("a symmetric contraction", contraction_map(1, (0, 1), 3), 13, 16, species),
        ExecutorCase("a product with shared weights", product_map(1, shared=True), 13, 5),
        ExecutorCase("a product with weights of samples", product_map(1, shared=False), 13, 1),
        ExecutorCase("harmonics, which have no channels", harmonics_map(3), 17, 1),
        ExecutorCase("a map of every kind of operand", mixed_map(), 21, 7, {"s": 6, "r": 4}),
    ]
    if large:
        cases += [
            ExecutorCase("a thousand channels", product_map(1, shared=False), 2, 1000),
            ExecutorCase("many terms that reach unlike components", uneven_map(), 5, 6, orders=1),
            ExecutorCase("a product of many terms", product_map(4, shared=True), 5, 16, orders=2),
        ]
    return tuple(cases)


def check_executor(
    executor: Executor,
    *,
    cases: Sequence[ExecutorCase] | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    tolerance: float | None = None,
    seed: int = 0,
) -> float:
    """Results and derivatives of maps of every kind equal those of their terms in float64, and those of a second run.

    Terms are evaluated one after the other, and differentiated by torch (`naive`), so that `Reference` can be checked
    like any other executor.

    Args:
        executor: the executor.
        cases: the maps; by default `executor_cases()`.
        dtype: of the arguments.
        device: of the arguments.
        tolerance: largest deviation allowed, relative to the largest value; by default one for each order,
            `errors.TOLERANCES`.
        seed: of the arguments.

    Returns:
        The largest deviation.

    Raises:
        ConformanceError: a deviation is larger, or an argument is changed, or runs differ; the message names the map
            and the order of the derivative.
    """
    allowed = TOLERANCES[dtype] if tolerance is None else (tolerance,) * len(ORDINALS)
    worst = 0.0
    for case in executor_cases() if cases is None else cases:
        arguments, indices = case.draw(seed, dtype, device)
        _check_traces(case, executor, arguments, indices)
        with poisoned_memory():
            found = _orders(case, executor, arguments, indices, seed)
        there = {name: Index(index.rows.cpu(), index.size) for name, index in indices.items()}
        expected = _expected(case, [a.cpu().double() for a in arguments], there, seed)
        for order, where, deviates in _deviations(found, expected):
            worst = max(worst, deviates)
            if not deviates <= allowed[order]:
                raise ConformanceError(
                    f"{type(executor).__name__}: {ORDINALS[order]} of {case.name} ({where}) deviate from its terms "
                    f"by {deviates:.1e} of the largest (at most {allowed[order]:.0e} is allowed)"
                )
    return worst


def product_map(lmax: int, *, shared: bool) -> Multilinear:
    """All couplings of two signals into a third, channel by channel, a weight each, the same for all samples or not."""
    degrees = range(lmax + 1)
    paths = [
        (a, b, c) for c in degrees for a in degrees for b in degrees if abs(a - b) <= c <= min(a + b, lmax)
    ]
    terms = [
        Term(sqrt(2 * c + 1) * float(value), ((0, p), (1, a * a + i), (2, b * b + j)), (0, c * c + k))
        for p, (a, b, c) in enumerate(paths)
        for i, plane in enumerate(wigner_3j(a, b, c))
        for j, row in enumerate(plane)
        for k, value in enumerate(row)
        if value != 0
    ]
    n = (lmax + 1) ** 2
    weights = Operand(len(paths), shared=shared)
    return Multilinear((weights, Operand(n), Operand(n)), (Operand(n),), tuple(terms))


def mixed_map() -> Multilinear:
    """Gathered, shared, channel-free and repeated factors; scattered, shared and channel-free results."""
    arguments = (Operand(3, index="s"), Operand(4, channels=False), Operand(2), Operand(2, shared=True))
    results = (
        Operand(5, index="r"),
        Operand(2, channels=False, shared=True),
        Operand(3),
        Operand(2, channels=False),
    )
    convolution = [Term(0.3 * i - 1, ((0, i % 3), (1, i % 4), (2, i % 2)), (0, i % 5)) for i in range(20)]
    others = [
        Term(2.0, ((0, 1), (0, 2), (2, 1)), (1, 1)),
        Term(1.5, ((1, 1),), (1, 0)),
        Term(2.0, ((0, 1), (3, 1), (2, 1)), (2, 2)),
        Term(-0.5, ((0, 0), (0, 0), (0, 0)), (2, 2)),
        Term(0.7, ((1, 2), (1, 2), (1, 3)), (3, 1)),
    ]
    return Multilinear(arguments, results, tuple(convolution + others))


def uneven_map() -> Multilinear:
    """Many terms of four kinds, each of which reaches some components of the results and not others."""
    arguments = (Operand(16), Operand(16), Operand(4), Operand(3, channels=False))
    kinds = (((0, 1), range(8)), ((0, 1, 2), range(4, 12)), ((1,), range(2, 16)), ((0, 2, 3), range(13, 16)))
    terms = [
        Term(
            1 / (1 + n % 7) - 0.4,
            tuple((a, (n * (3 + 2 * a) + n // 16) % arguments[a].components) for a in factors),
            (n % 2, targets[n // 2 % len(targets)]),
        )
        for factors, targets in kinds
        for n in range(1600)
    ]
    return Multilinear(arguments, (Operand(16), Operand(16, channels=False)), tuple(terms))


def _orders(
    case: ExecutorCase,
    executor: Executor,
    arguments: Sequence[Tensor],
    indices: Mapping[str, Index],
    seed: int,
) -> list[list[Tensor]]:
    def function(*given: Tensor) -> tuple[Tensor, ...]:
        if case.strided:  # copies of arguments are contiguous
            given = tuple(torch.stack([g, g], -1)[..., 0] for g in given)
        return evaluate(case.map_, given, indices, executor=executor)

    return all_orders(function, arguments, case.orders, seed)


def _expected(
    case: ExecutorCase, arguments: Sequence[Tensor], indices: Mapping[str, Index], seed: int
) -> list[list[Tensor]]:
    def function(*given: Tensor) -> tuple[Tensor, ...]:
        return term_by_term(case.map_, given, indices, case.batch, case.channels)

    return all_orders(function, arguments, case.orders, seed)


def _deviations(
    found: Sequence[Sequence[Tensor]], expected: Sequence[Sequence[Tensor]]
) -> Iterator[tuple[int, str, float]]:
    for order, (some, wanted) in enumerate(zip(found, expected, strict=True)):
        largest = max((float(w.detach().abs().max()) for w in wanted if w.numel()), default=0.0)
        for n, (value, right) in enumerate(zip(some, wanted, strict=True)):
            own = float(right.detach().abs().max()) if right.numel() else 0.0
            scale = torch.tensor(max(own, 1e-2 * largest), dtype=torch.float64)
            kind = "result" if order == 0 else "by argument"
            yield order, f"{kind} {n}", deviation(value.detach().cpu(), right.detach(), scale)


def _check_traces(
    case: ExecutorCase,
    executor: Executor,
    arguments: Sequence[Tensor],
    indices: Mapping[str, Index],
) -> None:
    kept = [a.clone() for a in arguments]
    runs = [evaluate(case.map_, arguments, indices, executor=executor) for _ in range(2)]
    if not all(map(torch.equal, arguments, kept)):
        raise ConformanceError(f"{type(executor).__name__}: it changes the arguments of {case.name}")
    if not all(map(torch.equal, *runs)):
        raise ConformanceError(
            f"{type(executor).__name__}: two runs of {case.name} on the same arguments give different numbers"
        )
