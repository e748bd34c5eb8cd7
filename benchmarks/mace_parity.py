"""Does MACE equal mace-torch at the full width of the published models?

    python benchmarks/mace_parity.py --peer-python PATH/TO/mace-environment/bin/python

Run with sciten's Python. In the peer environment (mace-torch and safetensors) it builds randomly initialised
models with the hyperparameters of MACE-MP-0, MPA-0, OMAT-0 and OFF23, has mace-torch predict molecules and
crystals in float64, and converts the models by `workflows/convert_mace.py`. sciten then predicts the same
structures, both differentiably and with fixed weights. Writes the largest differences to
benchmarks/results/mace_parity.json and fails where one exceeds its tolerance.
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
TOLERANCES = {"energy": 1e-6, "forces": 1e-5, "stress": 1e-7}  # eV, eV/Å, eV/Å³
MODELS = (
    "mp_0_small",
    "mp_0_medium",
    "mp_0_large",
    "mpa_0_medium",
    "omat_0_medium",
    "off23_small",
    "off23_medium",
    "off23_large",
)


def make(peer: str, name: str, folder: Path) -> None:
    """Have the peer environment make and convert a model."""
    scripts: dict[str, list[str | Path]] = {
        "make": [ROOT / "tests/potentials/mace/make_fixtures.py", folder, "--full-width", name],
        "convert": [ROOT / "workflows/convert_mace.py", folder / f"{name}.model", folder / name],
    }
    for what, command in scripts.items():
        run = subprocess.run([peer, *map(str, command)], capture_output=True, text=True, check=False)
        if run.returncode:
            raise SystemExit(f"{name}: could not {what} the model in the peer environment:\n{run.stderr}")


def differences(model: Potential, entries: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """For energy, forces and, with crystals, stress: largest difference from mace-torch, largest value."""
    keys = [key for key in TOLERANCES if any(key in entry for entry in entries)]
    errors = dict.fromkeys(keys, 0.0)
    sizes = dict.fromkeys(keys, 0.0)
    for entry in entries:
        atoms = ase.Atoms(**{key: entry[key] for key in ("numbers", "positions", "cell", "pbc")})
        (fixed,) = model.evaluate([atoms])
        full = model(batch_from_ase([atoms], model.cutoff), stress="stress" in entry)
        found = {"energy": full.energy[0], "forces": full.forces, "stress": full.stress}
        for key in errors.keys() & entry.keys():
            expected = np.asarray(entry[key])
            for value in (found[key].detach().numpy(), fixed[key]):
                errors[key] = max(errors[key], float(np.abs(value - expected).max()))
            sizes[key] = max(sizes[key], float(np.abs(expected).max()))
    return {key: {"difference": errors[key], "largest": sizes[key]} for key in keys}


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Compare MACE with mace-torch at full width, in float64.")
    parser.add_argument(
        "--peer-python", required=True, help="Python of an environment with mace-torch and safetensors"
    )
    parser.add_argument("--models", nargs="*", choices=MODELS, default=MODELS, help="default: all")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks/results/mace_parity.json")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in tqdm(options.models, disable=None):
            make(options.peer_python, name, folder)
            model = load_potential(folder / name, dtype=torch.float64)
            entries = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["structures"]
            parameters = sum(parameter.numel() for parameter in model.parameters())
            found = differences(model, entries)
            results[name] = {"parameters": parameters, **found}
            provenance = json.loads((folder / name / "model.json").read_text(encoding="utf-8"))["provenance"]
            row = "  ".join(f"{key} {found[key]['difference']:.1e}" for key in found)
            tqdm.write(f"{name:14s} {parameters:>10,d} parameters   largest difference: {row}")
    versions = {
        "sciten": sciten.__version__,
        "mace-torch": provenance["mace_torch"],
        "torch": torch.__version__,
    }
    document = {
        "question": "largest difference from mace-torch, float64; eV, eV/Å, eV/Å³",
        "tolerances": TOLERANCES,
        "versions": {**versions, "peer e3nn": provenance["e3nn"], "python": platform.python_version()},
        "models": results,
    }
    write_text(options.json, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    failed = [
        name
        for name, result in results.items()
        if not all(result[key]["difference"] <= TOLERANCES[key] for key in result.keys() & TOLERANCES.keys())
    ]
    print(
        f"{options.json}: " + (f"beyond tolerance: {', '.join(failed)}" if failed else "all within tolerance")
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
