"""C++ for large maps on the CPU: the terms stand in tables that short loops walk through.

Straight-line code for thousands of terms takes minutes to compile and no longer fits the instruction cache. A table
of them costs a load or two more for each multiply-add, compiles at once, and has no such limit.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sciten.tensor.multilinear.description import Multilinear, Term

#: Terms beyond which tables take the place of straight-line code, which then needs seconds to compile.
LIMIT = 1200
#: The same where results are summed over channels: each of their components is a variable that lives through the whole
#: loop, for which compilers find registers slowly.
LIMIT_OF_SUMS = 600


@dataclass(frozen=True)
class _Entry:
    """`coefficient * product of scalars * outer * product of inner`, as components of the section's arguments."""

    target: int
    outer: int
    inner: tuple[int, ...]
    scalars: tuple[tuple[int, int], ...]
    coefficient: float


@dataclass(frozen=True)
class Section:
    """Terms of one result that multiply components of the same arguments.

    Attributes:
        result: which result they are added to.
        outer: the argument whose component is factored out of a sum, None with fewer than two factors.
        inner: the other arguments with channels.
        entries: the terms, those of one target and outer component side by side.
    """

    result: int
    outer: int | None
    inner: tuple[int, ...]
    entries: tuple[_Entry, ...]


def serves(map_: Multilinear, results: Sequence[int]) -> bool:
    """Whether the terms of these results are many, and of a form that tables hold."""
    terms = [t for t in map_.terms if t.target[0] in results]
    limit = LIMIT if all(map_.results[r].channels for r in results) else LIMIT_OF_SUMS
    return len(terms) > limit and all(1 <= len(_vectors(map_, t)) <= 3 for t in terms)


def sections(map_: Multilinear, result: int) -> list[Section]:
    """The terms of one result, by the arguments that they multiply."""
    patterns: dict[tuple[int, ...], list[Term]] = defaultdict(list)
    for term in map_.terms:
        if term.target[0] == result:
            patterns[tuple(a for a, _ in _vectors(map_, term))].append(term)
    return [_section(map_, result, pattern, terms) for pattern, terms in sorted(patterns.items())]


def _vectors(map_: Multilinear, term: Term) -> tuple[tuple[int, int], ...]:
    return tuple(factor for factor in term.factors if map_.arguments[factor[0]].channels)


def _section(map_: Multilinear, result: int, pattern: tuple[int, ...], terms: Sequence[Term]) -> Section:
    split = min(range(len(pattern)), key=lambda position: _groups(map_, terms, position))
    split = split if len(pattern) > 1 else -1
    entries = []
    for term in terms:
        vectors = _vectors(map_, term)
        entries.append(
            _Entry(
                term.target[1],
                vectors[split][1] if split >= 0 else 0,
                tuple(i for position, (_, i) in enumerate(vectors) if position != split),
                tuple(factor for factor in term.factors if not map_.arguments[factor[0]].channels),
                term.coefficient,
            )
        )
    entries.sort(key=lambda e: (e.target, e.outer, e.inner))
    inner = tuple(a for position, a in enumerate(pattern) if position != split)
    return Section(result, pattern[split] if split >= 0 else None, inner, tuple(entries))


def _groups(map_: Multilinear, terms: Sequence[Term], position: int) -> int:
    return len({(t.target[1], _vectors(map_, t)[position][1]) for t in terms})


@dataclass
class Code:
    """Pieces of a kernel: constants before it, statements before, in and after the loop over channels."""

    constants: list[str]
    before: list[str]
    loop: list[str]
    after: list[str]


def code(
    map_: Multilinear, results: Sequence[int], channels: int, block: int, *, added: Callable[[int], bool]
) -> Code:
    """The code of these results; `added` says which of them are added to what their rows hold.

    Pointers `a<argument>` and `r<result>` are there; `c` is the first of `block` channels. Where operands have blocks,
    `l<argument>` and `o<result>` hold these channels, component by component.
    """
    made = Code([], [], [], [])
    for result in results:
        written: set[int] = set()
        for section in sections(map_, result):
            # Sections need not reach the same components: each is written by the first that does, and added to after.
            for again in (False, True):
                entries = tuple(e for e in section.entries if (e.target in written) == again)
                if entries:
                    part, name = replace(section, entries=entries), f"{result}_{len(made.constants)}"
                    _emit(made, part, name, map_, channels, block, added(result) or again)
            written |= {e.target for e in section.entries}
    return made


def _place(map_: Multilinear, argument: int) -> str:
    return f"a{argument} + c" if map_.arguments[argument].blocks is None else f"l{argument}"


def _stride(map_: Multilinear, argument: int | None, channels: int, block: int) -> int:
    return channels if argument is None or map_.arguments[argument].blocks is None else block


def _emit(
    made: Code, section: Section, name: str, map_: Multilinear, channels: int, block: int, add: bool
) -> None:
    groups: list[tuple[int, int]] = []  # (target, outer component)
    ends: list[int] = []
    for position, entry in enumerate(section.entries):
        if not groups or groups[-1] != (entry.target, entry.outer):
            groups.append((entry.target, entry.outer))
            ends.append(0)
        ends[-1] = position + 1
    targets = sorted({target for target, _ in groups})
    last_group = {target: g + 1 for g, (target, _) in enumerate(groups)}
    integers = {
        f"term_end{name}": ends,
        f"outer{name}": [o * _stride(map_, section.outer, channels, block) for _, o in groups],
        f"group_end{name}": [last_group[t] for t in targets],
        f"target{name}": targets,
        **{
            f"inner{name}_{position}": [
                e.inner[position] * _stride(map_, argument, channels, block) for e in section.entries
            ]
            for position, argument in enumerate(section.inner)
        },
    }
    made.constants += [_array("int", key, values) for key, values in integers.items()]
    made.constants.append(_array("T", f"factor{name}", [repr(e.coefficient) for e in section.entries]))
    factor = _scalars(made, section, name)
    inner = " * ".join(
        f"load({_place(map_, argument)} + inner{name}_{position}[t] + u * W)"
        for position, argument in enumerate(section.inner)
    )
    outer = (
        f" * load({_place(map_, section.outer)} + outer{name}[g] + u * W)"
        if section.outer is not None
        else ""
    )
    store = _store(made, section, name, map_, channels, add, len(targets))
    each = "for (int u = 0; u < U; ++u)"
    made.loop.append(
        f"for (int n = 0, g = 0, t = 0; n < {len(targets)}; ++n) {{\n"
        f"          V total[U] = {{}};\n"
        f"          for (; g < group_end{name}[n]; ++g) {{\n"
        f"            V part[U] = {{}};\n"
        f"            for (; t < term_end{name}[g]; ++t) {each} part[u] += {factor}[t] * {inner};\n"
        f"            {each} total[u] += part[u]{outer};\n"
        f"          }}\n"
        f"          {each} {store}\n"
        f"        }}"
    )


def _scalars(made: Code, section: Section, name: str) -> str:
    """Statements that multiply coefficients with factors without channels, once for each batch element."""
    if not any(e.scalars for e in section.entries):
        return f"factor{name}"
    products = sorted({e.scalars for e in section.entries})
    place = {product: i for i, product in enumerate(products)}
    written = [" * ".join(f"a{a}[{i}]" for a, i in product) or "1" for product in products]
    made.constants.append(_array("int", f"product{name}", [place[e.scalars] for e in section.entries]))
    made.before.append(
        f"const T products{name}[] = {{{', '.join(written)}}}; T scaled{name}[{len(section.entries)}];"
    )
    made.before.append(
        f"for (int t = 0; t < {len(section.entries)}; ++t) "
        f"scaled{name}[t] = factor{name}[t] * products{name}[product{name}[t]];"
    )
    return f"scaled{name}"


def _store(
    made: Code, section: Section, name: str, map_: Multilinear, channels: int, add: bool, n_targets: int
) -> str:
    if map_.results[section.result].blocks is not None:
        place = f"o{section.result} + target{name}[n] * (U * W) + u * W"
        return f"store({place}, load({place}) + total[u]);"
    if map_.results[section.result].channels:
        place = f"r{section.result} + target{name}[n] * {channels} + c + u * W"
        return f"store({place}, load({place}) + total[u]);" if add else f"store({place}, total[u]);"
    # Summed over channels: a register for each component until the last channel is done.
    made.before.append(f"V sums{name}[{n_targets}] = {{}};")
    made.after.append(
        f"for (int n = 0; n < {n_targets}; ++n) "
        f"r{section.result}[target{name}[n]] {'+=' if add else '='} sum(sums{name}[n]);"
    )
    return f"sums{name}[n] += total[u];"


def _array(kind: str, name: str, values: Sequence[object]) -> str:
    return f"static const {kind} {name}[] = {{{', '.join(map(str, values))}}};"
