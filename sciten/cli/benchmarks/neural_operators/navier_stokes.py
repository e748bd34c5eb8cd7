"""How much error do fewer parameters cost, at equal time of training? Vorticity of two-dimensional flow, one step on.

An operator learns w(t + 1) from w(t) on trajectories that sciten's own solver made, and is tested on others: by one
step from every stored frame, and by the end of a rollout over the whole trajectory. Each trains on one thread for the
whole number of epochs that comes nearest to the same time: staying below it would cost slow operators the most. An
epoch is timed once, in a short training; the time that is reported is by that, since trainings are the same on a busy
machine. `Comparison` says which operators take part.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sciten.cli.benchmarks.neural_operators import over_seeds, trials
from sciten.cli.benchmarks.neural_operators.candidates import DENSE, FORMATS, Candidate, Comparison
from sciten.cli.benchmarks.neural_operators.settings import Settings
from sciten.cli.benchmarks.neural_operators.trials import Trial
from sciten.cli.benchmarks.summary import at_most
from sciten.training import OperatorConfig
from sciten.training.optimizers import AdamW

PART = "navier-stokes"
VISCOSITIES = ("1e-3", "1e-5")
#: The dense operator: an epoch of 1000 samples of 64² points takes some 12 seconds.
OPERATORS = Comparison(24, (16, 16))
_SMALL = Comparison(4, (4, 4), (5,), ())
#: Chosen on trajectories set aside, where it was best for dense, small dense and Tucker weights among 2, 4, 8, 16 and
#: 32: so few epochs need many steps.
_BATCH = 2
#: Chosen likewise at ν = 1e-3 among 0.004, 0.008 and 0.016: the large dense operator was best with the last, all
#: formats with the one before (one to three seeds); at ν = 1e-5 one training each of dense and TT weights with the last
#: two said the same. Smaller dense operators were no better with the last. Operators on patches take the dense one's.
_RATE, _RATE_OF_DENSE = 0.008, 0.016
_GOAL_AT = 20
_PUBLISHED = "MG-TFNO: half the error at more than 150 times fewer parameters"
#: What is reported of each training, and how it is called.
MEASURED = {"error": "one step", "rollout_error": "end of the rollout"}


def measure(settings: Settings, bar: tqdm) -> list[dict[str, Any]]:
    """A row for each viscosity and operator."""
    files = {}
    for viscosity in VISCOSITIES:
        command = settings.missing(f"ns_{viscosity}")
        if command is None:
            files[viscosity] = settings.files(f"ns_{viscosity}")
        else:
            bar.write(f"{PART}, ν = {viscosity}: left out, since there are no data; make them by: {command}")
    if not files:
        return []
    chosen = operators(settings).candidates()
    for name in operators(settings).absent(chosen):
        bar.write(f"{PART}: {name} left out, since there is none of that size")
    with trials.processes(settings.processes) as pool:
        bar.set_description("Navier-Stokes, time of an epoch")
        # It is the same at every viscosity.
        counts, times = epochs(chosen, next(iter(files.values()))[0], settings, pool, bar)
        rows = []
        for viscosity, (train_file, test_file) in files.items():
            bar.set_description(f"Navier-Stokes, ν = {viscosity}")
            wanted = [
                Trial(f"{one.name}, seed {seed}", config(one, train_file, seed, count, settings), test_file)
                for one, count in zip(chosen, counts, strict=True)
                for seed in settings.seeds
            ]
            found = trials.run(wanted, pool, settings.work, bar)
            rows += _rows(viscosity, chosen, found, times, settings)
    return rows


def _rows(
    viscosity: str,
    chosen: Sequence[Candidate],
    found: Sequence[Mapping[str, Any]],
    times: Sequence[float],
    settings: Settings,
) -> list[dict[str, Any]]:
    seeds = len(settings.seeds)
    found = [{**one, "seconds": times[k // seeds]} for k, one in enumerate(found)]
    rows = [
        row(viscosity, one, found[seeds * k : seeds * (k + 1)], settings.seconds)
        for k, one in enumerate(chosen)
    ]
    add_comparison(rows)
    return rows


def operators(settings: Settings) -> Comparison:
    """The operators that take part."""
    return _SMALL if settings.small else OPERATORS


def epochs(
    chosen: Sequence[Candidate], train_file: Path, settings: Settings, pool: Executor, bar: tqdm
) -> tuple[list[int], list[float]]:
    """For how many epochs each is trained, and how many seconds that takes."""
    if settings.small:
        return [1] * len(chosen), [0.0] * len(chosen)
    probes = [Trial(f"time of {one.name}", config(one, train_file, 0, 2, settings), None) for one in chosen]
    # The first epoch makes plans as well. What diverges is tried all the same, for the report to say so.
    each = [
        found.get("epoch_seconds", [settings.seconds])[-1]
        for found in trials.run(probes, pool, settings.work, bar)
    ]
    # Whole epochs that come nearest.
    counts = [max(1, round(settings.seconds / seconds)) for seconds in each]
    return counts, [count * seconds for count, seconds in zip(counts, each, strict=True)]


def config(
    candidate: Candidate, train_file: Path, seed: int, epochs: int, settings: Settings
) -> OperatorConfig:
    """The settings of a training."""
    return OperatorConfig(
        train_file=train_file,
        output=Path(),
        inputs="vorticity",  # type: ignore[arg-type]
        targets="vorticity",  # type: ignore[arg-type]
        valid_fraction=0.9 if settings.small else 0.0,
        model=candidate.model,
        batch_size=_BATCH,
        optimizer=AdamW(learning_rate=_rate(candidate), weight_decay=1e-4),
        seed=seed,
        epochs=epochs,
        threads=1,
    )


def _rate(candidate: Candidate) -> float:
    return _RATE_OF_DENSE if candidate.compression == 1 else _RATE


def row(
    viscosity: str, candidate: Candidate, found: Sequence[Mapping[str, Any]], seconds: float
) -> dict[str, Any]:
    """Of the trainings of an operator with several seeds; without errors where one of them failed."""
    about: dict[str, Any] = {
        "part": PART,
        "title": f"Navier-Stokes 64², ν = {viscosity}, {candidate.name}",
        "viscosity": viscosity,
        "kind": candidate.kind,
        "compression": candidate.compression,
        "settings": {
            "seconds": seconds,
            "batch_size": _BATCH,
            "learning_rate": _rate(candidate),
            "model": candidate.model,
        },
        "targets": [],
    }
    failed = [f"seed {seed}: {one['failed']}" for seed, one in enumerate(found) if "failed" in one]
    if failed:
        return about | {"programs": {"sciten": {"absent": "; ".join(failed)}}}
    about["settings"]["epochs"] = found[0]["epochs"]
    errors = {
        title: over_seeds.summary([one[name] for one in found])
        for name, title in MEASURED.items()
        if name in found[0]
    }
    program = over_seeds.program(
        [one["seconds"] for one in found], found[0]["parameters"], errors["one step"]["mean"]
    ) | {"spectral_parameters": found[0]["spectral_parameters"]}
    return about | {"programs": {"sciten": program}, "errors": errors}


def add_comparison(rows: Sequence[dict[str, Any]]) -> None:
    """Enter into the rows of a viscosity what they are beside the dense operator, and the target into the best."""
    measured = [one for one in rows if "errors" in one]
    full = next((one for one in measured if one["kind"] == DENSE), None)
    if full is None:
        return
    for one in measured:
        one["error_ratios"] = {
            title: one["errors"][title]["mean"] / full["errors"][title]["mean"] for title in one["errors"]
        }
        spectral, everything = (
            full["programs"]["sciten"][what] / one["programs"]["sciten"][what]
            for what in ("spectral_parameters", "parameters")
        )
        one["remark"] = f"convolutions' weights {spectral:.3g}× smaller, all parameters {everything:.3g}×"
    factorised = [one for one in measured if one["kind"] in FORMATS and one["compression"] == _GOAL_AT]
    if factorised:
        best = min(factorised, key=lambda one: float(one["errors"]["one step"]["mean"]))
        best["published"] = _PUBLISHED
        best["targets"] = [
            at_most(f"best format at {_GOAL_AT}×, {title}: error / dense operator's", ratio, 1.0)
            for title, ratio in best["error_ratios"].items()
        ]
