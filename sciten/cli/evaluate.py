"""`sciten evaluate`."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    model: Annotated[
        Path, typer.Argument(help="Model folder, or output folder of a training.", metavar="MODEL")
    ],
    data: Annotated[Path, typer.Argument(help="Dataset with labels.", metavar="DATA.h5")],
    output: Annotated[
        Path | None, typer.Option(help="Folder for the table, JSON and plots (default: MODEL_on_DATA here).")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Frames at once.")] = 32,
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
) -> None:
    """Compare a model with the labels of a dataset: errors per configuration type and parity plots."""
    from sciten.potentials import load_potential
    from sciten.training import evaluate as compare
    from sciten.training.report import Section, write_report

    evaluation = compare(
        load_potential(model, device=device),
        data,
        batch_size=batch_size,
        model_name=str(model),
        progress=True,
    )
    folder = output or Path(f"{model.resolve().name}_on_{data.stem}")
    figures = evaluation.write(folder)
    section = Section("Errors", f"{model} on {data}", evaluation.rows(), [path.name for path in figures])
    write_report(folder / "report.html", f"{model.resolve().name} on {data.name}", [section])
    print(evaluation.table())
    print(f"written to {folder}")
