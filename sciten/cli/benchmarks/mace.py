"""`sciten benchmark mace`: how fast is our MACE beside mace-torch and symmetrix-xl, here and now?

Same structures, same weights, float32, the same number of threads, a process for each program and case.
After a warm-up the programs are called in turn, round by round, never two at once. Neighbour lists are made
beforehand; a training step is the gradient of a loss on energies and forces, without the optimiser. Programs
that disagree on the results are not timed.
"""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sciten.cli.benchmarks import machine
from sciten.cli.benchmarks.cases import Settings, cases
from sciten.cli.benchmarks.measurement import Measurement
from sciten.cli.benchmarks.systems import molecules, silicon

_REPORTED = ("threads", "channels", "rounds", "warm_up", "symmetrix_limit")


def run(settings: Settings, *, progress: bool = True) -> dict[str, Any]:
    """Measure, and return a document for JSON (times in µs per atom, memory in MB).

    Raises:
        ConfigError: there are no molecules, or there is no converter.
        WorkerError: a program failed, or disagrees.
    """
    systems = {"acac": molecules(settings.frames), "silicon": silicon(settings.repeats)}
    chosen = cases(settings.degrees)
    described = machine.describe()
    with (
        tempfile.TemporaryDirectory() as folder,
        tqdm(total=len(chosen) * settings.rounds, unit="round", disable=None if progress else True) as bar,
    ):
        measurement = Measurement(settings, systems, Path(folder), bar)
        measurement.make_models()
        rows = {case: measurement.case(case) for case in chosen}
    return {
        "question": "MACE in float32 on the CPU: µs per atom, memory in MB, ratios peer / sciten",
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": described,
        "versions": measurement.versions,
        "settings": {"dtype": "float32", **{name: getattr(settings, name) for name in _REPORTED}},
        "systems": {name: system.source for name, system in systems.items()},
        "cases": [rows[case] for case in sorted(rows, key=lambda c: (c.task != "train", c.system, c.degree))],
    }
