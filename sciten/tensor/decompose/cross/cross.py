"""Tensor trains of functions of an index, and of functions of other tensors, entry by entry.

A train is called right only where places that had no part in making it say so. A small change from one sweep to the
next is no such sign: where all crosses lie on one side of a kink, sweeps settle on something that is wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from numbers import Integral
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.decompose.cross.entries import (
    Entries,
    Function,
    Method,
    OutOfEvaluationsError,
    Problem,
    Steps,
    random_places,
)
from sciten.tensor.decompose.cross.maxvol import Maxvol
from sciten.tensor.decompose.cross.verify import EXHAUSTIVE, SAMPLES, climb, every_place, marked, verify
from sciten.tensor.formats import CP, TensorTrain, TreeTensor, Tucker

#: What may be neglected locally, in units of what may be wrong in the end; less where that does not suffice.
_CUT = 0.1
#: Sweeps without growing ranks or a smaller error after which there is no hope.
_PATIENCE = 8
#: Places where a method starts, and those of failures that are tested again in every sweep.
_STARTS = 4
_KNOWN = 256


@dataclass(frozen=True, eq=False)
class CrossResult:
    """What cross approximation found.

    Args:
        tensor: the train; the best one where none was good enough.
        converged: whether its error is within the tolerance everywhere it was looked for; a peak beside which nobody
            looked is not seen.
        error: the largest found at the places that were looked at (all of them where they are few), relative to the
            largest value of the function that was seen: 0.0 says that these agree to the last digit, not that all
            entries do. Infinite where no train was made, NaN where all values seen were zero.
        evaluations: how many values of the function were taken, those of the verification included.
        sweeps: of the method.
        message: why it did not converge and what to try; empty where it did.
    """

    tensor: TensorTrain
    converged: bool
    error: float
    evaluations: int
    sweeps: int
    message: str


def tt_cross(
    function: Function,
    shape: Sequence[int],
    tolerance: float = 1e-10,
    *,
    method: Method | None = None,
    max_rank: int = 256,
    max_evaluations: int = 10**7,
    generator: torch.Generator | None = None,
    start: Tensor | None = None,
) -> CrossResult:
    """The tensor train of a function of the index, from some of its values.

    The error is the largest one of an entry, relative to the largest entry: small entries beside large ones are as
    wrong in absolute terms. It is measured after every sweep at random places, at those that failed before, along
    walks from the worst of them to larger errors, and around the largest values; what fails is taken as new pivots. No
    sample can see a peak that is nowhere near: of a function that nearly vanishes elsewhere, give places as `start`.

    With modes of length n and ranks r, a sweep takes of the order of d n r² values and d n r³ operations. A train that
    seems right is looked at once more: at 16,384 random places and at up to 83,000 for each pair of neighbouring modes,
    fewer where n r is small, and more, up to twice the values taken so far, where making the train was that expensive.

    Args:
        function: from int64 indices `[n, d]` to values `[n]`, real or complex; it is called in few large batches. Of
            integers and truth values float64 is made.
        shape: lengths of the modes. With `[2] * 30` this is the quantised train (QTT) of a vector of 2^30 entries, the
            first bit of whose index is the most significant one.
        tolerance: relative to the largest entry.
        method: how crosses are chosen, `Maxvol()` by default or `Greedy()`.
        max_rank: largest rank.
        max_evaluations: values of the function that may be taken.
        generator: of random numbers; the train is made on its device. By default one with a fixed seed, on the CPU.
        start: indices `[m, d]` of places that matter.

    Raises:
        ConfigError: an argument is out of range, or the function returns something else than finite values `[n]`; the
            message names the index.
    """
    _require("tt_cross", shape, tolerance, max_rank, max_evaluations)
    return _approximate(
        "tt_cross", function, shape, tolerance, method, max_rank, max_evaluations, generator, start
    )


def apply(
    function: Callable[..., Tensor],
    tensors: Sequence[CP | Tucker | TensorTrain | TreeTensor],
    tolerance: float = 1e-10,
    *,
    method: Method | None = None,
    max_rank: int = 256,
    max_evaluations: int = 10**7,
    generator: torch.Generator | None = None,
    start: Tensor | None = None,
) -> CrossResult:
    """A function of tensors in any formats, entry by entry, as a tensor train: `apply(torch.sqrt, [x])`.

    Args:
        function: from the values `[n]` of each tensor to values `[n]`.
        tensors: of equal modes, none of them an operator or batched.
        tolerance, method, max_rank, max_evaluations, generator, start: as for `tt_cross`; the generator is on the
            device of the tensors.

    Raises:
        ConfigError: tensors do not fit each other, or as for `tt_cross`.
    """
    if not tensors:
        raise ConfigError("apply: expected at least one tensor, got none")
    for x in tensors:
        if x.operator or x.batch_shape or x.modes != tensors[0].modes:
            raise ConfigError(
                f"apply: expected vectors without a batch, of equal modes, got {tensors[0]!r} and {x!r}"
            )
    _require("apply", tensors[0].shape, tolerance, max_rank, max_evaluations)
    if generator is None:
        generator = torch.Generator(tensors[0].device).manual_seed(0)

    def values(indices: Tensor) -> Tensor:
        return function(*(x.at(indices) for x in tensors))

    return _approximate(
        "apply", values, tensors[0].shape, tolerance, method, max_rank, max_evaluations, generator, start
    )


def _approximate(
    name: str,
    function: Function,
    shape: Sequence[int],
    tolerance: float,
    method: Method | None,
    max_rank: int,
    max_evaluations: int,
    generator: torch.Generator | None,
    start: Tensor | None,
) -> CrossResult:
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    entries = Entries(name, function, shape, max_evaluations, generator.device)
    with torch.no_grad():
        return _Search(entries, tolerance, method or Maxvol(), max_rank, generator).run(start)


class _Best(NamedTuple):
    tensor: TensorTrain
    error: float


class _Search:
    """Sweeps and verifications in turn."""

    def __init__(
        self, entries: Entries, tolerance: float, method: Method, max_rank: int, generator: torch.Generator
    ) -> None:
        self.entries, self.tolerance, self.method, self.generator = entries, tolerance, method, generator
        self.problem = Problem(entries, max_rank, generator)
        self.best = _Best(TensorTrain.zeros(entries.shape, device=generator.device), torch.inf)
        self.steps: Steps | None = None
        self.known = torch.zeros(0, len(entries.shape), dtype=torch.int64, device=generator.device)

    def run(self, start: Tensor | None) -> CrossResult:
        try:
            places = _start(self.entries, start, self.generator)
            if self.entries.largest == 0:
                return self._zero()
            self.steps = self.method.begin(self.problem, places)
            self.known = places
            reason = self._sweep(self.steps)
        except OutOfEvaluationsError:
            purpose = "to verify this" if self.best.error <= self.tolerance else "for less"
            reason = (
                f"{self.entries.most} evaluations were not enough {purpose}; allow more (max_evaluations), "
                "or a larger tolerance"
            )
        return self._result(reason)

    def _sweep(self, steps: Steps) -> str:
        """Until it converges, or there is a reason to stop."""
        failing, cut, idle = self.known[:0], _CUT * self.tolerance, 0
        ranks: tuple[int, ...] = (0,)
        while steps.sweeps < self.method.max_sweeps:
            train = steps.improve(failing, cut * self.entries.largest)
            error, failing = self._checked(train, steps)
            if error <= self.tolerance:
                return ""
            idle = 0 if max(train.ranks) > max(ranks) or error < 0.5 * self.best.error else idle + 1
            if train.ranks == ranks:
                cut = max(0.1 * cut, torch.finfo(train.dtype).eps)
            ranks = train.ranks
            if error < self.best.error:
                self.best = _Best(train, error)
            if idle >= _PATIENCE:
                return self._stuck(ranks)
        return f"{steps.sweeps} sweeps were not enough; allow more (max_sweeps of the method)"

    def _checked(self, train: TensorTrain, steps: Steps) -> tuple[float, Tensor]:
        """The error, and places that fail. A train passes only if it does so twice, the second time on more samples."""
        check = verify(self.entries, train, self.tolerance, self.known, self.generator)
        error = check.error
        if error <= self.tolerance:
            self.best = _Best(train, error)  # if evaluations run out now, nothing better is known
            again = verify(self.entries, train, self.tolerance, self.known, self.generator, steps)
            error, check = max(error, again.error), again
            self.best = _Best(train, error)
        self.known = torch.unique(torch.cat([check.failing, self.known])[:_KNOWN], dim=0)
        return error, check.failing

    def _stuck(self, ranks: tuple[int, ...]) -> str:
        if max(ranks) >= self.problem.max_rank:
            return (
                f"the largest rank, {self.problem.max_rank}, is reached; allow a larger one (max_rank), order the "
                "modes so that those that depend on each other are neighbours, or allow a larger tolerance"
            )
        return (
            f"ranks {ranks} and errors have settled; the tolerance may be below the precision of the function, or what "
            "differs is seen too seldom: give places where it does as start, or allow a larger tolerance"
        )

    def _zero(self) -> CrossResult:
        entries = self.entries
        zero = self.best.tensor.to(dtype=entries.dtype)
        if prod(entries.shape) <= EXHAUSTIVE:
            return CrossResult(zero, True, 0.0, entries.count, 0, "")
        message = (
            f"{entries.name}: all of {entries.count} values were zero; if it is not zero everywhere, give places where "
            "it is not as start"
        )
        return CrossResult(zero, False, torch.nan, entries.count, 0, message)

    def _result(self, reason: str) -> CrossResult:
        train, error = self.best
        sweeps = 0 if self.steps is None else self.steps.sweeps
        message = (
            f"{self.entries.name}: the error is {error:.1e}, for a tolerance of {self.tolerance:.1e}: {reason}"
            if reason
            else ""
        )
        return CrossResult(train, not reason, error, self.entries.count, sweeps, message)


def _start(entries: Entries, start: Tensor | None, generator: torch.Generator) -> Tensor:
    """Places with large values, the largest first, `[m, d]`: given ones, corners, lines through them, random ones."""
    shape, device = entries.shape, generator.device
    given = None if start is None else _given(entries, start)
    if prod(shape) <= SAMPLES:
        places = every_place(shape, device)
    else:
        places = torch.cat([marked(shape, device), random_places(shape, SAMPLES // 2, generator)])
    if given is not None:
        places = torch.cat([given, places])
    sizes = entries(places).abs()
    if entries.largest == 0 and len(places) < prod(shape) <= EXHAUSTIVE:
        places = every_place(shape, device)
        sizes = entries(places).abs()
    best = places[sizes.topk(min(_STARTS, len(sizes))).indices]
    if entries.largest > 0 and prod(shape) > SAMPLES:
        best, at_best = climb(lambda p: entries(p).abs(), best, shape, 1)
        best = best[at_best.argsort(descending=True)]
    return best if given is None else torch.cat([best, given])


def _given(entries: Entries, start: Tensor) -> Tensor:
    d = len(entries.shape)
    if start.ndim != 2 or start.shape[1] != d or start.dtype != torch.int64:
        raise ConfigError(
            f"{entries.name}: expected start as int64 indices [m, {d}], got {start.dtype} {list(start.shape)}"
        )
    limits = torch.tensor(entries.shape, device=start.device)
    if bool(((start < 0) | (start >= limits)).any()):
        raise ConfigError(
            f"{entries.name}: expected start within the shape {entries.shape}, some of it lies outside"
        )
    return start.to(entries.device)


def _require(name: str, shape: Sequence[int], tolerance: float, max_rank: int, max_evaluations: int) -> None:
    if (
        not isinstance(shape, Sequence | np.ndarray)
        or not len(shape)
        or any(not isinstance(n, Integral) or n < 1 for n in shape)
    ):
        raise ConfigError(f"{name}: expected a shape of modes of at least one index, got {shape!r:.200}")
    if not 0 < tolerance < 1:
        raise ConfigError(f"{name}: expected a tolerance between 0 and 1, got {tolerance}")
    if max_rank < 1 or max_evaluations < 1:
        raise ConfigError(
            f"{name}: expected max_rank and max_evaluations of at least 1, got {max_rank} and {max_evaluations}"
        )
