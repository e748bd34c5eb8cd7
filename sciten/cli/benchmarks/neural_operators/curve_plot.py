"""A picture of error against the number of parameters, for each format and for smaller dense operators."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sciten.cli.benchmarks.neural_operators import curves
from sciten.cli.benchmarks.neural_operators.candidates import FORMATS
from sciten.cli.benchmarks.neural_operators.navier_stokes import MEASURED
from sciten.files import write_bytes


def plot(document: Mapping[str, Any], path: Path) -> None:
    """Write a picture with a column of panels for each viscosity and a row for each error."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = curves.of(document)
    figure = Figure(figsize=(12, 8), layout="constrained")
    panels = figure.subplots(len(MEASURED), max(1, len(found)), sharex=True, squeeze=False)
    for column, (viscosity, kinds) in zip(panels.T, found.items(), strict=False):
        for panel, title in zip(column, MEASURED.values(), strict=True):
            for kind, cases in kinds.items():
                line = "o-" if kind in FORMATS else "s"
                panel.errorbar(*points(cases, title), fmt=line, capsize=3, markersize=5, label=kind)
            panel.set(xscale="log", yscale="log", title=f"ν = {viscosity}, {title}")
        column[-1].set_xlabel("parameters in all")
    for panel in panels[:, 0]:
        panel.set_ylabel("relative L2 error")
    panels[0, 0].legend(fontsize=8)
    picture = io.BytesIO()
    FigureCanvasAgg(figure).print_png(picture)
    write_bytes(path, picture.getvalue())


def points(cases: Sequence[curves.Case], title: str) -> tuple[list[int], list[float], list[float]]:
    """Numbers of parameters, mean errors, and their standard deviations over seeds."""
    errors = [case["errors"][title] for case in cases]
    return (
        [case["programs"]["sciten"]["parameters"] for case in cases],
        [error["mean"] for error in errors],
        [error["spread"] for error in errors],
    )
