"""What do patches cost in accuracy? The dense operator of `navier_stokes`, whole and on patches, for as many epochs.

Each grid of an operator on patches has an operator of its own, of as many channels as the whole one: with a level it
has twice as many numbers, with two levels three times as many. Patches are those of `benchmarks/patching_memory.py`:
with a twentieth of their length of their neighbours' points on either side, and all the coarser grids that there are.
`at_a_time`, which saves the memory, does not change the results and is left out. Modes are those of a patch, so that
operators on patches resolve shorter waves.
"""

from typing import Any

from tqdm import tqdm

from sciten.cli.benchmarks.neural_operators import navier_stokes, trials
from sciten.cli.benchmarks.neural_operators.candidates import DENSE, Candidate
from sciten.cli.benchmarks.neural_operators.settings import Settings
from sciten.cli.benchmarks.neural_operators.trials import Trial
from sciten.cli.benchmarks.summary import at_most

PART = "patching"
_VISCOSITY = "1e-3"
_PADDING = 0.05
_GOAL = 1.1


def measure(settings: Settings, bar: tqdm) -> list[dict[str, Any]]:
    """A row for the whole operator, and one for each number of patches."""
    command = settings.missing(f"ns_{_VISCOSITY}")
    if command is not None:
        bar.write(f"{PART}: left out, since there are no data; make them by: {command}")
        return []
    bar.set_description("patches")
    train_file, test_file = settings.files(f"ns_{_VISCOSITY}")
    whole = navier_stokes.operators(settings).candidates()[0]
    chosen = [whole, _on_patches(whole, 2, 1), *([] if settings.small else [_on_patches(whole, 4, 2)])]
    rows = []
    with trials.processes(settings.processes) as pool:
        # The whole operator is that of the other part, and its trainings are taken from there.
        (epochs,), _ = navier_stokes.epochs([whole], train_file, settings, pool, bar)
        for one in chosen:
            found = trials.run(
                [
                    Trial(
                        f"{one.name}, seed {seed}",
                        navier_stokes.config(one, train_file, seed, epochs, settings),
                        test_file,
                    )
                    for seed in settings.seeds
                ],
                pool,
                settings.work,
                bar,
            )
            # By the fastest epoch of each: trainings may have been continued on a busy machine.
            found = [{**own, "seconds": own["epochs"] * min(own["epoch_seconds"])} for own in found]
            rows.append(navier_stokes.row(_VISCOSITY, one, found, settings.seconds) | {"part": PART})
    _add_targets(rows)
    return rows


def _on_patches(whole: Candidate, count: int, levels: int) -> Candidate:
    patching = {"patches": [count, count], "levels": levels, "padding": _PADDING}
    return Candidate(f"{DENSE}, {count}×{count} patches", 1, whole.model | {"patching": patching})


def _add_targets(rows: list[dict[str, Any]]) -> None:
    whole, *others = rows
    for row in others:
        if "errors" in row and "errors" in whole:
            row["error_ratios"] = {
                title: found["mean"] / whole["errors"][title]["mean"]
                for title, found in row["errors"].items()
            }
            row["targets"] = [
                at_most(f"{title}: error / that without patches", ratio, _GOAL)
                for title, ratio in row["error_ratios"].items()
            ]
