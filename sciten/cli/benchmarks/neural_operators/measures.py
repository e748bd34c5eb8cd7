"""The parts of the benchmark of neural operators."""

from collections.abc import Callable, Mapping
from typing import Any

from tqdm import tqdm

from sciten.cli.benchmarks import parts
from sciten.cli.benchmarks.neural_operators import burgers, darcy, navier_stokes, patching, step
from sciten.cli.benchmarks.neural_operators.settings import Settings

QUESTION = (
    "neural operators with dense and factorised weights: time and memory beside neuraloperator, and accuracy"
)

#: By name.
MEASURES: Mapping[str, Callable[[Settings, tqdm], list[dict[str, Any]]]] = {
    "step": step.measure,
    "darcy": darcy.measure,
    navier_stokes.PART: navier_stokes.measure,
    patching.PART: patching.measure,
    burgers.PART: burgers.measure,
}


def run(
    settings: Settings,
    *,
    progress: bool = True,
    after_part: Callable[[dict[str, Any]], object] | None = None,
) -> dict[str, Any]:
    """Measure, and return a document for JSON; `after_part` is given what there is so far after every part."""
    return parts.run(QUESTION, MEASURES, settings, progress=progress, after_part=after_part)
