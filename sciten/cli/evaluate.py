"""`sciten evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sciten.errors import ConfigError

if TYPE_CHECKING:
    from sciten.training.task import Findings


def evaluate(
    model: Annotated[
        Path, typer.Argument(help="Model folder, or output folder of a training.", metavar="MODEL")
    ],
    data: Annotated[Path, typer.Argument(help="Dataset with labels, or of fields.", metavar="DATA.h5")],
    output: Annotated[
        Path | None, typer.Option(help="Folder for the table, JSON and plots (default: MODEL_on_DATA here).")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Frames or samples at once.")] = 32,
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            help="Field that a neural operator is given, where its file does not say; may be repeated."
        ),
    ] = None,
    targets: Annotated[list[str] | None, typer.Option(help="Field that it predicts, likewise.")] = None,
    subsample: Annotated[
        int | None, typer.Option(min=1, help="Take every n-th point of the grid (neural operators).")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of a rollout; all without (neural operators).")
    ] = None,
) -> None:
    """Compare a model with a dataset: a potential with its labels, a neural operator with its fields."""
    from sciten.model_files import format_name
    from sciten.neural_operators.files import FORMAT_NAME
    from sciten.training.report import Section, write_report

    if format_name(model) == FORMAT_NAME:
        evaluation = _operator(model, data, batch_size, device, inputs, targets, subsample, steps)
    else:
        for name, value in (
            ("inputs", inputs),
            ("targets", targets),
            ("subsample", subsample),
            ("steps", steps),
        ):
            if value is not None:
                raise ConfigError(
                    f"sciten evaluate: --{name} is for neural operators, {model} is none; leave it out"
                )
        evaluation = _potential(model, data, batch_size, device)
    folder = output or Path(f"{model.resolve().name}_on_{data.stem}")
    figures = evaluation.write(folder)
    text = f"{model} on {data}\n{evaluation.remark}"
    section = Section("Errors", text, evaluation.rows(), [path.name for path in figures])
    write_report(folder / "report.html", f"{model.resolve().name} on {data.name}", [section])
    print(evaluation.table())
    print(f"written to {folder}")


def _potential(model: Path, data: Path, batch_size: int, device: str) -> "Findings":
    from sciten.potentials import load_potential
    from sciten.training import evaluate as compare

    potential = load_potential(model, device=device)
    return compare(potential, data, batch_size=batch_size, model_name=str(model), progress=True)


def _operator(
    model: Path,
    data: Path,
    batch_size: int,
    device: str,
    inputs: list[str] | None,
    targets: list[str] | None,
    subsample: int | None,
    steps: int | None,
) -> "Findings":
    from sciten.neural_operators.files import load_operator, roles_of
    from sciten.training import evaluate_operator
    from sciten.training.field_data import open_for

    operator = load_operator(model, device=device)
    with open_for(
        roles_of(model, inputs, targets), data, subsample=subsample or 1, dtype=operator.dtype
    ) as dataset:
        return evaluate_operator(
            operator, dataset, steps=steps, batch_size=batch_size, model_name=str(model), progress=True
        )
