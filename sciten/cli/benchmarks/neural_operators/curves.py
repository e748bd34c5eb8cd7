"""Errors of neural operators against their size, from the benchmark's document to tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sciten.cli.benchmarks.neural_operators import burgers, navier_stokes
from sciten.cli.benchmarks.neural_operators.candidates import DENSE, KINDS

Case = Mapping[str, Any]
_COLUMNS = 8  # of a learning curve, after the first epoch


def of(document: Mapping[str, Any]) -> dict[str, dict[str, list[Case]]]:
    """Measured cases by viscosity and kind of operator, the largest operator of each kind first."""
    found: dict[str, dict[str, list[Case]]] = {}
    for case in document["cases"]:
        if case["part"] == navier_stokes.PART and "errors" in case:
            found.setdefault(case["viscosity"], {}).setdefault(case["kind"], []).append(case)
    return {
        viscosity: {
            kind: sorted(kinds[kind], key=lambda case: int(case["compression"]))
            for kind in KINDS
            if kind in kinds
        }
        for viscosity, kinds in found.items()
    }


def markdown(document: Mapping[str, Any]) -> str:
    """Markdown tables: one of errors by compression for each viscosity, and one of learning curves."""
    tables = ["\n".join(_by_compression(viscosity, kinds)) for viscosity, kinds in of(document).items()]
    tables += [
        "\n".join(_by_epoch(case))
        for case in document["cases"]
        if case["part"] == burgers.PART and "errors" in case
    ]
    return "\n\n".join(tables)


def _by_compression(viscosity: str, kinds: Mapping[str, Sequence[Case]]) -> Iterator[str]:
    steps = sorted({case["compression"] for cases in kinds.values() for case in cases})
    yield f"| Navier-Stokes, ν = {viscosity} | " + " | ".join(f"{step}×" for step in steps) + " |"
    yield "|---|" + "---:|" * len(steps)
    for kind, cases in kinds.items():
        cells = {case["compression"]: _cell(case) for case in cases}
        yield f"| {kind} | " + " | ".join(cells.get(step, "") for step in steps) + " |"


def _cell(case: Case) -> str:
    """The error of a step, that at the end of a rollout, and the number of parameters."""
    step, *last = case["errors"].values()
    text = f"{step['mean']:.2g} ± {step['spread']:.1g}"
    text += "".join(f" / {one['mean']:.2g}" for one in last)
    return f"{text} ({case['programs']['sciten']['parameters'] / 1e3:.0f}k)"


def _by_epoch(case: Case) -> Iterator[str]:
    curves = case["curves"]
    if not all(curves):
        return
    last = len(curves[0]) - 1
    shown = sorted({round(k * last / _COLUMNS) for k in range(_COLUMNS + 1)})
    epochs = [curves[0][k]["epoch"] for k in shown]
    errors = [sum(curve[k]["error"] for curve in curves) / len(curves) for k in shown]
    yield f"| {case['title']}, epoch | " + " | ".join(map(str, epochs)) + " | test |"
    yield "|---|" + "---:|" * (len(epochs) + 1)
    test = case["errors"]["test"]
    cells = [*(f"{error:.2g}" for error in errors), f"{test['mean']:.2g} ± {test['spread']:.1g}"]
    yield "| relative L2 error | " + " | ".join(cells) + " |"


def caption(document: Mapping[str, Any]) -> str:
    """What the tables say, and of what."""
    kinds = [kinds for kinds in of(document).values() if DENSE in kinds]
    if not kinds:
        return ""
    seconds = kinds[0][DENSE][0]["settings"]["seconds"]
    return (
        f"**Error against parameters**: every operator trains for about {seconds:.0f} s on one thread, on 1000 pairs "
        "w(t), w(t + 1) of 64² points. Relative L2 error of one step on test trajectories, with the standard deviation "
        "over three seeds / at the end of a rollout over ten steps (parameters in all). Columns say by how much the "
        "convolutions' weights are compressed, maps at each point keep theirs; smaller dense operators have as many "
        "parameters as the factorised ones of their column (`sciten benchmark neural-operators --only navier-stokes`). "
        + f"{_rates(kinds[0])}{_beside_dense(document)}"
    )


def _rates(kinds: Mapping[str, Sequence[Case]]) -> str:
    """The learning rates, in a sentence."""
    cases = [case for of_kind in kinds.values() for case in of_kind]
    others = sorted({case["settings"]["learning_rate"] for case in cases if case["kind"] != DENSE})
    if not others:
        return ""
    dense = kinds[DENSE][0]["settings"]["learning_rate"]
    said = " or ".join(f"{rate:g}" for rate in others)
    return f"The full dense operator learns at a rate of {dense:g}, the others at {said}. "


def _beside_dense(document: Mapping[str, Any]) -> str:
    """What the targets of the factorised operators are about, in a sentence."""
    best = [
        f"{case['error_ratios']['one step']:.2f} times after one step and "
        f"{case['error_ratios']['end of the rollout']:.2f} times after ten at ν = {viscosity} ({case['kind']})"
        for viscosity, kinds in of(document).items()
        for cases in kinds.values()
        for case in cases
        if case["targets"]
    ]
    if not best:
        return ""
    return f"The error of the best format at 20× beside the full dense operator's: {', '.join(best)}."
