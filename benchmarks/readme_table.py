"""Write the README's measured section anew, from the files in benchmarks/results/.

    python benchmarks/readme_table.py [--check]

Only what a results file says is written; a question that has none yet is left out. With --check nothing is
written, and the exit code is 1 where the README does not say what the files say.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sciten.cli.benchmarks import report as parts_report
from sciten.cli.benchmarks import tables
from sciten.cli.benchmarks.neural_operators import curves
from sciten.cli.benchmarks.tensor_products import report
from sciten.files import write_text

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

Document = Mapping[str, Any]


def speed(document: Document) -> str:
    """MACE beside other programs: times and ratios."""
    return (
        "**Speed on the CPU**: each program on the same weights and structures in the same run, interleaved; "
        "medians, and how many times as long as sciten a peer takes (`sciten benchmark mace`).\n\n"
        + tables.markdown(document).strip()
    )


def parity(document: Document) -> str:
    """Agreement with mace-torch at the full width of the published models."""
    models, versions = document["models"], document["versions"]
    largest = {
        key: max(model[key]["difference"] for model in models.values() if key in model)
        for key in document["tolerances"]
    }
    sizes = [model["parameters"] / 1e6 for model in models.values()]
    return (
        f"**The same numbers as mace-torch** {versions['mace-torch']}, in float64 on molecules and crystals: "
        f"energies within {largest['energy']:.0e} eV, forces within {largest['forces']:.0e} eV/Å, stress "
        f"within {largest['stress']:.0e} eV/Å³, for {len(models)} randomly initialised models of "
        f"{min(sizes):.1f} to {max(sizes):.1f} million parameters with the hyperparameters of MACE-MP-0, "
        "MPA-0, OMAT-0 and OFF23, converted by `workflows/convert_mace.py` (`benchmarks/mace_parity.py`)."
    )


def tensornet_parity(document: Document) -> str:
    """Agreement with torchmd-net at full width."""
    models = document["models"]

    def largest(kind: str) -> str:
        energy, forces = (
            max(model[kind][key]["difference"] for model in models.values()) for key in ("energy", "forces")
        )
        return f"energies within {energy:.0e} eV per atom and forces within {forces:.0e} eV/Å"

    sizes = [model["parameters"] / 1e6 for model in models.values()]
    return (
        f"**The same numbers as torchmd-net** {document['versions']['torchmd-net']}, on molecules and crystals, for "
        f"{len(models)} randomly initialised TensorNets of {min(sizes):.1f} to {max(sizes):.1f} million parameters, "
        f"converted by `workflows/convert_torchmdnet.py`: {largest('plain float64')} of its plain operations in "
        f"float64, {largest('warp float32')} of its Warp kernels in float32 (`benchmarks/tensornet_parity.py`)."
    )


def products(document: Document) -> str:
    """Tensor products: time by degree, beside other libraries and beside expressivity."""
    return (
        "**Tensor products on the CPU**: programs that compute the same on the same numbers and weights, in the same "
        "run, interleaved; medians (`sciten benchmark tensor-products`).\n\n"
        "![time against expressivity](benchmarks/results/tensor_products.png)\n\n"
        + report.markdown(document).strip()
    )


def accuracy(document: Document) -> str:
    """Test errors after training, beside those of others."""
    lines = [
        "| | seeds | parameters | minutes | energy, meV | forces, meV/Å |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    references = document["references"]
    kind = "mae" if references and references[0]["forces_rmse"] is None else "rmse"
    timed = all("us_per_atom" in found["mean"] for found in document["summary"].values())
    if timed:
        lines = [lines[0] + " energy + forces, µs/atom |", lines[1] + "---:|"]
    for config, found in document["summary"].items():
        cells = [
            f"{found['mean'][f'{label}_{kind}']:.1f}"
            + (f" ± {found['spread'][f'{label}_{kind}']:.1f}" if found["seeds"] > 1 else "")
            for label in ("energy", "forces")
        ]
        name = f"sciten, `{config}`" if config.endswith(".yaml") else config
        head = f"{name} | {found['seeds']} | {found['parameters']:,}"
        cells += [f"{found['mean']['us_per_atom']:.0f}"] if timed else []
        lines.append(f"| {head} | {found['mean']['wall_s'] / 60:.1f} | {' | '.join(cells)} |")
    for reference in references:
        cells = [str(reference[f"{label}_{kind}"]) for label in ("energy", "forces")]
        lines.append(f"| {reference['source']} | | | | {' | '.join(cells)} |")
    question = document["question"].partition(":")[0]
    text = f"**Accuracy, {question}**: test {kind.upper()} per frame and per force component, with the "
    text += "standard deviation over seeds; training on two threads within "
    peer = document["mace-torch"]
    minutes = document["limit_s"] / 60
    text += (
        f"{minutes:.1f} minutes, which mace-torch needed for {peer['epochs']} epochs on the same machine"
        if peer
        else f"{minutes:.0f} minutes"
    )
    command = "benchmarks/accuracy.py"
    return f"{text} (`{command}`).\n\n" + "\n".join(lines)


def low_rank_formats(document: Document) -> str:
    """Arithmetic of tensor trains, and what decompositions reach."""
    return (
        "**Low-rank formats on the CPU**, float64, beside torchTT: medians, each program with its best number of "
        "threads (`sciten benchmark tensor-formats`).\n\n" + parts_report.markdown(document)
    )


def solvers(document: Document) -> str:
    """Stationary problems beside torchTT and beside exact solutions."""
    return (
        "**Stationary problems on the CPU**, float64: every program at the largest tolerance with which its true "
        "residual is small enough, measured alike for all; medians, each with its best number of threads "
        "(`sciten benchmark pde`).\n\n" + parts_report.markdown(document)
    )


def neural_operators(document: Document) -> str:
    """Steps beside neuraloperator, accuracy on public data, and error against the number of parameters."""
    short = {
        **document,
        "cases": [case for case in document["cases"] if case["part"] in ("step", "darcy", "patching")],
    }
    parts = [
        "**Neural operators on the CPU**: training steps and forward passes beside neuraloperator on the same weights, "
        "medians, each program with its best number of threads; time of training and error on public data of Darcy's "
        "equation; and the error of an operator on patches (`sciten benchmark neural-operators`).",
        parts_report.markdown(short),
    ]
    if curves.of(document):
        parts += [
            curves.caption(document),
            "![error against parameters](benchmarks/results/neural_operators.png)",
        ]
    return "\n\n".join(part for part in [*parts, curves.markdown(document)] if part)


def patching_memory(document: Document) -> str:
    """Memory of a training step on patches."""
    finest = [
        case
        for case in document["cases"]
        if case["patches"] > 1 and case["levels"] == case["patches"].bit_length() - 1
    ]
    found = [
        f"{case['resident_given_back_times_less']:.1f} ({case['resident_times_less']:.1f}) at "
        f"{case['patches']}×{case['patches']}"
        f"{' with a padding of ' + format(case['padding'], '.0%') if case['padding'] else ''}"
        for case in finest
    ]
    return (
        f"**Memory on patches** of {document['points']}² points, one after the other, with all coarser grids: the "
        f"resident memory of a training step ({document['model']}) falls by these factors: {', '.join(found)}. This is "
        f"with `{document['allocator_of_resident_given_back']}` in the environment, and in brackets without. A step "
        f"takes {_slower(document, 2)} times as long at 2×2 and {_slower(document, 4)} at 4×4 "
        "(`benchmarks/patching_memory.py`)."
    )


def _slower(document: Document, count: int) -> str:
    """How many times as long as on whole fields a step takes at most."""
    whole = next(case["step_s"] for case in document["cases"] if case["patches"] == 1)
    return f"{max(case['step_s'] for case in document['cases'] if case['patches'] == count) / whole:.1f}"


def memory(document: Document) -> str:
    """Memory for iterating a large dataset."""
    return (
        f"**Memory.** Iterating a dataset of {document['atoms']:,} atoms in {document['frames']:,} frames "
        f"costs {document['above_imports_mb']:.0f} MB above the imports and takes "
        f"{document['iteration_s']:.1f} s (`benchmarks/datasets_memory.py`)."
    )


#: What the README reports, in this order.
REPORTED: Mapping[str, Callable[[Document], str]] = {
    "mace_speed.json": speed,
    "accuracy_acac.json": accuracy,
    "accuracy_products.json": accuracy,
    "accuracy_aspirin.json": accuracy,
    "mace_parity.json": parity,
    "tensornet_parity.json": tensornet_parity,
    "tensor_products.json": products,
    "tensor_formats.json": low_rank_formats,
    "pde.json": solvers,
    "neural_operators.json": neural_operators,
    "patching_memory.json": patching_memory,
    "datasets_memory.json": memory,
}


def measured(results: Path) -> str:
    """The section, from the results files that are there."""
    present = [(results / name, render) for name, render in REPORTED.items() if (results / name).is_file()]
    return "\n\n".join(render(json.loads(path.read_text(encoding="utf-8"))) for path, render in present)


def renewed(readme: str, section: str) -> str:
    """The README with `section` between the markers."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"README.md: expected the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{section}\n{END}{after}" if section else f"{before}{BEGIN}\n{END}{after}"


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the README's measured section.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if it is out of date"
    )
    options = parser.parse_args()
    path = ROOT / "README.md"
    readme = path.read_text(encoding="utf-8")
    wanted = renewed(readme, measured(ROOT / "benchmarks" / "results"))
    if wanted == readme:
        return 0
    if options.check:
        print("README.md is out of date: run python benchmarks/readme_table.py")
        return 1
    write_text(path, wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
