"""The figures of an evaluation of a neural operator, written as PNG files."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sciten.training.field_evaluation import Example, FieldEvaluation
from sciten.training.plots import COLOURS, save, style


def example_plot(evaluation: FieldEvaluation, folder: Path, prefix: str = "") -> Path:
    """Reference, prediction and their difference, of the best, the median and the worst sample.

    The first target at the last step; of three axes the slice through the middle of the last one.
    """
    examples = evaluation.examples
    draw = _lines if len(evaluation.grid.axes) == 1 else _maps
    figure = Figure(figsize=(9, 0.5 + 2.5 * len(examples)), layout="constrained")
    axes = figure.subplots(len(examples), 2 if draw is _lines else 3, squeeze=False)
    for row, example in zip(axes, examples, strict=True):
        draw(list(row), example, evaluation)
        row[0].set_title(
            f"{example.name}: relative L2 {example.error:.3g}\n{example.place}", fontsize=8, loc="left"
        )
    after = "" if evaluation.steps == 1 else f" after {evaluation.steps} steps"
    figure.suptitle(f"{evaluation.channels[0]}{after}", fontsize=10)
    return save(figure, folder / f"{prefix}fields.png")


def error_histogram(evaluation: FieldEvaluation, folder: Path, prefix: str = "") -> Path:
    """How many samples have which relative L2 error."""
    errors = evaluation.errors["relative_l2"].mean(1)
    errors = errors[np.isfinite(errors)]
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.hist(errors, bins=min(40, max(5, len(errors) // 4)), color=COLOURS[0])
    if len(errors):
        axes.axvline(errors.mean(), color=COLOURS[1], linewidth=1, label=f"mean {errors.mean():.4g}")
        axes.legend(frameon=False, fontsize=8)
    style(axes, "relative L2 error", "samples")
    return save(figure, folder / f"{prefix}error_histogram.png")


def error_over_time(evaluation: FieldEvaluation, folder: Path, prefix: str = "") -> Path:
    """Relative L2 errors along a rollout: the mean with its interval, the median, and the largest."""
    steps = [evaluation.at(step) for step in range(evaluation.steps)]
    unit = evaluation.time_step or 1.0
    times = unit * np.arange(1, evaluation.steps + 1)
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(
        times, [entry.mean for entry in steps], color=COLOURS[0], marker="o", markersize=3, label="mean"
    )
    low = [entry.mean if entry.low is None else entry.low for entry in steps]
    high = [entry.mean if entry.high is None else entry.high for entry in steps]
    axes.fill_between(times, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
    axes.plot(times, [entry.median for entry in steps], color=COLOURS[2], linewidth=0.8, label="median")
    axes.plot(times, [entry.largest for entry in steps], color=COLOURS[1], linewidth=0.8, label="largest")
    axes.legend(frameon=False, fontsize=8)
    style(axes, "time from the first prediction on", "relative L2 error")
    return save(figure, folder / f"{prefix}error_over_time.png")


def _lines(axes: list[Axes], example: Example, evaluation: FieldEvaluation) -> None:
    (points,) = evaluation.grid.coordinates
    reference, prediction = example.reference[0], example.prediction[0]
    axes[0].plot(points, reference, color="#999999", linewidth=2, label="reference")
    axes[0].plot(points, prediction, color=COLOURS[0], linewidth=1, label="prediction")
    axes[0].legend(frameon=False, fontsize=7)
    axes[1].plot(points, prediction - reference, color=COLOURS[1], linewidth=1)
    style(axes[0], evaluation.grid.names[0], "")
    style(axes[1], evaluation.grid.names[0], "prediction - reference")


def _maps(axes: list[Axes], example: Example, evaluation: FieldEvaluation) -> None:
    reference, prediction = (_plane(values) for values in (example.reference[0], example.prediction[0]))
    difference = prediction - reference
    low, high = float(reference.min()), float(reference.max())
    sizes = np.abs(difference)
    most = float(sizes[np.isfinite(sizes)].max(initial=0)) or 1.0
    panels = (
        (reference, "reference", "viridis", low, high),
        (prediction, "prediction", "viridis", low, high),
        (difference, "prediction - reference", "RdBu_r", -most, most),
    )
    x, y = evaluation.grid.coordinates[:2]
    for place, (values, name, colours, least, largest) in zip(axes, panels, strict=True):
        image = place.imshow(
            values.T,
            origin="lower",
            cmap=colours,
            vmin=least,
            vmax=largest,
            extent=(x[0], x[-1], y[0], y[-1]),
            aspect="auto",
        )
        place.figure.colorbar(image, ax=place, shrink=0.9).ax.tick_params(labelsize=7)
        style(place, f"{evaluation.grid.names[0]} ({name})", evaluation.grid.names[1])


def _plane(values: np.ndarray) -> np.ndarray:
    return values if values.ndim == 2 else values[:, :, values.shape[2] // 2]
