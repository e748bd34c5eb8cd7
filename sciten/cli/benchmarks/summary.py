"""From seconds to what is reported: medians with their spread, ratios, agreement, targets."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sciten.cli.benchmarks.processes import WorkerError

#: Largest relative difference between programs that compute the same in float32.
TOLERANCE = 1e-4
#: Seconds of a product's first call that we mean to stay below, planning and compiling included.
FIRST_CALL_TARGET = 10.0


def spread(seconds: Sequence[float], atoms: float) -> dict[str, float]:
    """Median, quartiles and extremes of some timings, in µs per atom (or per whatever else is counted)."""
    values = [1e6 * value / atoms for value in seconds]
    quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    found = {
        "min": min(values),
        "lower_quartile": quartiles[0],
        "median": quartiles[1],
        "upper_quartile": quartiles[2],
        "max": max(values),
    }
    return {name: round(value, 2) for name, value in found.items()}


def ratios(
    programs: Mapping[str, Mapping[str, Any]], ours: str, quantity: str = "us_per_atom"
) -> dict[str, float]:
    """How many times as long as that of `ours` the median of each other program is."""
    unit = programs[ours][quantity]["median"]
    return {
        name: round(program[quantity]["median"] / unit, 2)
        for name, program in programs.items()
        if name != ours and quantity in program
    }


def compare(peer: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, float]:
    """For each quantity, the largest difference from `theirs` relative to their largest value.

    Raises:
        WorkerError: one is above `TOLERANCE`, or no number; the message names `peer`.
    """
    found = {}
    for name, value in theirs.items():
        reference = np.asarray(value, dtype=np.float64)
        error = np.abs(np.asarray(ours[name], dtype=np.float64) - reference).max()
        found[name] = float(error / np.abs(reference).max())
    if not all(value <= TOLERANCE for value in found.values()):
        said = ", ".join(f"{name} by {value:.1e}" for name, value in found.items())
        raise WorkerError(
            f"{peer} and sciten differ: {said} of the largest value, where {TOLERANCE:.0e} is allowed"
        )
    return found


def first_call(program: Mapping[str, Any]) -> dict[str, Any]:
    """The target for a program's first call with an empty cache of kernels."""
    return target("first call, s", program["first_s"], FIRST_CALL_TARGET, at_most=True)


def target(what: str, found: float, goal: float, *, at_most: bool = False) -> dict[str, Any]:
    """A line of the report: what was found beside what was meant to be."""
    met = found <= goal if at_most else found >= goal
    return {"what": what, "found": round(found, 2), "goal": goal, "at_most": at_most, "met": bool(met)}


def at_most(what: str, found: float, goal: float) -> dict[str, Any]:
    """As `target`, for numbers that are too small to be rounded."""
    return {"what": what, "found": found, "goal": goal, "at_most": True, "met": bool(found <= goal)}
