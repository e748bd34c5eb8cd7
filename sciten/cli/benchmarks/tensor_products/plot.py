"""Time against expressivity: what a product costs for what it can say."""

import io
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sciten.cli.benchmarks.tensor_products.degrees import COMPARED, E3NN_MODES, OURS, QUANTITY
from sciten.cli.benchmarks.tensor_products.settings import PASSES
from sciten.files import write_bytes


def plot(document: Mapping[str, Any], path: Path) -> None:
    """Write a picture with one panel for each pass and one line for each product, labelled by L."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6), layout="constrained")
    panels = figure.subplots(1, len(PASSES), sharey=True)
    for panel, (name, words) in zip(panels, PASSES.items(), strict=True):
        for program, points in curves(document, name).items():
            degrees, expressed, times = zip(*points, strict=True)
            style = "--" if program in E3NN_MODES.values() else "-"
            (line,) = panel.plot(expressed, times, style, marker="o", markersize=3, label=program)
            for point in zip(expressed, times, degrees, strict=True):
                panel.annotate(str(point[2]), point[:2], fontsize=7, color=line.get_color())
        panel.set(xscale="log", yscale="log", title=f"{words}; numbers are L")
        panel.set_xlabel("expressivity (dimension of the bilinear maps reached)")
    panels[0].set_ylabel("ns per sample and channel")
    panels[0].legend(fontsize=8)
    figure.supxlabel(textwrap.fill(COMPARED, 160), fontsize=8)
    picture = io.BytesIO()
    FigureCanvasAgg(figure).print_png(picture)
    write_bytes(path, picture.getvalue())


def curves(document: Mapping[str, Any], name: str) -> dict[str, list[tuple[int, int, float]]]:
    """By program: (L, expressivity, ns) in the order of L, of one pass."""
    values = document["expressivity"]["values"]
    found: dict[str, list[tuple[int, int, float]]] = {}
    for case in document["cases"]:
        if case["part"] != "degrees" or case["pass"] != name:
            continue
        for program, facts in case["programs"].items():
            expressed = values[OURS if program in E3NN_MODES.values() else program][str(case["L"])]
            point = (case["L"], expressed, facts[QUANTITY]["median"])
            found.setdefault(program, []).append(point)
    return found
