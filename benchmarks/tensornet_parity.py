"""Does TensorNet equal torchmd-net at the width that it is used with?

    python benchmarks/tensornet_parity.py --peer-python PATH/TO/torchmd-net-environment/bin/python

Run with sciten's Python. In the peer environment (torchmd-net and safetensors) it builds checkpoints with random
weights, has torchmd-net predict molecules, charged molecules and crystals in float64 and float32, and converts the
checkpoints by `workflows/convert_torchmdnet.py`. sciten then predicts the same structures, both differentiably and
with fixed weights. Writes the largest differences to benchmarks/results/tensornet_parity.json and fails where one
exceeds its tolerance.

torchmd-net comes with two implementations of its layers. Its plain torch operations are what the tolerances are about;
its Warp kernels, which have a third in float32 whatever the dtype, are compared as well, and for the record how far
they are from the plain ones.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch
from tqdm import tqdm

import sciten
from sciten.datasets.graphs import batch_from_ase
from sciten.files import write_text
from sciten.potentials import Potential, load_potential

ROOT = Path(__file__).parents[1]
#: Energies in eV per atom, forces in eV/Å.
TOLERANCES = {
    "plain float64": {"energy": 1e-9, "forces": 1e-9},
    "plain float32": {"energy": 1e-5, "forces": 1e-4},
    "warp float64": {"energy": 1e-7, "forces": 1e-6},
    "warp float32": {"energy": 1e-5, "forces": 1e-4},
}
MODELS = (
    "o3_1_layer",
    "o3_2_layers",
    "o3_3_layers",
    "o3_2_layers_charges",
    "so3_2_layers",
    "so3_2_layers_charges",
    "o3_2_layers_crystals",
    "so3_1_layer_crystals",
)


def make(peer: str, name: str, operations: str, folder: Path) -> None:
    """Have the peer environment make and convert a checkpoint, with one of its implementations."""
    option = ["--operations", operations]
    make_fixtures = ROOT / "tests/potentials/tensornet/make_fixtures.py"
    scripts: dict[str, list[str | Path]] = {
        "make": [make_fixtures, folder, *option, "--full-width", name],
        "convert": [
            ROOT / "workflows/convert_torchmdnet.py",
            folder / f"{name}.ckpt",
            folder / name,
            *option,
        ],
    }
    for what, command in scripts.items():
        run = subprocess.run([peer, *map(str, command)], capture_output=True, text=True, check=False)
        if run.returncode:
            raise SystemExit(f"{name}: could not {what} the model in the peer environment:\n{run.stderr}")


def differences(model: Potential, entries: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of energies per atom and of forces: largest difference from torchmd-net, and largest value."""
    found = {key: {"difference": 0.0, "largest": 0.0} for key in ("energy", "forces")}
    for entry in entries:
        keys = ("numbers", "positions", "cell", "pbc", "info")
        atoms = ase.Atoms(**{key: entry[key] for key in keys})
        (fixed,) = model.evaluate([atoms])
        full = model(batch_from_ase([atoms], model.cutoff))
        ours = {
            "energy": [value / len(atoms) for value in (fixed["energy"], float(full.energy.detach()))],
            "forces": [fixed["forces"], full.forces.detach().numpy()],
        }
        theirs = {"energy": entry["energy"] / len(atoms), "forces": np.asarray(entry["forces"])}
        for key, values in ours.items():
            errors = [float(np.abs(value - theirs[key]).max()) for value in values]
            found[key]["difference"] = max(found[key]["difference"], *errors)
            found[key]["largest"] = max(found[key]["largest"], float(np.abs(theirs[key]).max()))
    return found


def compare(peer: str, name: str, folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Differences of one model by implementation and precision, and the provenance of the conversion."""
    result: dict[str, Any] = {}
    energies = {}
    for operations in ("plain", "warp"):
        place = folder / operations
        make(peer, name, operations, place)
        said = json.loads((place / f"{name}.json").read_text(encoding="utf-8"))
        for precision in ("float64", "float32"):
            model = load_potential(place / name, dtype=getattr(torch, precision))
            result[f"{operations} {precision}"] = differences(model, said[precision])
        energies[operations] = [entry["energy"] / len(entry["numbers"]) for entry in said["float64"]]
        result["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    largest = float(np.abs(np.subtract(energies["plain"], energies["warp"])).max())
    result["torchmd-net plain and warp, float64"] = {"energy": {"difference": largest}}
    document = json.loads((folder / "plain" / name / "model.json").read_text(encoding="utf-8"))
    return result, document["provenance"]


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Compare TensorNet with torchmd-net at full width.")
    parser.add_argument(
        "--peer-python", required=True, help="Python of an environment with torchmd-net and safetensors"
    )
    parser.add_argument("--models", nargs="*", choices=MODELS, default=MODELS, help="default: all")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks/results/tensornet_parity.json")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in tqdm(options.models, disable=None):
            results[name], provenance = compare(options.peer_python, name, Path(temporary))
            row = "  ".join(
                f"{kind} {results[name][kind]['energy']['difference']:.1e}" for kind in TOLERANCES
            )
            tqdm.write(f"{name:22s} largest difference in eV per atom: {row}")
    document = {
        "question": "largest difference from torchmd-net; eV per atom, eV/Å",
        "tolerances": TOLERANCES,
        "versions": {
            "sciten": sciten.__version__,
            "torchmd-net": provenance["torchmd_net"],
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "models": results,
    }
    write_text(options.json, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    failed = [
        f"{name} ({kind})"
        for name, result in results.items()
        for kind, tolerances in TOLERANCES.items()
        if not all(result[kind][key]["difference"] <= tolerance for key, tolerance in tolerances.items())
    ]
    print(
        f"{options.json}: " + (f"beyond tolerance: {', '.join(failed)}" if failed else "all within tolerance")
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
