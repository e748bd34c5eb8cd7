"""The figures of a training run and of an evaluation, written as PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sciten.files import atomic_path
from sciten.training.evaluation import Evaluation
from sciten.training.task import Panel

COLOURS = ("#2f5d8a", "#c4622d", "#4f8a5b", "#8a4f7d", "#b08d2f", "#5c5c5c", "#3b9a9c", "#a83a3a")
_POINTS = 20_000  # more are drawn as a sample: nobody can tell, and the file stays small


def learning_curves(metrics: Sequence[Mapping[str, Any]], folder: Path, panels: Sequence[Panel] = ()) -> Path:
    """Loss, learning rate and what `panels` name over epochs, from the lines of metrics.jsonl."""
    loss = Panel("loss", ("train_loss", "valid_loss"), ("training", "validation"))
    everything = [loss, *panels, Panel("learning rate", ("learning_rate",), ("",))]
    shown = [panel for panel in everything if any(key in line for line in metrics for key in panel.keys)]
    rows = (len(shown) + 1) // 2
    figure = Figure(figsize=(8, 2.7 * rows), layout="constrained")
    second = next((line["epoch"] for line in metrics if line["stage"] == 2), None)
    for i, panel in enumerate(shown):
        axes = figure.add_subplot(rows, 2, i + 1)
        for key, name, colour in zip(panel.keys, panel.names, COLOURS, strict=False):
            lines = [line for line in metrics if key in line]
            axes.plot(
                [line["epoch"] for line in lines], [line[key] for line in lines], color=colour, label=name
            )
        if second is not None:
            axes.axvline(second, color="#999999", linewidth=0.8, linestyle=":")
        axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        style(axes, "epoch", panel.title)
        if len(panel.keys) > 1:
            axes.legend(frameon=False, fontsize=8)
    return save(figure, folder / "learning_curves.png")


def parity_plots(evaluation: Evaluation, folder: Path, prefix: str = "") -> list[Path]:
    """Predictions against labels, one PNG for each quantity that has labels."""
    units = {"energy_per_atom": "eV/atom", "forces": "eV/Å", "stress": "eV/Å³"}
    names = {"energy_per_atom": "energy", "forces": "force", "stress": "stress"}
    written = []
    for quantity, unit in units.items():
        groups: dict[str, list[np.ndarray]] = {}
        for config_type, reference, predicted in evaluation.pairs(quantity):
            groups.setdefault(config_type, []).append(np.stack([reference, predicted]))
        if groups:
            points = {name: np.concatenate(parts, axis=1) for name, parts in groups.items()}
            figure = _parity(points, names[quantity], unit)
            written.append(save(figure, folder / f"{prefix}parity_{names[quantity]}.png"))
    return written


def error_plot(evaluation: Evaluation, folder: Path, prefix: str = "") -> Path:
    """Root mean square errors by configuration type."""
    rows = evaluation.errors()
    panels = {"energy_per_atom_rmse": "energy RMSE (meV/atom)", "forces_rmse": "force RMSE (meV/Å)"}
    figure = Figure(figsize=(8, 1.2 + 0.32 * len(rows)), layout="constrained")
    for i, (key, title) in enumerate(panels.items()):
        axes = figure.add_subplot(1, 2, i + 1)
        values = [getattr(row, key) or 0.0 for row in rows]
        bars = axes.barh([row.config_type for row in rows], values, color=COLOURS[i], height=0.6)
        axes.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
        axes.margins(x=0.15)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        style(axes, title, "")
    return save(figure, folder / f"{prefix}error_by_config_type.png")


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, atomically."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
    return path


def _parity(points: Mapping[str, np.ndarray], name: str, unit: str) -> Figure:
    figure = Figure(figsize=(4.2, 4.0), layout="constrained")
    axes = figure.add_subplot()
    everything = np.concatenate(list(points.values()), axis=1)
    low, high = float(everything.min()), float(everything.max())
    axes.plot([low, high], [low, high], color="#999999", linewidth=0.8, zorder=0)
    for i, (config_type, pair) in enumerate(points.items()):
        step = max(1, pair.shape[1] * len(points) // _POINTS)
        axes.scatter(
            pair[0, ::step],
            pair[1, ::step],
            s=5,
            alpha=0.5,
            linewidths=0,
            color=COLOURS[i % len(COLOURS)],
            label=config_type,
        )
    rmse = 1e3 * float(np.sqrt(np.square(everything[1] - everything[0]).mean()))
    axes.set_title(f"RMSE {rmse:.2f} m{unit}", fontsize=9)
    style(axes, f"reference {name} ({unit})", f"predicted {name} ({unit})")
    axes.ticklabel_format(useOffset=False)
    axes.tick_params(axis="x", rotation=30)
    if len(points) <= len(COLOURS):
        axes.legend(frameon=False, fontsize=8, markerscale=2)
    return figure


def style(axes: Axes, x: str, y: str) -> None:
    """The look of all figures: small labels, and no frame."""
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8, which="both")
    axes.spines[["top", "right"]].set_visible(False)
