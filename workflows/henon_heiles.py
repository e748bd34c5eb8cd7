"""The ground state of the Hénon-Heiles Hamiltonian in many dimensions.

H = ½ Σ_k (-∂²/∂q_k² + q_k²) + λ Σ_k (q_k² q_(k+1) - q_(k+1)³ / 3), k from 1 to f, the benchmark of Nest and Meyer (J.
Chem. Phys. 117, 10499 (2002)), here by DMRG on tensor trains over the sine DVR (Colbert and Miller, J. Chem. Phys. 96,
1982 (1992)). Energies and states are stored in HDF5 as they come; a run that was stopped goes on with the next
dimension.
"""

import json
from math import pi
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from sciten.datasets import read_tensor, tensor_attributes, tensor_names, write_tensor
from sciten.files import write_text
from sciten.pde import DMRG, Grid, Operator, local_operator, potential
from sciten.pde.assemble import assemble
from sciten.tensor import TensorTrain
from workflows import script

COUPLING = 0.111803
HALF_WIDTH = 9.0


def main(
    dimensions: Annotated[
        list[int] | None, typer.Option(min=1, help="Which f; may be given several times (default: 2 to 10).")
    ] = None,
    points: Annotated[int, typer.Option(min=4, help="Of the sine DVR, in each dimension.")] = 32,
    tolerance: Annotated[float, typer.Option(help="Of the residual ‖Hψ - Eψ‖.")] = 1e-6,
    output: Annotated[Path, typer.Option(help="Folder for all that is made.")] = Path("runs/henon_heiles"),
) -> None:
    """Find ground states, and plot how their ranks and energies grow with the dimension."""
    chosen = sorted(set(dimensions or range(2, 11)))
    output.mkdir(parents=True, exist_ok=True)
    file = output / "states.h5"
    rows = []
    for f in chosen:
        row = stored(file, f, points, tolerance)
        if row is None:
            row = ground_state(file, f, points, tolerance)
        rows.append(row)
        print(
            f"f = {f:2d}: E = {row['energy']:.10f}, residual {row['residual']:.1e}, ranks up to {row['rank']}, "
            f"{row['seconds']:.1f} s" + ("" if row["converged"] else f" NOT CONVERGED: {row['message']}"),
            flush=True,
        )
    write_text(output / "energies.json", json.dumps(rows, indent=1) + "\n")
    plot(rows, output / "energies.png")
    print(f"{output}: states.h5, energies.json, energies.png")
    if not all(row["converged"] for row in rows):
        raise typer.Exit(1)


def hamiltonian(f: int, points: int) -> Operator:
    """H on the points of the sine DVR."""
    grid = Grid.uniform([(-HALF_WIDTH, HALF_WIDTH)] * f, points)
    kinetic = sine_dvr_kinetic(points, 2 * HALF_WIDTH)
    q = torch.diag(grid.points()[0])
    total = potential(grid, 0.0)
    for k in range(f):
        own = kinetic + 0.5 * q @ q
        if k > 0:
            own = own - COUPLING / 3 * q @ q @ q
            total = total + COUPLING * local_operator(grid, {k - 1: q @ q, k: q})
        total = total + local_operator(grid, {k: own})
    return total


def sine_dvr_kinetic(n: int, length: float) -> Tensor:
    """-½ ∂² in the basis of the n lowest sines on an interval, at its n inner points: `[n, n]`."""
    k = torch.arange(1, n + 1, dtype=torch.float64)
    sines = (2 / (n + 1)) ** 0.5 * torch.sin(pi * k[:, None] * k / (n + 1))
    return sines @ torch.diag(0.5 * (pi * k / length) ** 2) @ sines


def ground_state(file: Path, f: int, points: int, tolerance: float) -> dict[str, object]:
    """Find one ground state and store it."""
    operator = assemble(hamiltonian(f, points)).matrix
    state = DMRG(tolerance, progress=True).lowest(operator)[0]
    row: dict[str, object] = {
        "f": f,
        "points": points,
        "tolerance": tolerance,
        "energy": state.energy,
        "residual": state.residual,
        "converged": state.converged,
        "message": state.message,
        "rank": max(state.ranks),
        "seconds": state.seconds,
    }
    write_tensor(file, state.field, f"f={f}", attributes=row, replace=True)
    return row


def stored(file: Path, f: int, points: int, tolerance: float) -> dict[str, object] | None:
    """What an earlier run with the same settings found, if it converged."""
    if not file.exists() or f"f={f}" not in tensor_names(file):
        return None
    row = tensor_attributes(file, f"f={f}")
    wanted = {"points": points, "tolerance": tolerance, "converged": True}
    if any(row.get(name) != value for name, value in wanted.items()):
        return None
    state = read_tensor(file, f"f={f}")
    return row if isinstance(state, TensorTrain) and state.shape == (points,) * f else None


def plot(rows: list[dict[str, object]], file: Path) -> None:
    """Energies per dimension and ranks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    f = [float(str(row["f"])) for row in rows]
    left.plot(f, [float(str(row["energy"])) / n for row, n in zip(rows, f, strict=True)], "o-")
    left.set(xlabel="dimensions f", ylabel="ground-state energy / f")
    right.plot(f, [float(str(row["rank"])) for row in rows], "o-")
    right.set(xlabel="dimensions f", ylabel="largest rank")
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    script.run(main)
