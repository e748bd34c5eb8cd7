"""All parts in one run, and a document of what they found."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import torch
from tqdm import tqdm

import sciten
from sciten.cli.benchmarks import machine
from sciten.cli.benchmarks.tensor_products import degrees, parts, so2
from sciten.cli.benchmarks.tensor_products.findings import crossovers, expressivities, growth
from sciten.cli.benchmarks.tensor_products.rows import Measurer
from sciten.cli.benchmarks.tensor_products.settings import Settings

_MEASURES: Mapping[str, Callable[[Measurer], list[dict[str, Any]]]] = {
    "degrees": degrees.measure,
    "convolution": parts.convolution,
    "so2": so2.measure,
    "tensornet": parts.tensornet,
    "mace": parts.mace,
}


def run(
    settings: Settings,
    *,
    progress: bool = True,
    after_part: Callable[[dict[str, Any]], object] | None = None,
) -> dict[str, Any]:
    """Measure, and return a document for JSON.

    Args:
        settings: what to measure.
        progress: whether to show a bar that counts the cases.
        after_part: given the document of what there is so far after every part.

    Raises:
        ConfigError: a file that is needed is missing.
        WorkerError: a program failed, or disagrees.
    """
    document: dict[str, Any] = {
        "question": "tensor products in float32 on the CPU: time beside other libraries and beside expressivity",
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine.describe(),
        "versions": {"sciten": sciten.__version__, "torch": torch.__version__, "peers": {}},
        "settings": settings.reported(),
        "cases": [],
        "skipped": {},
    }
    with (
        tqdm(total=settings.cases, unit="case", disable=None if progress else True) as bar,
        Measurer(settings, bar) as measurer,
    ):
        for part in settings.only:
            if part == "tensornet" and settings.torchmd_python is None:
                document["skipped"][part] = "no --torchmd-python"
                continue
            document["cases"] += _MEASURES[part](measurer)
            document["versions"]["peers"] = dict(measurer.versions)
            if after_part is not None:
                after_part(document)
        if "degrees" in settings.only:
            bar.set_description("expressivity")
            document |= _findings(document["cases"], settings)
    return document


def _findings(rows: list[dict[str, Any]], settings: Settings) -> dict[str, Any]:
    expressed = expressivities(settings.degrees)
    return {"expressivity": expressed, "crossovers": crossovers(rows), "growth": growth(rows)}
