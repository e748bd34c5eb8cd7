"""Results as text for the terminal and, in Markdown, for the README."""

from collections.abc import Mapping, Sequence
from typing import Any

from sciten.cli.benchmarks.tensor_products.degrees import COMPARED, E3NN_MODES, OURS, QUANTITY
from sciten.cli.benchmarks.tensor_products.settings import PASSES

_UNITS = {QUANTITY: "ns", "us_per_edge": "µs/edge", "us_per_atom": "µs/atom"}
_Document = Mapping[str, Any]


def table(document: _Document) -> str:
    """Plain text: medians by L, the other cases, what was left out, and whether targets are met."""
    lines: list[str] = []
    for name, words in PASSES.items():
        rows = _degree_rows(document, name)
        if rows:
            lines += [f"{words}, ns per sample and channel", *_aligned(rows), ""]
    for case in document["cases"]:
        if case["part"] != "degrees":
            lines.append(f"{case['title']}: {_programs(case)}")
    lines += ["", *_targets(document), *_crossings(document), *_absent(document)]
    return "\n".join(lines).strip()


def markdown(document: _Document) -> str:
    """Tables by L and of the other cases, with a caption and what they say together."""
    blocks = []
    for name, words in PASSES.items():
        rows = _degree_rows(document, name)
        if rows:
            head, *body = [f"| {' | '.join(row)} |" for row in rows]
            blocks.append("\n".join([f"{words}:\n", head, "|" + "---:|" * len(rows[0]), *body]))
    others = [case for case in document["cases"] if case["part"] != "degrees"]
    if others:
        lines = ["| | median (least – most) | peer / ours |", "|---|---|---|"]
        lines += [f"| {case['title']} | {_times(case)} | {_ratios(case)} |" for case in others]
        blocks.append("\n".join(lines))
    sentences = [*_crossings(document), *_absent(document)]
    if document.get("growth"):
        sentences.append(f"{document['growth']['what']}: {document['growth']['found']}")
    if sentences:
        blocks.append("\n".join(f"- {sentence}" for sentence in sentences))
    return "\n\n".join([*blocks, _caption(document)])


def _degree_rows(document: _Document, name: str) -> list[list[str]]:
    """A header and a row for each L."""
    cases = [case for case in document["cases"] if case["part"] == "degrees" and case["pass"] == name]
    if not cases:
        return []
    programs = list(dict.fromkeys(program for case in cases for program in case["programs"]))
    programs.sort(key=lambda program: (program != OURS, program not in E3NN_MODES.values()))
    rows = [["L", *programs, f"fastest e3nn / {OURS}"]]
    for case in cases:
        best = case["fastest_e3nn"]
        medians = [_median(case["programs"].get(program)) for program in programs]
        rows.append([str(case["L"]), *medians, f"{case['ratios'][best]:.1f}" if best else "–"])
    return rows


def _median(program: Mapping[str, Any] | None) -> str:
    return f"{program[QUANTITY]['median']:.0f}" if program else "–"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.rjust, row, widths)) for row in rows]


def _programs(case: Mapping[str, Any]) -> str:
    ratios = _ratios(case)
    return _times(case) + (f"; {ratios}" if ratios else "")


def _times(case: Mapping[str, Any]) -> str:
    found = []
    for name, program in case["programs"].items():
        quantity = next(key for key in _UNITS if key in program)
        spread = program[quantity]
        low, median, high = (f"{spread[key]:.3g}" for key in ("min", "median", "max"))
        found.append(f"{name} {median} ({low} – {high}) {_UNITS[quantity]}")
    return ", ".join(found)


def _ratios(case: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {ratio:.2f}" for name, ratio in case["ratios"].items())


def _targets(document: _Document) -> list[str]:
    lines = [(case["title"], line) for case in document["cases"] for line in case["targets"]]
    if document.get("growth"):
        lines.append(("all L", document["growth"]))
    return [
        f"{title}: {line['what']} {line['found']:g}, {'≤' if line['at_most'] else '≥'} {line['goal']:g} "
        + ("met" if line["met"] else "MISSED")
        for title, line in lines
    ]


def _crossings(document: _Document) -> list[str]:
    found = []
    for crossing in document.get("crossovers", []):
        start = crossing["from"]
        place = f"from L = {start} on" if start is not None else f"none up to L = {crossing['up_to']}"
        words = (
            f"{crossing['product']}, {PASSES[crossing['pass']]}: faster than {crossing['against']}: {place}"
        )
        found.append(words)
    return [*found, COMPARED] if found else []


def _absent(document: _Document) -> list[str]:
    """What was not measured, and why."""
    found = [f"{part} skipped: {why}" for part, why in document["skipped"].items()]
    notes: dict[str, list[str]] = {}
    for case in document["cases"]:
        for program, why in case["left_out"].items():
            notes.setdefault(f"{program}: {why}", []).append(case["title"])
    return [*found, *(f"{' and '.join(titles)}: {note}" for note, titles in notes.items())]


def _caption(document: _Document) -> str:
    settings, machine = document["settings"], document["machine"]
    versions = {
        **{k: v for k, v in document["versions"].items() if k != "peers"},
        **document["versions"]["peers"],
    }
    caption = [
        f"{machine['processor']}, {settings['threads']} threads, {settings['dtype']}, {settings['samples']} samples x "
        f"{settings['channels']} channels by L, medians of up to {settings['rounds']} rounds, {document['measured']}",
        f"load average at the start {machine.get('load_at_start', 'unknown')}",
        ", ".join(f"{name} {version}" for name, version in versions.items()),
    ]
    return "; ".join(caption) + "."
