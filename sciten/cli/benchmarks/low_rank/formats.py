"""Arithmetic of tensor trains beside torchTT, and what decompositions reach."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from tqdm import tqdm

from sciten.cli.benchmarks import parts
from sciten.cli.benchmarks.low_rank import core_shapes, newton_kernel
from sciten.cli.benchmarks.low_rank.contest import Program, contest
from sciten.cli.benchmarks.parts import Measure, Settings
from sciten.cli.benchmarks.summary import at_most, target
from sciten.tensor import TensorTrain

QUESTION = "low-rank formats in float64: time beside torchTT, and what decompositions reach"


def run(
    settings: Settings,
    *,
    progress: bool = True,
    after_part: Callable[[dict[str, Any]], object] | None = None,
) -> dict[str, Any]:
    """Measure, and return a document for JSON; `after_part` is given what there is so far after every part."""
    return parts.run(QUESTION, MEASURES, settings, progress=progress, after_part=after_part)


def _arithmetic(settings: Settings, bar: tqdm) -> list[dict[str, Any]]:
    d = 12 if settings.small else 60
    cases = {"round": (10, 20, 1e-10), "multiply": (4, 4, 0.0), "inner": (4, 4, 0.0)}
    if not settings.small:
        cases = {"round": (100, 200, 1e-10), "multiply": (50, 50, 0.0), "inner": (50, 50, 0.0)}
    programs = [Program("sciten", threads=threads) for threads in (1, 2)]
    if settings.peer_python is not None:
        programs += [Program("torchTT", settings.peer_python, threads=threads) for threads in (1, 2)]
    rows = []
    for task, (least, rank, tolerance) in cases.items():
        generator = torch.Generator().manual_seed(0)
        x, y = (TensorTrain.random([2] * d, least, generator=generator) for _ in range(2))
        if task == "round":
            x = x + x  # rank 200, of which 100 are needed
        row = contest(
            f"{task}, d = {d}, n = 2, r = {rank}",
            programs,
            {"x": x.cores, "y": y.cores},
            {"task": task, **({"places": _places(d).tolist()} if task == "multiply" else {})},
            tolerances=[tolerance],
            good=_as_expected(task, x, y, tolerance),
            rounds=settings.rounds,
            limit=settings.limit,
            bar=bar,
        )
        if row["ratios"]:
            row["targets"] = [target("torchTT / sciten", min(row["ratios"].values()), 1.0)]
        rows.append({"part": "arithmetic", **row})
    return rows


def _newton(settings: Settings, bar: tqdm) -> list[dict[str, Any]]:
    """The long-range part of 1/|x| in Chebyshev-Tucker form."""
    bar.set_description("Newton kernel")
    rows = []
    for found in newton_kernel.measure([64] if settings.small else tuple(newton_kernel.PUBLISHED_RANKS)):
        published = found["published_rank"]
        row: dict[str, Any] = {
            "part": "newton",
            "title": f"long-range Newton kernel on [-1, 1]³, n = {found['n']}",
            "programs": {"sciten": {"ms": _once(found["seconds"]), "error": found["relative_error"]}},
            **found,
        }
        if published is not None:
            row["targets"] = [
                at_most("largest Tucker rank", max(found["ranks"]), published),
                at_most("relative error on the slice in the middle", found["relative_error"], 1e-7),
            ]
        rows.append(row)
    return rows


def _core_shapes(settings: Settings, bar: tqdm) -> list[dict[str, Any]]:
    """Greedy and exact core shapes over a sweep of budgets."""
    bar.set_description("core shapes")
    budgets = core_shapes.BUDGETS[:3] if settings.small else core_shapes.BUDGETS
    found = core_shapes.measure(budgets=budgets)
    worse = sum(row["exact"]["bound"] > row["greedy"]["bound"] * (1 + 1e-12) for row in found["rows"])
    better = sum(row["exact"]["bound"] < row["greedy"]["bound"] * (1 - 1e-12) for row in found["rows"])
    seconds = sum(row["exact"]["seconds"] for row in found["rows"])
    return [
        {
            "part": "core_shapes",
            "title": f"core shapes of {'×'.join(map(str, found['shape']))} for {len(budgets)} budgets, exact",
            "programs": {"sciten": {"ms": _once(seconds)}},
            "exact_better": better,
            "targets": [at_most("budgets where exact is worse than greedy", worse, 0)],
            **found,
        }
    ]


def _once(seconds: float) -> dict[str, float]:
    ms = round(1e3 * seconds, 2)
    return {"min": ms, "median": ms, "max": ms}


def _as_expected(
    task: str, x: TensorTrain, y: TensorTrain, tolerance: float
) -> Callable[[Mapping[str, Any], TensorTrain | None], tuple[bool, dict[str, Any]]]:
    def good(reply: Mapping[str, Any], answer: TensorTrain | None) -> tuple[bool, dict[str, Any]]:
        if task == "inner":
            exact = float(x.inner(y))
            error = abs(float(reply["value"]) - exact) / abs(exact)
            return error <= 1e-9, {"error": error}
        if task == "multiply":
            places = _places(len(x))
            exact_values = x.at(places) * y.at(places)
            values = torch.tensor(reply["values"], dtype=torch.float64)
            error = float((values - exact_values).norm() / exact_values.norm())
            return error <= 1e-10, {"error": error}
        if answer is None:
            return False, {}
        error = float((answer - x).norm() / x.norm())
        return error <= 10 * tolerance, {"error": error, "largest_rank": max(answer.ranks)}

    return good


def _places(d: int) -> torch.Tensor:
    """Random indices of entries, by which products are compared."""
    return torch.randint(0, 2, (10, d), generator=torch.Generator().manual_seed(1))


#: The parts of the benchmark, by name.
MEASURES: Mapping[str, Measure] = {
    "arithmetic": _arithmetic,
    "newton": _newton,
    "core_shapes": _core_shapes,
}
