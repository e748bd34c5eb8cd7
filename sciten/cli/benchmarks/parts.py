"""What the benchmarks of several parts share: their settings, and running the parts into a document."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import torch
from tqdm import tqdm

import sciten
from sciten.cli.benchmarks import machine


@dataclass(frozen=True)
class Settings:
    """What to measure.

    Args:
        peer_python: Python of an environment with the peer (torchTT, or neuraloperator).
        only: names of parts; by default all.
        rounds: of timing.
        limit: seconds for a call of a peer.
        small: tiny sizes, to try the command.
    """

    peer_python: str | None = None
    only: tuple[str, ...] | None = None
    rounds: int = 5
    limit: float = 300.0
    small: bool = False


Chosen = TypeVar("Chosen", bound=Settings)
Measure = Callable[[Settings, tqdm], list[dict[str, Any]]]


def run(
    question: str,
    measures: Mapping[str, Callable[[Chosen, tqdm], list[dict[str, Any]]]],
    settings: Chosen,
    *,
    progress: bool = True,
    after_part: Callable[[dict[str, Any]], object] | None = None,
) -> dict[str, Any]:
    """Measure parts, and return a document for JSON; `after_part` is given what there is so far after every part."""
    document: dict[str, Any] = {
        "question": question,
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine.describe(),
        "versions": {"sciten": sciten.__version__, "torch": torch.__version__},
        "settings": {"rounds": settings.rounds, "small": settings.small, "limit_s": settings.limit},
        "cases": [],
    }
    chosen = tuple(measures) if settings.only is None else settings.only
    with tqdm(total=len(chosen), unit="part", disable=None if progress else True) as bar:
        for part in chosen:
            document["cases"] += measures[part](settings, bar)
            bar.update()
            if after_part is not None:
                after_part(document)
    return document
