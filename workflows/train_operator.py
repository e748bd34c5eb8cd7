"""From nothing to a trained neural operator: make data, train, evaluate on two grids, and gather it all in one folder.

The operator learns the solution of Darcy's equation from its piecewise constant coefficient. It is trained on one grid
and evaluated, on coefficients that it has never seen, on that grid and on one twice as fine. Data are made once, and
training goes on where it was stopped.
"""

import time
from pathlib import Path
from typing import Annotated

import typer

from sciten.datasets import FieldDataset
from sciten.neural_operators.files import load_operator
from sciten.training import FieldEvaluation, evaluate_operator, read_config, train
from sciten.training.report import Section, write_report
from sciten.training.run import training_sections
from workflows import script
from workflows.make_darcy_dataset import main as make_darcy_dataset

ROOT = Path(__file__).parents[1]


def main(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE ...]", help="Training settings to change.")
    ] = None,
    config: Annotated[Path, typer.Option(help="Training settings.")] = ROOT
    / "workflows/configs/operator.yaml",
    output: Annotated[Path, typer.Option(help="Folder for all that is made.")] = Path("runs/train_operator"),
    resolution: Annotated[
        int, typer.Option(min=9, help="Points of each axis in training, ends included.")
    ] = 33,
    train_samples: Annotated[int, typer.Option(min=2, help="Samples to train on.")] = 500,
    test_samples: Annotated[int, typer.Option(min=1, help="Samples to test on, on each grid.")] = 100,
    seed: script.Seed = 1,
    workers: script.Workers = None,
) -> None:
    """Make data of Darcy's equation, train a neural operator on them, and evaluate it on two grids."""
    started = time.perf_counter()
    fine = 2 * resolution - 1
    data = output / "data"

    announce(f"1/3 solving Darcy's equation on {resolution}² points for training, and on {fine}² for testing")
    for name, points, counts in (
        ("darcy", resolution, (train_samples, test_samples)),
        ("darcy_fine", fine, (0, test_samples)),
    ):
        make_darcy_dataset(
            output=data,
            work=output / "tasks",
            name=name,
            resolution=points,
            solver_resolution=4 * (resolution - 1) + 1,  # the same solution, seen on two grids
            train_samples=counts[0],
            test_samples=counts[1],
            seed=seed,
            workers=workers,
        )

    announce("2/3 training")
    settings = read_config(
        config, [f"train_file={data / 'darcy_train.h5'}", f"output={output}", *(overrides or [])]
    )
    trained = train(settings)
    if not trained.finished:
        raise typer.Exit(143)

    announce("3/3 testing")
    sections = training_sections(settings, None)
    for name, points in (("darcy", resolution), ("darcy_fine", fine)):
        found = evaluated(output, data / f"{name}_test.h5")
        figures = [path.name for path in found.write(output, prefix=f"test_{points}_")]
        title = f"Test on {points} x {points} points"
        sections.append(
            Section(title, f"Coefficients that training never saw. {found.remark}", found.rows(), figures)
        )
        announce(f"\n{title}:\n{found.table()}")
    write_report(output / "report.html", "sciten: a neural operator for Darcy's equation", sections)

    announce(f"\n{output}: model/, report.html with its plots, metrics.jsonl, data/")
    training, everything = trained.seconds / 60, (time.perf_counter() - started) / 60
    announce(f"{trained.epochs} epochs in {training:.1f} minutes, everything in {everything:.1f} minutes")


def announce(text: str) -> None:
    """Print at once, so that it stands above the progress bars that follow."""
    print(text, flush=True)


def evaluated(model: Path, file: Path) -> FieldEvaluation:
    """The errors of a trained operator on a file."""
    with FieldDataset(file, inputs=["coefficient"], targets=["solution"]) as dataset:
        return evaluate_operator(load_operator(model), dataset, model_name=str(model), progress=True)


if __name__ == "__main__":
    # Under its full name, so that the workers of the executor can import the functions that they are sent.
    from workflows.train_operator import main as importable_main

    script.run(importable_main)
