"""The electrostatic potential of a molecule's charges in a box, in a low-rank format, held against the closed form.

Each atom carries a Gaussian charge; the potential of such a charge is known, q erf(r / (√2 σ)) / r, and gives the
values on the faces of the box. So -∇²φ = 4πρ is solved on n³ points without ever forming n³ numbers, and its error is
known. The charge and the potential are stored in HDF5; a second run reads what is there.
"""

import hashlib
from dataclasses import dataclass
from math import pi, sqrt
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from ase.units import Bohr, Hartree
from torch import Tensor

from sciten.datasets import AtomsDataset, read_tensor, tensor_attributes, tensor_names, write_tensor
from sciten.errors import DataError
from sciten.pde import Dirichlet, ExponentialSums, Grid, Problem, laplacian, solve
from sciten.tensor import CP, TensorTrain
from workflows import script

ROOT = Path(__file__).parents[1]
COULOMB = Hartree * Bohr  # e²/(4π ε0), eV Å
#: Partial charges in e by atomic number, of the size that force fields give; hydrogens balance them.
CHARGES = {6: -0.10, 7: -0.40, 8: -0.60}
WIDTH = 0.5  # Å, standard deviation of the Gaussians


@dataclass(frozen=True)
class Charges:
    """Gaussian charges.

    Args:
        positions: `[n, 3]`, Å.
        values: `[n]`, e.
        width: standard deviation, Å.
    """

    positions: Tensor
    values: Tensor
    width: float

    def digest(self) -> str:
        """Of all that the potential follows from, so that results are not taken for those of other charges."""
        parts = (self.positions, self.values, torch.tensor(self.width))
        return hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()

    def density(self, grid: Grid) -> CP:
        """e/Å³ on the points of a grid: one outer product for each atom."""
        factors = []
        for axis, points in enumerate(grid.points()):
            distance = points[:, None] - self.positions[:, axis]
            factors.append(torch.exp(-distance.square() / (2 * self.width**2)) / sqrt(2 * pi) / self.width)
        return CP(self.values, tuple(factors))

    def potential(self, places: Tensor) -> Tensor:
        """In V at places `[n_places, 3]`: the closed form in free space."""
        r = torch.cdist(places, self.positions)
        near = r < 1e-6 * self.width
        ratio = torch.erf(r / (sqrt(2) * self.width)) / torch.where(near, 1.0, r)
        return COULOMB * torch.where(near, sqrt(2 / pi) / self.width, ratio) @ self.values


def main(
    dataset: Annotated[Path, typer.Option(help="HDF5 file of structures.")] = ROOT / "data/molecules_test.h5",
    frame: Annotated[int, typer.Option(min=0, help="Which structure of it.")] = 0,
    points: Annotated[int, typer.Option(min=8, help="Points in each direction.")] = 255,
    margin: Annotated[float, typer.Option(min=1.0, help="Å from the molecule to the faces.")] = 5.0,
    tolerance: Annotated[float, typer.Option(help="Of the residual.")] = 1e-6,
    output: Annotated[Path, typer.Option(help="Folder for all that is made.")] = Path("runs/electrostatics"),
) -> None:
    """Solve for the potential of a molecule's charges, and plot it with its error."""
    charges = read_charges(dataset, frame)
    output.mkdir(parents=True, exist_ok=True)
    lower, upper = charges.positions.min(0).values - margin, charges.positions.max(0).values + margin
    bounds = list(zip(lower.tolist(), upper.tolist(), strict=True))
    grid = Grid.uniform(bounds, points, Dirichlet(charges.potential))
    density = charges.density(grid)
    record = {
        "dataset": dataset.name,
        "frame": frame,
        "points": points,
        "margin": margin,
        "tolerance": tolerance,
    }
    file = output / "potential.h5"
    potential = stored(file, record)
    if potential is None:
        print(f"solving on {points}³ points, {len(charges.values)} charges", flush=True)
        # In units of V: 4π e²/(4π ε0) is what a charge density in e/Å³ is multiplied by.
        problem = Problem(-laplacian(grid), density * (4 * pi * COULOMB))
        solution = solve(problem, solver=ExponentialSums(tolerance, progress=True))
        if not solution.converged or not isinstance(solution.field, TensorTrain):
            raise typer.Exit(f"not converged: residual {solution.residual:.1e}; {solution.message}")  # type: ignore[arg-type]
        potential = solution.field
        facts = {**record, "residual": solution.residual, "seconds": solution.seconds}
        write_tensor(file, density, "density", attributes={**record, "units": "e/Å³"}, replace=True)
        write_tensor(file, potential, "potential", attributes={**facts, "units": "V"}, replace=True)
        print(f"residual {solution.residual:.1e} after {solution.seconds:.1f} s: {solution.message}")
    error = largest_error(potential, charges, grid)
    print(f"{potential!r}\nlargest error against the closed form: {error:.2e} V")
    plot(potential, charges, grid, output / "potential.png")
    print(f"{output}: potential.h5, potential.png")


def read_charges(dataset: Path, frame: int) -> Charges:
    """The charges of a structure: those of the table, and hydrogens that make it neutral."""
    with AtomsDataset(dataset) as structures:
        atoms = structures[frame].to_ase()
    hydrogens = atoms.numbers == 1
    unknown = set(atoms.numbers[~hydrogens].tolist()) - set(CHARGES)
    if unknown or not hydrogens.any():
        raise DataError(
            f"{dataset}, frame {frame}: expected hydrogens and elements of the numbers {sorted(CHARGES)}, got "
            f"{atoms.get_chemical_formula()}"
        )
    values = np.array([CHARGES.get(number, 0.0) for number in atoms.numbers])
    values[hydrogens] = -values.sum() / hydrogens.sum()
    positions = torch.from_numpy(atoms.get_positions() - atoms.get_center_of_mass())
    return Charges(positions, torch.from_numpy(values), WIDTH)


def stored(file: Path, record: dict[str, object]) -> TensorTrain | None:
    """The potential of an earlier run with the same settings."""
    if not file.exists() or "potential" not in tensor_names(file):
        return None
    attributes = tensor_attributes(file, "potential")
    if any(attributes.get(name) != value for name, value in record.items()):
        return None
    print(f"{file} holds this potential already")
    found = read_tensor(file, "potential")
    return found if isinstance(found, TensorTrain) else None


def largest_error(potential: TensorTrain, charges: Charges, grid: Grid, count: int = 20_000) -> float:
    """The largest error in V at random points."""
    generator = torch.Generator().manual_seed(0)
    indices = torch.stack([torch.randint(n, (count,), generator=generator) for n in grid.shape], -1)
    places = torch.stack([p[i] for p, i in zip(grid.points(), indices.T, strict=True)], -1)
    return float((potential.at(indices) - charges.potential(places)).abs().max())


def plot(potential: TensorTrain, charges: Charges, grid: Grid, file: Path) -> None:
    """The potential on the plane through the middle of the molecule, and its error there."""
    from matplotlib.figure import Figure

    x, y, z = grid.points()
    middle = int((z - charges.positions[:, 2].mean()).abs().argmin())
    plane = potential[:, :, middle]
    assert isinstance(plane, TensorTrain)
    values = plane.full()
    places = torch.cartesian_prod(x, y, z[middle : middle + 1])
    error = (values - charges.potential(places).reshape(len(x), len(y))).abs()
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    extent = (float(x[0]), float(x[-1]), float(y[0]), float(y[-1]))
    limit = float(values.abs().max())
    panels = (
        (left, values, "RdBu_r", (-limit, limit), "potential, V"),
        (right, error, "viridis", (None, None), "error, V"),
    )
    for axes, field, colours, (low, high), label in panels:
        image = axes.imshow(field.T.numpy(), origin="lower", extent=extent, cmap=colours, vmin=low, vmax=high)
        axes.plot(charges.positions[:, 0], charges.positions[:, 1], "k.", markersize=3)
        axes.set(xlabel="x, Å", ylabel="y, Å", title=label)
        figure.colorbar(image, ax=axes)
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    script.run(main)
