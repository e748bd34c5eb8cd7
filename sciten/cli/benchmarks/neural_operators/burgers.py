"""How long must an operator train to learn Burgers' equation from its start to t = 1, at ν = 0.1 and 1024 points?

The error is relative to each solution, so that it is no matter in which units the small solutions are.
"""

from pathlib import Path
from typing import Any

from tqdm import tqdm

from sciten.cli.benchmarks.neural_operators import over_seeds, trials
from sciten.cli.benchmarks.neural_operators.settings import Settings
from sciten.cli.benchmarks.neural_operators.trials import Trial
from sciten.cli.benchmarks.summary import at_most
from sciten.training import OperatorConfig

PART = "burgers"
_GOAL = 0.003
_PUBLISHED = "FNO without batch norm 0.0025 – 0.0029 after 500 epochs"
#: Chosen on samples set aside: 64 channels take nearly three times as long for an epoch, and are not better after the
#: same time; nor are batches of 20, or a loss of values alone.
_MODEL: dict[str, Any] = {"kind": "FNO", "modes": [16], "hidden_channels": 32}
_EPOCHS = 80
_BATCH = 10


def measure(settings: Settings, bar: tqdm) -> list[dict[str, Any]]:
    """One row: the error on the test samples, and on validation samples by epoch."""
    command = settings.missing("burgers")
    if command is not None:
        bar.write(f"{PART}: left out, since there are no data; make them by: {command}")
        return []
    bar.set_description("Burgers")
    train_file, test_file = settings.files("burgers")
    model = _MODEL | ({"hidden_channels": 4} if settings.small else {})
    configs = [_config(model, train_file, seed, settings.small) for seed in settings.seeds]
    with trials.processes(settings.processes) as pool:
        found = trials.run(
            [Trial(f"seed {config.seed}", config, test_file) for config in configs], pool, settings.work, bar
        )
    title = "Burgers 1024, ν = 0.1"
    failed = [f"seed {seed}: {one['failed']}" for seed, one in enumerate(found) if "failed" in one]
    if failed:
        return [{"part": PART, "title": title, "programs": {"sciten": {"absent": "; ".join(failed)}}}]
    errors = over_seeds.summary([one["error"] for one in found])
    return [
        {
            "part": PART,
            "title": title,
            "programs": {
                "sciten": over_seeds.program(
                    [one["seconds"] for one in found], found[0]["parameters"], errors["mean"]
                )
            },
            "errors": {"test": errors},
            "curves": [one["curve"] for one in found],
            "settings": {"epochs": configs[0].epochs, "batch_size": configs[0].batch_size, "model": model},
            "published": _PUBLISHED,
            "targets": [at_most("relative L2 error", errors["mean"], _GOAL)],
        }
    ]


def _config(model: dict[str, Any], train_file: Path, seed: int, small: bool) -> OperatorConfig:
    return OperatorConfig(
        train_file=train_file,
        output=Path(),
        inputs="initial",  # type: ignore[arg-type]
        targets="final",  # type: ignore[arg-type]
        valid_fraction=0.9 if small else 0.1,
        model=model,
        batch_size=_BATCH,
        seed=seed,
        epochs=1 if small else _EPOCHS,
        threads=1,
    )
