"""What a check says, and the table of all of them."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from sciten.files import write_text


class Status(StrEnum):
    """The verdict of a check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"
    ERROR = "error"


@dataclass(frozen=True)
class CheckResult:
    """The verdict of one check.

    Attributes:
        name: what was checked.
        status: passed where `value <= tolerance`; error where the calculator raised.
        value: the largest deviation found, in `unit`; None where nothing was measured.
        tolerance: the largest deviation that passes.
        unit: of value and tolerance.
        explanation: how it was measured, and where the largest deviation is.
    """

    name: str
    status: Status
    value: float | None
    tolerance: float | None
    unit: str
    explanation: str


@dataclass(frozen=True)
class Verification:
    """The verdicts of all checks on one model.

    Attributes:
        subject: the model, in words.
        structures: what it was tested on, in words.
        results: one per check.
        seconds: wall-clock time.
        tested_on: what `structures` are called in the table.
    """

    subject: str
    structures: tuple[str, ...]
    results: tuple[CheckResult, ...]
    seconds: float
    tested_on: str = "structures"

    @property
    def passed(self) -> bool:
        """Whether no check failed or ended in an error."""
        return not self.failures

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """The checks that failed or ended in an error."""
        return tuple(result for result in self.results if result.status in (Status.FAILED, Status.ERROR))

    def __getitem__(self, name: str) -> CheckResult:
        """The result of the check of that name; raises `KeyError` where there is none."""
        return {result.name: result for result in self.results}[name]

    def __str__(self) -> str:
        rows = [("check", "verdict", "deviation", "tolerance", "unit")]
        rows += [
            (entry.name, str(entry.status), _number(entry.value), _number(entry.tolerance), entry.unit)
            for entry in self.results
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        remarks = [
            f"{entry.name}: {entry.explanation}"
            for entry in self.results
            if entry.status is not Status.PASSED
        ]
        verdict = (
            "every check passed"
            if self.passed
            else f"{len(self.failures)} of {len(self.results)} checks failed"
        )
        heading = [f"{self.subject}", f"{self.tested_on}: {', '.join(self.structures)}", ""]
        return "\n".join([*heading, *lines, "", *remarks, f"{verdict} ({self.seconds:.1f} s)"])

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values; a deviation that is no number becomes None."""
        results = [asdict(result) for result in self.results]
        for entry in results:
            finite = entry["value"] is not None and math.isfinite(entry["value"])
            entry["value"] = entry["value"] if finite else None
        return {
            "subject": self.subject,
            self.tested_on: list(self.structures),
            "passed": self.passed,
            "seconds": self.seconds,
            "results": results,
        }

    def write_json(self, path: str | os.PathLike[str]) -> None:
        """Write `to_json` to a file, atomically."""
        write_text(path, json.dumps(self.to_json(), indent=2) + "\n")


@dataclass(frozen=True)
class Deviation:
    """One measured deviation and where it was found."""

    size: float
    where: str


def worst(deviations: Sequence[Deviation]) -> Deviation:
    """The largest deviation; one that is no number counts as larger than all others."""
    if not deviations:
        return Deviation(0.0, "nowhere")
    return deviations[int(np.argmax([deviation.size for deviation in deviations]))]


def judged(name: str, value: float, tolerance: float, unit: str, explanation: str) -> CheckResult:
    """Passed where the value is at most the tolerance; a value that is no number fails."""
    status = Status.PASSED if value <= tolerance else Status.FAILED
    return CheckResult(name, status, float(value), float(tolerance), unit, explanation)


def not_applicable(name: str, reason: str) -> CheckResult:
    """A check that has no meaning here."""
    return CheckResult(name, Status.NOT_APPLICABLE, None, None, "", reason)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"
