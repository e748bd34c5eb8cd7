"""All parts in one run, and a document of what they found."""

import inspect
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import torch
from tqdm import tqdm

import sciten
from sciten.cli.benchmarks import machine
from sciten.cli.benchmarks.tensor_products import degrees, parts
from sciten.cli.benchmarks.tensor_products.findings import crossovers, expressivities, growth
from sciten.cli.benchmarks.tensor_products.rows import Measurer
from sciten.cli.benchmarks.tensor_products.settings import PASSES, Settings
from sciten.potentials import MACE

_MEASURES: Mapping[str, Callable[[Measurer], list[dict[str, Any]]]] = {
    "degrees": degrees.measure,
    "convolution": parts.convolution,
    "so2": parts.so2_products,
    "tensornet": parts.tensornet,
    "mace": parts.mace,
}


def run(settings: Settings, *, progress: bool = True) -> dict[str, Any]:
    """Measure, and return a document for JSON.

    Raises:
        ConfigError: a file that is needed is missing.
        WorkerError: a program failed, or disagrees.
    """
    described = machine.describe()
    found: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    with (
        tqdm(total=_rounds(settings), unit="round", disable=None if progress else True) as bar,
        Measurer(settings, bar) as measurer,
    ):
        for part in settings.only:
            if why := _why_not(part, settings):
                skipped[part] = why
            else:
                found += _MEASURES[part](measurer)
        bar.set_description("expressivity")
        expressed = expressivities(settings.degrees) if "degrees" in settings.only else None
    document: dict[str, Any] = {
        "question": "tensor products in float32 on the CPU: time beside other libraries and beside expressivity",
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": described,
        "versions": {"sciten": sciten.__version__, "torch": torch.__version__, "peers": measurer.versions},
        "settings": settings.reported(),
        "cases": found,
        "skipped": skipped,
    }
    if expressed is not None:
        document |= {"expressivity": expressed, "crossovers": crossovers(found), "growth": growth(found)}
    return document


def _why_not(part: str, settings: Settings) -> str | None:
    """Why a part cannot be measured at all."""
    if part == "tensornet" and settings.torchmd_python is None:
        return "no --torchmd-python"
    if part == "mace" and "product" not in inspect.signature(MACE).parameters:
        return "MACE takes no product"
    return None


def _rounds(settings: Settings) -> int:
    rows = {
        "degrees": len(PASSES) * len(settings.degrees),
        "convolution": len(PASSES),
        "so2": len(settings.so2) + 1,
        "tensornet": 2 if settings.torchmd_python else 0,
        "mace": 1,
    }
    return settings.rounds * sum(rows[part] for part in settings.only)
