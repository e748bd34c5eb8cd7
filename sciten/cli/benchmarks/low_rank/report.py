"""Results of the low-rank benchmarks as plain text."""

from collections.abc import Mapping
from typing import Any


def table(document: Mapping[str, Any]) -> str:
    """One block for each case: medians with their extremes, facts, ratios and targets."""
    return "\n\n".join(_case(case) for case in document["cases"])


def _case(case: Mapping[str, Any]) -> str:
    lines = [case["title"]]
    for name, program in case["programs"].items():
        if "absent" in program:
            lines.append(f"  {name}: {program['absent']}")
            continue
        ms = program["ms"]
        facts = [
            f"{fact.replace('_', ' ')} {_number(program[fact])}"
            for fact in ("tolerance", "true_residual", "residual", "error", "largest_rank")
            if fact in program
        ]
        lines.append(
            f"  {name}: {ms['median']:.1f} ms ({ms['min']:.1f} – {ms['max']:.1f}); {', '.join(facts)}"
        )
    for name, ratio in case.get("ratios", {}).items():
        lines.append(f"  {name} / sciten: {ratio}")
    for line in case.get("targets", []):
        sign = "≤" if line["at_most"] else "≥"
        verdict = "met" if line["met"] else "MISSED"
        lines.append(f"  {line['what']}: {_number(line['found'])}, {sign} {line['goal']:g} {verdict}")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
