"""The ground state of the Hénon-Heiles Hamiltonian in many dimensions.

The lowest state of the well at the origin (see `sciten.pde.hamiltonians`), by DMRG on tensor trains that follows it
from the ground state of uncoupled oscillators. Energies and states are stored in HDF5 as they come; a run that was
stopped goes on with the next dimension.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from sciten.datasets import read_tensor, tensor_attributes, tensor_names, write_tensor
from sciten.files import write_text
from sciten.pde import DMRG
from sciten.pde.assemble import assemble
from sciten.pde.hamiltonians import gaussian, henon_heiles
from sciten.tensor import TensorTrain
from workflows import script


def main(
    dimensions: Annotated[
        list[int] | None, typer.Option(min=1, help="Which f; may be given several times (default: 2 to 10).")
    ] = None,
    points: Annotated[int, typer.Option(min=4, help="Of the sine DVR, in each dimension.")] = 32,
    # The well at the origin is not quite closed: beyond this its state mixes with those of the deeper wells.
    tolerance: Annotated[float, typer.Option(help="Of the residual ‖Hψ - Eψ‖, relative to E.")] = 2e-6,
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


def ground_state(file: Path, f: int, points: int, tolerance: float) -> dict[str, object]:
    """Find one ground state and store it."""
    operator = henon_heiles(f, points=points)
    search = DMRG(tolerance, follow=True, progress=True)
    state = search.lowest(assemble(operator).matrix, start=gaussian(operator.grid))[0]
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
