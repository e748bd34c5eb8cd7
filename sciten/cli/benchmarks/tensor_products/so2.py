"""SO(2) products along edges, rotations included, beside fairchem's and beside e3nn's fully connected convolution."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sciten.cli.benchmarks.summary import first_call, ratios, target
from sciten.cli.benchmarks.tensor_products.degrees import e3nn_programs, fastest_e3nn
from sciten.cli.benchmarks.tensor_products.rows import Measurer, Program
from sciten.cli.benchmarks.tensor_products.settings import PASSES, SO2_TARGET, So2Case
from sciten.equivariant.products.so2 import SO2Product

OURS, FAIRCHEM = "sciten", "fairchem"


def measure(measurer: Measurer) -> list[dict[str, Any]]:
    """Beside fairchem, and without radial factors beside e3nn's fully connected convolution."""
    cases = measurer.settings.so2
    found = [_beside_fairchem(measurer, case) for case in cases]
    return [*found, _beside_fully_connected(measurer, cases[0])]


def _beside_fairchem(measurer: Measurer, case: So2Case) -> dict[str, Any]:
    """Messages with shared weights and radial factors of each edge; the target is for the first case."""
    settings = measurer.settings
    inputs = str(write_inputs(case, measurer.folder / "so2.npz"))
    request = {**_sizes(case), "pass": case.pass_, "inputs": inputs}
    programs = [Program(OURS, "products", {"program": "SO2Product, radial", **request}, cached=True)]
    if settings.fairchem_python is not None:
        programs.append(Program(FAIRCHEM, "so2_fairchem", request, settings.fairchem_python, like=OURS))
    title = f"SO(2) product, {PASSES[case.pass_]}, lmax = {case.lmax}, mmax = {case.mmax}, {case.channels} channels"
    row = measurer.rows(title, programs, {case.pass_: {}}, "us_per_edge", case.edges)[case.pass_]
    over = ratios(row["programs"], OURS, "us_per_edge")
    targets = [first_call(row["programs"][OURS])]
    if settings.fairchem_python is None:
        row["left_out"][FAIRCHEM] = "not measured: no --fairchem-python"
    elif case == settings.so2[0]:
        targets.append(target(f"{FAIRCHEM} / {OURS}", over[FAIRCHEM], SO2_TARGET))
    head = {"part": "so2", "title": title, "pass": case.pass_, **_sizes(case)}
    return {**head, **row, "ratios": over, "targets": targets}


def write_inputs(case: So2Case, path: Path) -> Path:
    """Random features, edges, radial factors and weights, the same for all programs."""
    generator = torch.Generator().manual_seed(0)
    product = SO2Product(
        case.lmax, case.lmax, case.channels, case.channels, mmax=case.mmax, generator=generator
    )
    arrays = {
        "features": torch.randn(case.edges, (case.lmax + 1) ** 2, case.channels, generator=generator),
        "vectors": torch.randn(case.edges, 3, generator=generator),
        "radial": torch.randn(case.edges, product.radial_numel, generator=generator),
        **product.state_dict(),
    }
    np.savez(path, **{name: array.numpy() for name, array in arrays.items()})
    return path


def _beside_fully_connected(measurer: Measurer, case: So2Case) -> dict[str, Any]:
    settings = measurer.settings
    request = {"lmax": case.lmax, "channels": case.channels, "edges": case.edges}
    programs = [
        Program(OURS, "products", {"program": "SO2Product", **request}),
        *e3nn_programs(request, OURS, settings.e3nn_limit, ("eager", "script")),
    ]
    title = f"fully connected convolution, lmax = {case.lmax}, {case.channels} channels"
    rows = measurer.rows(title, programs, {"forward": {"pass": "forward"}}, "us_per_edge", case.edges)
    row = rows["forward"]
    note = "shared weights without radial factors: e3nn would need weights for each edge"
    head = {"part": "so2", "title": title, "pass": "forward", **_sizes(case), "note": note}
    over = ratios(row["programs"], OURS, "us_per_edge")
    targets = [first_call(row["programs"][OURS])]
    best = fastest_e3nn(row["programs"], "us_per_edge")
    return {**head, **row, "ratios": over, "fastest_e3nn": best, "targets": targets}


def _sizes(case: So2Case) -> dict[str, int]:
    return {name: value for name, value in asdict(case).items() if name != "pass_"}
