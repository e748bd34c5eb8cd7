"""The main job from end to end: train, evaluate, verify and run a potential, and gather it all in one folder.

The training set is three molecules at 300 K. The test set has other trajectories at 300 K, and at 600 K,
which training never sees. It takes less than ten minutes on two cores; training goes on where it was stopped.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from ase import Atoms
from matplotlib.figure import Figure

from sciten.datasets import AtomsDataset
from sciten.potentials import load_potential
from sciten.simulation import NVE, Trajectory, Verification, run_md, verify
from sciten.simulation.verify.dynamics import Drift, linear_drift
from sciten.training import Evaluation, evaluate, read_config, train
from sciten.training.plots import error_plot, parity_plots, save
from sciten.training.report import Section, write_report
from sciten.training.run import training_sections
from workflows import script

ROOT = Path(__file__).parents[1]
TEMPERATURE = 300.0  # K, at the start of the dynamics
TIME_STEP = 0.5  # fs
STORED_EVERY = 5  # steps


def main(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE ...]", help="Training settings to change.")
    ] = None,
    config: Annotated[Path, typer.Option(help="Training settings.")] = ROOT / "workflows/configs/demo.yaml",
    train_file: Annotated[Path, typer.Option(help="Training set.")] = ROOT / "data/molecules_train.h5",
    test_file: Annotated[Path, typer.Option(help="Test set.")] = ROOT / "data/molecules_test.h5",
    output: Annotated[Path, typer.Option(help="Folder for all that is made.")] = Path("runs/demo"),
    picoseconds: Annotated[float, typer.Option(min=0.1, help="Length of the dynamics.")] = 5.0,
) -> None:
    """Train a MACE potential on bundled data, evaluate it, verify it, and run molecular dynamics with it."""
    started = time.perf_counter()
    torch.set_num_threads(1)  # ten atoms are too few to share: threads would only wait for each other
    settings = read_config(config, [f"train_file={train_file}", f"output={output}", *(overrides or [])])

    announce(f"1/4 training on {train_file.name}")
    trained = train(settings)
    if not trained.finished:
        raise typer.Exit(143)

    announce(f"2/4 testing on {test_file.name}")
    test = evaluate(load_potential(output), test_file, model_name=str(output), progress=True)
    test.write(output, prefix="test_")
    figures = draw_errors(test, output)

    announce("3/4 verifying")
    molecule = first_frame(test_file)
    verification = verify(output, [molecule, in_a_box(molecule)], progress=True)
    verification.write_json(output / "verification.json")

    announce("4/4 molecular dynamics at constant energy")
    trajectory = run_nve(output, molecule, picoseconds)
    drift, drift_figure = energy_drift(trajectory)
    conservation = (
        f"{molecule.get_chemical_formula()}, {picoseconds:g} ps in steps of {TIME_STEP} fs, in float64: "
        f"the total energy drifts by {drift.slope:.1g} ± {2 * drift.error:.1g} meV per atom and ps."
    )

    sections = [
        *training_sections(settings, None),
        Section("Test", "Other trajectories. Training never saw 600 K.", test.rows(), figures),
        Section("Verification", verdict(verification), check_rows(verification)),
        Section("Molecular dynamics", conservation, figures=[drift_figure.name]),
    ]
    write_report(output / "report.html", "sciten: the main job", sections)

    announce(f"\n{test_file.name}, training never saw 600 K:\n{test.table()}")
    announce(f"\n{verification}\n\n{conservation}\n")
    announce(f"{output}: model/, report.html with its plots, metrics.jsonl, {trajectory.name} (H5MD)")
    training, everything = trained.seconds / 60, (time.perf_counter() - started) / 60
    announce(f"{trained.epochs} epochs in {training:.1f} minutes, everything in {everything:.1f} minutes")
    if not verification.passed:
        raise typer.Exit(1)


def announce(text: str) -> None:
    """Print at once, so that it stands above the progress bars that follow."""
    print(text, flush=True)


def draw_errors(test: Evaluation, folder: Path) -> list[str]:
    """Errors by configuration type, and parity plots by molecule: together, their energies are three dots."""
    figures = [error_plot(test, folder, "test_")]
    for name in sorted({entry.config_type.split("_")[0] for entry in test.comparisons}):
        entries = tuple(entry for entry in test.comparisons if entry.config_type.startswith(f"{name}_"))
        figures += parity_plots(replace(test, comparisons=entries), folder, f"test_{name}_")
    return [figure.name for figure in figures]


def first_frame(file: Path) -> Atoms:
    """The first frame of a dataset."""
    with AtomsDataset(file) as dataset:
        return dataset[int(dataset.frames[0])].to_ase()


def in_a_box(molecule: Atoms) -> Atoms:
    """A molecule in a periodic box, with its images near enough to be felt: for the checks of stress."""
    atoms = Atoms(molecule.numbers, molecule.positions, pbc=True)
    atoms.center(vacuum=1.25)
    return atoms


def run_nve(model: Path, molecule: Atoms, picoseconds: float) -> Path:
    """Molecular dynamics at constant energy, with velocities drawn at 300 K; returns the trajectory."""
    trajectory = model / "nve.h5"
    run_md(
        molecule,
        load_potential(model, dtype=torch.float64),
        NVE(),
        steps=round(1e3 * picoseconds / TIME_STEP),
        timestep=TIME_STEP,
        initial_temperature=TEMPERATURE,
        output=trajectory,
        interval=STORED_EVERY,
        overwrite=True,
        progress=True,
    )
    return trajectory


def energy_drift(trajectory: Path) -> tuple[Drift, Path]:
    """The drift of the total energy (meV per atom and ps), and a figure of it beside the trajectory."""
    with Trajectory(trajectory) as frames:
        times = frames.times * 1e-3
        n_atoms = len(frames[0])
        potential, kinetic = (
            1e3 * frames.observable(f"{name}_energy") / n_atoms for name in ("potential", "kinetic")
        )
    total = potential + kinetic
    drift = linear_drift(total, times[1] - times[0])
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(times, total - total.mean(), color="#9db8d2", linewidth=0.6, label="total")
    line = drift.slope * (times - times.mean())
    left.plot(times, line, color="#c4622d", label=f"drift: {drift.slope:.1g} meV/atom/ps")
    right.plot(times, kinetic - kinetic.mean(), color="#c4622d", linewidth=0.6, label="kinetic")
    right.plot(times, potential - potential.mean(), color="#2f5d8a", linewidth=0.6, label="potential")
    for axes in (left, right):
        axes.set_xlabel("time (ps)")
        axes.set_ylabel("energy less its mean (meV/atom)")
        axes.legend(frameon=False, fontsize=8, loc="upper left", ncols=2)
        axes.margins(y=0.2)
    return drift, save(figure, trajectory.with_name("nve_energy.png"))


def verdict(verification: Verification) -> str:
    """The outcome of a verification in one sentence."""
    failed = [result.name for result in verification.failures]
    return f"Failed: {', '.join(failed)}." if failed else "Every check passed."


def check_rows(verification: Verification) -> list[list[str]]:
    """The checks as a table for the report."""
    rows = [["check", "verdict", "deviation", "tolerance", "unit"]]
    for entry in verification.results:
        numbers = ["" if value is None else f"{value:.2g}" for value in (entry.value, entry.tolerance)]
        rows.append([entry.name, str(entry.status), *numbers, entry.unit])
    return rows


if __name__ == "__main__":
    script.run(main)
