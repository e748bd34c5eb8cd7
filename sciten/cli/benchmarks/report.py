"""Results of the benchmarks of several parts as plain text."""

from collections.abc import Mapping
from typing import Any


def table(document: Mapping[str, Any]) -> str:
    """One block for each case: medians with their extremes, facts, ratios and targets."""
    return "\n\n".join(_case(case) for case in document["cases"])


def markdown(document: Mapping[str, Any]) -> str:
    """A Markdown table with a line for each case, and a caption."""
    lines = ["| | sciten | reached | peers / sciten |", "|---|---:|---|---|"]
    lines += [_line(case) for case in document["cases"] if _ours(case)]
    settings, machine = document["settings"], document["machine"]
    caption = (
        f"{machine['processor']}, medians of up to {settings['rounds']} rounds, {document['measured']}; calls of "
        f"a peer that took longer than {settings['limit_s']:.0f} s were stopped; sciten "
        f"{document['versions']['sciten']}, torch {document['versions']['torch']}{_peer_version(document)}."
    )
    return "\n".join(lines) + f"\n\n{caption}"


def _line(case: Mapping[str, Any]) -> str:
    ours = min(_ours(case), key=lambda program: float(program["ms"]["median"]))
    facts = [
        f"{label} {_number(ours[fact])}"
        for fact, label in (("true_residual", "residual"), ("residual", "residual"), ("error", "error"))
        if fact in ours and not (fact == "error" and "errors" in case)
    ]
    facts += [_errors(case["errors"])] if "errors" in case else []
    rank = ours.get("largest_rank", case.get("largest_rank", max(case.get("ranks", [0]))))
    facts += [f"rank {rank}"] if rank else []
    facts += [f"{ours['parameters'] / 1e3:.0f}k parameters"] if "parameters" in ours else []
    facts += (
        [f"better than greedy for {case['exact_better']}, worse for none"] if "exact_better" in case else []
    )
    peers = [f"{name} {ratio:.1f}" for name, ratio in case.get("ratios", {}).items()]
    peers += [
        f"{name}, {_time(case['programs'][name])}: {_errors(found)}, "
        f"{case['programs'][name]['parameters'] / 1e3:.0f}k parameters"
        for name, found in case.get("peer_errors", {}).items()
    ]
    stopped = {name.rpartition(",")[0] for name, p in case["programs"].items() if "stopped_s" in p}
    peers += [f"{name} > {1e3 * _stopped(case) / ours['ms']['median']:.0f}" for name in sorted(stopped)]
    published = [f"published: {case['published']}"] if "published" in case and not case.get("ratios") else []
    return f"| {case['title']} | {_time(ours)} | {', '.join(facts)} | {', '.join(peers + published)} |"


def _ours(case: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Our programs that were measured."""
    return [p for name, p in case["programs"].items() if name.startswith("sciten") and "ms" in p]


def _errors(errors: Mapping[str, Any]) -> str:
    """Means by what they are of, with their spread over seeds and their interval over samples where there are any."""
    return "error " + ", ".join(f"{_error(found)} ({name})" for name, found in errors.items())


def _error(found: Mapping[str, Any]) -> str:
    text = f"{found['mean']:.3g}"
    text += f" ± {found['spread']:.1g}" if "spread" in found else ""
    return text + ("" if "interval" not in found else " [{:.3g} – {:.3g}]".format(*found["interval"]))


def _time(program: Mapping[str, Any]) -> str:
    median = program["ms"]["median"]
    return f"{median / 1e3:.1f} s" if median >= 1e3 else f"{median:.0f} ms"


def _stopped(case: Mapping[str, Any]) -> float:
    return float(min(p["stopped_s"] for p in case["programs"].values() if "stopped_s" in p))


def _peer_version(document: Mapping[str, Any]) -> str:
    for case in document["cases"]:
        for name, program in case["programs"].items():
            if "version" in program:
                peer = name.partition(",")[0]
                extension = " with its C++ extension" if peer == "torchTT" else ""
                return f", {peer} {program['version']}{extension}"
    return ""


def _case(case: Mapping[str, Any]) -> str:
    lines = [case["title"]]
    if "remark" in case:
        lines.append(f"  {case['remark']}")
    for name, program in case["programs"].items():
        if "absent" in program:
            lines.append(f"  {name}: {program['absent']}")
            continue
        ms = program["ms"]
        facts = [
            f"{fact.replace('_', ' ')} {_number(program[fact])}"
            for fact in ("tolerance", "true_residual", "residual", "error", "largest_rank", "parameters")
            if fact in program
        ]
        lines.append(
            f"  {name}: {ms['median']:.1f} ms ({ms['min']:.1f} – {ms['max']:.1f}); {', '.join(facts)}"
        )
    for name, ratio in case.get("ratios", {}).items():
        lines.append(f"  {name} / sciten: {ratio}")
    for name, errors in case.get("errors", {}).items():
        lines.append(f"  error, {name}: {_error(errors)}")
    for name, found in case.get("peer_errors", {}).items():
        lines.append(f"  {name}: {_errors(found)}")
    for line in case.get("targets", []):
        sign = "≤" if line["at_most"] else "≥"
        verdict = "met" if line["met"] else "MISSED"
        lines.append(f"  {line['what']}: {_number(line['found'])}, {sign} {line['goal']:g} {verdict}")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
