"""From nothing to a trained neural operator: make data, train, evaluate on two grids, and gather it all in one folder.

The operator learns the solution of Darcy's equation from its piecewise constant coefficient. It is trained on one grid
and evaluated, on coefficients that it has never seen, on that grid and on one twice as fine. Data are made once, and
training goes on where it was stopped.
"""

import time
from pathlib import Path
from typing import Annotated

import typer

from sciten.errors import ConfigError
from sciten.neural_operators.files import load_operator, roles_of
from sciten.training import OperatorConfig, TrainResult, evaluate_operator, read_config, train
from sciten.training.field_data import open_fields, open_for
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
    overwrite: script.Overwrite = False,
    workers: script.Workers = None,
) -> None:
    """Make data of Darcy's equation, train a neural operator on them, and evaluate it on two grids."""
    started = time.perf_counter()
    fine = 2 * resolution - 1
    data = output / "data"
    settings = read_settings(
        config, [f"train_file={data / 'darcy_train.h5'}", f"output={output}", *(overrides or [])]
    )

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
            overwrite=overwrite,
            workers=workers,
        )

    announce("2/3 training")
    trained = train(settings)
    if not trained.finished:
        raise typer.Exit(143)
    if trained.already_complete:
        announce(f"{settings.output}: was trained before, with the same settings and data")

    announce("3/3 testing")
    sections = of_training(settings, trained)
    for name in ("darcy", "darcy_fine"):
        section, table = of_test(settings, data / f"{name}_test.h5")
        sections.append(section)
        announce(f"\n{section.title}:\n{table}")
    write_report(settings.output / "report.html", "sciten: a neural operator for Darcy's equation", sections)

    announce(f"\n{settings.output}: model/, report.html with its plots, metrics.jsonl; data in {data}")
    training, everything = trained.seconds / 60, (time.perf_counter() - started) / 60
    announce(f"{trained.epochs} epochs in {training:.1f} minutes, everything in {everything:.1f} minutes")


def announce(text: str) -> None:
    """Print at once, so that it stands above the progress bars that follow."""
    print(text, flush=True)


def read_settings(config: Path, overrides: list[str]) -> OperatorConfig:
    """The settings of the training; raises `ConfigError` where they are a potential's."""
    settings = read_config(config, overrides)
    if not isinstance(settings, OperatorConfig):
        raise ConfigError(
            f"{config}: expected settings of a neural operator, got a potential's; use `sciten train`"
        )
    return settings


def of_training(settings: OperatorConfig, trained: TrainResult) -> list[Section]:
    """What the report says of the training, be it of this call or of an earlier one."""
    operator, data = load_operator(settings.output), open_fields(settings)
    validation = trained.validation
    if validation is None and data.valid is not None:
        validation = trained.task.evaluate(operator, data.valid, str(settings.output))
    rows = [
        ["setting", "value"],
        ["neural operator", type(operator).__name__],
        ["parameters", f"{sum(parameter.numel() for parameter in operator.parameters()):,}"],
        ["training samples", str(len(data.train))],
        *trained.task.overview(operator, data),
    ]
    overview = Section("Overview", "The settings in full are in config.yaml.", rows)
    return [overview, *training_sections(settings, validation)]


def of_test(settings: OperatorConfig, file: Path) -> tuple[Section, str]:
    """What the report says of the errors on a file, and their table; its plots and numbers are written."""
    model = settings.output
    operator = load_operator(model)
    with open_for(roles_of(model), file, subsample=settings.subsample, dtype=operator.dtype) as dataset:
        points = " x ".join(map(str, dataset.grid.shape))
        found = evaluate_operator(operator, dataset, model_name=str(model), progress=True)
    figures = [path.name for path in found.write(model, prefix=f"test_{points.split(' ')[0]}_")]
    text = f"Fields that training never saw. {found.remark}"
    return Section(f"Test on {points} points", text, found.rows(), figures), found.table()


if __name__ == "__main__":
    # Under its full name, so that the workers of the executor can import the functions that they are sent.
    from workflows.train_operator import main as importable_main

    script.run(importable_main)
