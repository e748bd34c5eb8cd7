"""Arithmetic of tensor trains beside torchTT, and what decompositions reach."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch
from tqdm import tqdm

import sciten
from sciten.cli.benchmarks import machine
from sciten.cli.benchmarks.low_rank.contest import Program, contest
from sciten.cli.benchmarks.summary import target
from sciten.tensor import TensorTrain

PARTS = ("arithmetic",)


@dataclass(frozen=True)
class Settings:
    """What to measure; arguments as those of the settings of `pde`."""

    torchtt_python: str | None = None
    only: tuple[str, ...] = PARTS
    rounds: int = 5
    limit: float = 300.0
    small: bool = False


def run(settings: Settings, *, progress: bool = True) -> dict[str, Any]:
    """Measure, and return a document for JSON."""
    document: dict[str, Any] = {
        "question": "tensor trains in float64: time of arithmetic beside torchTT",
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine.describe(),
        "versions": {"sciten": sciten.__version__, "torch": torch.__version__},
        "settings": {"rounds": settings.rounds, "small": settings.small, "limit_s": settings.limit},
        "cases": [],
    }
    with tqdm(total=len(settings.only), unit="part", disable=None if progress else True) as bar:
        for part in settings.only:
            document["cases"] += {"arithmetic": _arithmetic}[part](settings, bar)
            bar.update()
    return document


def _arithmetic(settings: Settings, bar: tqdm) -> list[dict[str, Any]]:
    d = 12 if settings.small else 60
    cases = {"round": (10, 20, 1e-10), "multiply": (4, 4, 0.0), "inner": (4, 4, 0.0)}
    if not settings.small:
        cases = {"round": (100, 200, 1e-10), "multiply": (50, 50, 0.0), "inner": (50, 50, 0.0)}
    programs = [Program("sciten", threads=threads) for threads in (1, 2)]
    if settings.torchtt_python is not None:
        programs += [Program("torchTT", settings.torchtt_python, threads=threads) for threads in (1, 2)]
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
            {"task": task},
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


def _as_expected(
    task: str, x: TensorTrain, y: TensorTrain, tolerance: float
) -> Callable[[Mapping[str, Any], TensorTrain | None], tuple[bool, dict[str, Any]]]:
    def good(reply: Mapping[str, Any], answer: TensorTrain | None) -> tuple[bool, dict[str, Any]]:
        if task == "inner":
            exact = float(x.inner(y))
            error = abs(float(reply["value"]) - exact) / abs(exact)
            return error <= 1e-9, {"error": error}
        if answer is None:
            return False, {}
        if task == "round":
            error = float((answer - x).norm() / x.norm())
            return error <= 10 * tolerance, {"error": error, "largest_rank": max(answer.ranks)}
        places = torch.randint(0, 2, (50, len(x)), generator=torch.Generator().manual_seed(1))
        exact_values = x.at(places) * y.at(places)
        error = float((answer.at(places) - exact_values).norm() / exact_values.norm())
        return error <= 1e-10, {"error": error}

    return good
