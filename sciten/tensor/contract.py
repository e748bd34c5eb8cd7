"""Contraction of tensors by expressions such as "ij,jk->ik".

The grammar, in which spaces mean nothing:

    expression = inputs [ "->" output ]
    inputs     = term { "," term }          one for each operand
    term       = { index | "..." }          at most one "..."
    output     = { index | "..." }          at most one "..."
    index      = a letter; capital and small ones differ

What it means (Wenig, Rump, Blacher and Giesen, On the syntax and semantics of einsum, 2025): an entry of the result is
the sum, over all values of the indices that the output does not name, of the products of the operands' entries. An
index that a term repeats runs along a diagonal. One that the output repeats makes a diagonal: "i->ii" is the matrix
with the vector on it, zero elsewhere, since there the sum has nothing to run over. "..." stands for the axes of an
operand that are not named, the same axes in all operands counted from the last; like indices they are summed over
unless the output has them. Without "->" the output is "..." if it occurs, and then the indices that occur once,
capitals first, in the order of the alphabet.

Nothing is stretched: an index has one length wherever it occurs, also if that is one.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod

import opt_einsum
import torch
from torch import Tensor

from sciten.errors import ConfigError

_ELLIPSIS = "..."
Term = tuple[str, ...]
Shape = tuple[int, ...]


def contract(expression: str, *operands: Tensor) -> Tensor:
    """The contraction of `operands` by an expression; see the module for what expressions mean.

    Real and complex, differentiable to any order. The order in which more than two operands are contracted is chosen by
    opt_einsum for the fewest operations, and kept for later calls with the same shapes. Operands of several dtypes are
    promoted to one.

    Raises:
        ConfigError: the expression is none, or does not fit the operands; the message points at the place.
    """
    for position, operand in enumerate(operands):
        if not isinstance(operand, Tensor):
            raise ConfigError(
                f"contract: expected operand {position} to be a tensor, got a {type(operand).__name__}"
            )
    return plan(expression, *(tuple(operand.shape) for operand in operands)).run(operands)


@dataclass(frozen=True)
class Step:
    """One contraction of a plan: the results so far at `positions` are replaced by one, put last.

    `expression` is for `torch.einsum`, `operations` counts multiplications and additions, `entries` those of the
    result.
    """

    positions: tuple[int, ...]
    expression: str
    operations: int
    entries: int


@dataclass(frozen=True)
class Plan:
    """How an expression is evaluated for operands of certain shapes.

    Attributes:
        expression: the text.
        shapes: of the operands.
        steps: contractions of one or two operands each.
        diagonal: for each axis of the output, which axis of the last step's result it runs along; None if they are the
            same.
        output_shape: of the result.
    """

    expression: str
    shapes: tuple[Shape, ...]
    steps: tuple[Step, ...]
    diagonal: tuple[int, ...] | None
    output_shape: Shape

    def run(self, operands: Sequence[Tensor]) -> Tensor:
        """The result for operands of these shapes."""
        left = list(_alike(self.expression, operands))
        for step in self.steps:
            chosen = [left[position] for position in step.positions]
            left = [t for position, t in enumerate(left) if position not in step.positions]
            left.append(torch.einsum(step.expression, *chosen))
        (result,) = left
        return result if self.diagonal is None else _on_diagonals(result, self.diagonal)

    @cached_property
    def operations(self) -> int:
        """Multiplications and additions (of complex numbers, if the operands are complex)."""
        return sum(step.operations for step in self.steps)

    @cached_property
    def largest(self) -> int:
        """Entries of the largest tensor that is made."""
        return max([prod(self.output_shape), *(step.entries for step in self.steps)])


@lru_cache(maxsize=4096)
def plan(expression: str, *shapes: Shape) -> Plan:
    """The plan of an expression for operands of these shapes; `contract` uses the same.

    Raises:
        ConfigError: the expression is none, or does not fit the shapes.
    """
    parsed = parse(expression)
    inputs, output, lengths = _resolved(parsed, shapes)
    distinct = tuple(dict.fromkeys(output))
    steps = _steps(inputs, distinct, lengths)
    diagonal = None if distinct == output else tuple(distinct.index(index) for index in output)
    return Plan(expression, shapes, steps, diagonal, tuple(lengths[index] for index in output))


@dataclass(frozen=True)
class Expression:
    """An expression, taken apart.

    Attributes:
        text: as it was given.
        inputs: for each operand its indices, "..." among them.
        output: the indices of the result.
        places: for each operand, where in the text its indices stand.
        output_places: the same for the output; empty if the text leaves it out.
    """

    text: str
    inputs: tuple[Term, ...]
    output: Term
    places: tuple[tuple[int, ...], ...]
    output_places: tuple[int, ...]


@lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """Take an expression apart; raises `ConfigError` where the grammar does not hold, pointing at the place."""
    if not isinstance(text, str):
        raise ConfigError(
            f"contract: expected an expression such as 'ij,jk->ik', got a {type(text).__name__}"
        )
    arrow = text.find("->")
    end = len(text) if arrow < 0 else arrow
    inputs, places = [], []
    start = 0
    for piece in text[:end].split(","):
        term, where = _term(text, start, start + len(piece))
        inputs.append(term)
        places.append(where)
        start += len(piece) + 1
    if arrow < 0:
        return Expression(text, tuple(inputs), _implicit(inputs), tuple(places), ())
    output, output_places = _term(text, arrow + 2, len(text))
    known = {index for term in inputs for index in term}
    for index, place in zip(output, output_places, strict=True):
        if index not in known:
            raise _error(f"index {index!r} of the output is in no operand", text, [place])
    return Expression(text, tuple(inputs), output, tuple(places), output_places)


def _term(text: str, start: int, end: int) -> tuple[Term, tuple[int, ...]]:
    term: list[str] = []
    places: list[int] = []
    position = start
    while position < end:
        if text[position].isspace():
            position += 1
            continue
        symbol = _ELLIPSIS if text.startswith(_ELLIPSIS, position, end) else text[position]
        if symbol != _ELLIPSIS and not symbol.isalpha():
            raise _error(f"expected a letter, '...', ',' or one '->', got {symbol!r}", text, [position])
        if symbol == _ELLIPSIS and _ELLIPSIS in term:
            raise _error(
                "expected '...' at most once in a term", text, [places[term.index(_ELLIPSIS)], position]
            )
        term.append(symbol)
        places.append(position)
        position += len(symbol)
    return tuple(term), tuple(places)


def _implicit(inputs: Sequence[Term]) -> Term:
    counts = Counter(index for term in inputs for index in term)
    once = sorted(index for index, count in counts.items() if count == 1 and index != _ELLIPSIS)
    return (*([_ELLIPSIS] if _ELLIPSIS in counts else []), *once)


def _resolved(parsed: Expression, shapes: Sequence[Shape]) -> tuple[tuple[Term, ...], Term, dict[str, int]]:
    """Terms with axes in the place of "...", numbered from the last, and the length of every index."""
    if len(shapes) != len(parsed.inputs):
        raise _error(f"expected {len(parsed.inputs)} operands, got {len(shapes)}", parsed.text, [])
    inputs = []
    lengths: dict[str, int] = {}
    seen: dict[str, tuple[int, int]] = {}
    for operand, (term, places, shape) in enumerate(zip(parsed.inputs, parsed.places, shapes, strict=True)):
        unnamed = len(shape) - sum(index != _ELLIPSIS for index in term)
        if unnamed < 0 or (unnamed and _ELLIPSIS not in term):
            what = f"operand {operand} has {len(shape)} axes, shape {list(shape)}, but {_count(term)}"
            raise _error(what, parsed.text, places)
        axes = _without_ellipsis(term, places, unnamed)
        inputs.append(tuple(index for index, _ in axes))
        for (index, place), length in zip(axes, shape, strict=True):
            if lengths.setdefault(index, length) != length:
                first, at = seen[index]
                what = "an axis of '...'" if len(index) > 1 else f"index {index!r}"
                raise _error(
                    f"{what} has length {lengths[index]} in operand {first} and {length} in operand {operand}",
                    parsed.text,
                    [at, place],
                )
            seen.setdefault(index, (operand, place))
    unnamed = sum(len(index) > 1 for index in lengths)
    output_places = parsed.output_places or (0,) * len(parsed.output)
    output = tuple(index for index, _ in _without_ellipsis(parsed.output, output_places, unnamed))
    return tuple(inputs), output, lengths


def _without_ellipsis(term: Term, places: Sequence[int], unnamed: int) -> list[tuple[str, int]]:
    axes: list[tuple[str, int]] = []
    for index, place in zip(term, places, strict=True):
        if index == _ELLIPSIS:
            axes += [(f"{_ELLIPSIS}{n}", place) for n in range(unnamed, 0, -1)]
        else:
            axes.append((index, place))
    return axes


def _count(term: Term) -> str:
    named = sum(index != _ELLIPSIS for index in term)
    return f"the expression names {'at least ' if _ELLIPSIS in term else ''}{named}"


def _steps(inputs: tuple[Term, ...], output: Term, lengths: dict[str, int]) -> tuple[Step, ...]:
    path = _path(inputs, output, lengths)
    left = list(inputs)
    steps = []
    for number, positions in enumerate(path):
        chosen = [left[position] for position in positions]
        left = [term for position, term in enumerate(left) if position not in positions]
        last = number == len(path) - 1
        needed = {index for term in (*left, output) for index in term}
        result = output if last else tuple(i for i in dict.fromkeys(sum(chosen, ())) if i in needed)
        steps.append(_step(tuple(positions), chosen, result, lengths))
        left.append(result)
    return tuple(steps)


def _path(inputs: tuple[Term, ...], output: Term, lengths: dict[str, int]) -> list[tuple[int, ...]]:
    if len(inputs) < 3:
        return [tuple(range(len(inputs)))]
    letters = {index: opt_einsum.get_symbol(n) for n, index in enumerate(lengths)}
    terms = ["".join(letters[index] for index in term) for term in (*inputs, output)]
    shapes = [tuple(lengths[index] for index in term) for term in inputs]
    path, _ = opt_einsum.contract_path(
        f"{','.join(terms[:-1])}->{terms[-1]}", *shapes, shapes=True, optimize="auto"
    )
    return [tuple(positions) for positions in path]


def _step(positions: tuple[int, ...], chosen: Sequence[Term], result: Term, lengths: dict[str, int]) -> Step:
    indices = list(dict.fromkeys(sum(chosen, ())))
    letters = {index: opt_einsum.get_symbol(n) for n, index in enumerate(indices)}
    terms = ["".join(letters[index] for index in term) for term in (*chosen, result)]
    size = prod(lengths[index] for index in indices)
    summed = len(indices) > len(set(result))
    operations = size * (len(chosen) - 1 + summed)
    entries = prod(lengths[index] for index in result)
    return Step(positions, f"{','.join(terms[:-1])}->{terms[-1]}", operations, entries)


def _alike(expression: str, operands: Sequence[Tensor]) -> Sequence[Tensor]:
    devices = {str(operand.device) for operand in operands}
    if len(devices) > 1:
        raise ConfigError(
            f"contract: {expression!r}: expected operands on one device, got {', '.join(sorted(devices))}"
        )
    dtypes = {operand.dtype for operand in operands}
    if len(dtypes) == 1:
        return operands
    common = operands[0].dtype
    for operand in operands[1:]:
        common = torch.promote_types(common, operand.dtype)
    return [operand.to(common) for operand in operands]


def _on_diagonals(tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
    """`[...]` to a tensor with an axis for each of `axes`, zero off the diagonals of those that are equal."""
    shape = [tensor.shape[axis] for axis in axes]
    grid = [
        torch.arange(n, device=tensor.device).view(
            [-1 if other == axis else 1 for other in range(tensor.ndim)]
        )
        for axis, n in enumerate(tensor.shape)
    ]
    return tensor.new_zeros(shape).index_put([grid[axis] for axis in axes], tensor)


def _error(message: str, text: str, places: Sequence[int]) -> ConfigError:
    lines = [f"contract: {message}", f"    {text}"]
    if places:
        marks = ["^" if position in places else " " for position in range(max(places) + 1)]
        lines.append(f"    {''.join(marks)}")
    return ConfigError("\n".join(lines))
