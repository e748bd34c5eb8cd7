"""Results as tables, for the terminal and, in Markdown, for the README."""

from collections.abc import Mapping, Sequence
from typing import Any

_TASKS = {"train": "training step", "evaluate": "energy + forces"}


def table(document: Mapping[str, Any]) -> str:
    """Plain text: medians with their extremes, ratios and whether targets are met."""
    programs = _programs(document)
    header = ["", "L", *[f"{name} (min – max)" for name in programs]]
    header += [f"{name} / {programs[0]}" for name in programs[1:]]
    header += ["first result", "peak memory", "targets"]
    rows = [header, *(_row(case, programs) for case in document["cases"])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    settings = document["settings"]
    notes = [
        f"µs per atom, medians of {settings['rounds']} rounds on {settings['threads']} threads; first result "
        f"(from the model file, compiling included) and peak memory (MB) of {' / '.join(programs)}"
    ]
    notes += [f"{name}: {source}" for name, source in document["systems"].items()]
    absent = {
        f"{name}, {case['system']}, L = {case['hidden_lmax']}: {program['absent']}"
        for case in document["cases"]
        for name, program in case["programs"].items()
        if "absent" in program
    }
    return "\n".join([*lines, "", *notes, *sorted(absent)])


def markdown(document: Mapping[str, Any]) -> str:
    """A Markdown table of medians with their extremes, ratios, first results and peak memory, with a caption."""
    programs = _programs(document)
    header = ["", "L", *[f"{name}, µs/atom" for name in programs]]
    header += [f"{name} / {programs[0]}" for name in programs[1:]]
    header += ["first result", "peak memory, MB"]
    lines = [header, ["---", *["---:"] * (len(header) - 1)]]
    for case in document["cases"]:
        lines.append(
            [
                f"{case['system']} ({case['atoms']} atoms), {_TASKS[case['task']]}",
                str(case["hidden_lmax"]),
                *[_spread(case["programs"].get(name), digits=0) for name in programs],
                *_tail(case, programs),
            ]
        )
    settings = document["settings"]
    versions = {**document["versions"].get("peers", {}), **document["versions"]}
    caption = [
        f"{document['machine']['processor']}, {settings['threads']} threads, {settings['dtype']}, "
        f"{settings['channels']} channels, medians of {settings['rounds']} rounds (least – most), "
        f"{document['measured']}",
        f"load average at the start {document['machine'].get('load_at_start', 'unknown')}",
        "first result: from the model file, compiling included",
        *([f"the last two columns: {' / '.join(programs)}"] if len(programs) > 1 else []),
        ", ".join(f"{name} {versions[name]}" for name in [*programs, "torch"] if name in versions),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n\n" + "; ".join(caption) + ".\n"


def _programs(document: Mapping[str, Any]) -> list[str]:
    """Names of all programs, ours first."""
    return list(dict.fromkeys(name for case in document["cases"] for name in case["programs"]))


def _row(case: Mapping[str, Any], programs: Sequence[str]) -> list[str]:
    return [
        f"{case['system']}, {_TASKS[case['task']]}",
        str(case["hidden_lmax"]),
        *[_spread(case["programs"].get(name)) for name in programs],
        *_tail(case, programs),
        ", ".join(f"{line['what']}: {_verdict(line)}" for line in case["targets"]),
    ]


def _tail(case: Mapping[str, Any], programs: Sequence[str]) -> list[str]:
    """Ratios, first results and memory."""
    memory = [case["programs"].get(name, {}).get("peak_mb") for name in programs]
    return [
        *[f"{case['ratios'][name]:.1f}" if name in case["ratios"] else "–" for name in programs[1:]],
        " / ".join(_first_result(case["programs"].get(name)) for name in programs),
        " / ".join("–" if value is None else f"{value:.0f}" for value in memory),
    ]


def _spread(program: Mapping[str, Any] | None, *, digits: int = 1) -> str:
    if not program or "us_per_atom" not in program:
        return "–"
    found = program["us_per_atom"]
    median, least, most = (f"{found[key]:.{digits}f}" for key in ("median", "min", "max"))
    return f"{median} ({least} – {most})"


def _first_result(program: Mapping[str, Any] | None) -> str:
    if not program or "first_call_s" not in program:
        return "–"
    return f"{program['load_s'] + program['first_call_s']:.1f} s"


def _verdict(line: Mapping[str, Any]) -> str:
    sign = "≤" if line["at_most"] else "≥"
    return f"{sign} {line['goal']:g} {'met' if line['met'] else 'MISSED'}"
