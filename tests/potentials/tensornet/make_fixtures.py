"""Make the parity fixtures: what torchmd-net says about structures, for models that the tests can rebuild.

Run it with the Python of a torchmd-net environment (with safetensors):

    python tests/potentials/tensornet/make_fixtures.py tests/potentials/tensornet/fixtures

Each `NAME.json` holds the arguments and constants that `workflows/convert_torchmdnet.py` read off a torchmd-net
model, structures, and torchmd-net's float64 energies and forces. The weights are not stored: `recipe` gives them
from sciten's names and shapes alone, here (written into torchmd-net's parameters) and in the tests. `training/`
holds torchmd-net's gradients of a loss for one of them. With `--full-width` checkpoints with random weights are
written instead, beside torchmd-net's predictions in float64 and float32.

torchmd-net is made to use its plain torch operations. Its Warp kernels (`--operations warp`) hold a third in float32,
which moves energies by some 1e-8 eV, and have another sign in SO(3) models (see the converter).
"""

import argparse
import importlib.util
import json
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule

ELEMENTS = (1, 6, 7, 8)
TRAINING = "charges"


def recipe(name: str, shape: Sequence[int]) -> np.ndarray:
    """The weight called `name` in sciten, float64: numbers that depend on nothing but name and shape.

    NumPy guarantees that `RandomState` never changes its stream.
    """
    values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(shape))
    if name.endswith("norm.weight"):
        return 1 + 0.2 * values
    if name.endswith("bias"):
        return 0.2 * values
    return values if name == "embedding.elements" else values / np.sqrt(shape[-1])


@dataclass(frozen=True)
class Case:
    """A model to make, and the structures to evaluate with it, their charges in `info`."""

    structures: Sequence[Atoms]
    group: str = "O(3)"
    channels: int = 8
    layers: int = 2
    radial: int = 8
    cutoff: float = 4.5
    scale: float = 1.75
    energy_unit: float = -13.6  # isolated atoms get this times their atomic number


# Structures.


def rattled(atoms: Atoms, seed: int, charge: float | None = None) -> Atoms:
    """`atoms` with random displacements (Å): nothing stays symmetric."""
    atoms = atoms.copy()
    atoms.positions += 0.15 * np.random.RandomState(seed).standard_normal((len(atoms), 3))
    atoms.info = {} if charge is None else {"charge": charge}
    return atoms


def molecules(charges: Sequence[float | None] = (None, None, None, None)) -> list[Atoms]:
    """Molecules of H, C, N, O, and an atom without neighbours."""
    names = ("H2O", "CH3OH", "CH3CONH2", "O")
    made = [molecule(name) if name != "O" else Atoms("O") for name in names]
    return [
        rattled(atoms, seed, charge) for seed, (atoms, charge) in enumerate(zip(made, charges, strict=True))
    ]


def crystals() -> list[Atoms]:
    """A triclinic cell as wide as torchmd-net asks for: twice the cutoff of 2.8 Å, with atoms outside of it."""
    cell = [[5.8, 0.0, 0.0], [0.4, 5.9, 0.0], [-0.3, 0.2, 6.1]]
    atoms = Atoms("C4O4", cell=cell, pbc=True)
    corners = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 1.5]]
    atoms.set_scaled_positions([*corners, [-0.5, 0.5, 0.5]])
    return [rattled(atoms, 0), rattled(atoms, 1)]


# Models.


CHARGED = molecules((1.0, -2.0, 0.0, -1.0))
CASES = {
    "molecules": Case(molecules()),
    "mirror": Case(molecules(), group="SO(3)"),
    "charges": Case(CHARGED, channels=4, layers=3, radial=5),
    "charges_mirror": Case(CHARGED, group="SO(3)", channels=6),
    "one_layer": Case(molecules(), channels=7, layers=1, radial=5, cutoff=3.0),
    "no_layers": Case(molecules(), channels=6, layers=0, cutoff=6.0),
    "crystals": Case(crystals(), cutoff=2.8, channels=4),
    "crystals_mirror": Case(crystals(), group="SO(3)", cutoff=2.8, channels=5, layers=1),
}
WIDE = Case(molecules(), channels=128, radial=32)
FULL_WIDTH = {
    "o3_1_layer": replace(WIDE, layers=1),
    "o3_2_layers": WIDE,
    "o3_3_layers": replace(WIDE, layers=3, channels=64, cutoff=5.0),
    "o3_2_layers_charges": replace(WIDE, structures=CHARGED),
    "so3_2_layers": replace(WIDE, group="SO(3)"),
    "so3_2_layers_charges": replace(WIDE, group="SO(3)", structures=CHARGED, cutoff=6.0),
    "o3_2_layers_crystals": replace(WIDE, structures=crystals(), cutoff=2.8),
    "so3_1_layer_crystals": replace(WIDE, group="SO(3)", structures=crystals(), cutoff=2.8, layers=1),
}


def hyperparameters(case: Case) -> dict[str, Any]:
    """torchmd-net's settings of a case."""
    return {
        "model": "tensornet",
        "precision": 64,
        "embedding_dimension": case.channels,
        "num_layers": case.layers,
        "num_rbf": case.radial,
        "rbf_type": "expnorm",
        "trainable_rbf": False,
        "activation": "silu",
        "cutoff_lower": 0.0,
        "cutoff_upper": case.cutoff,
        "max_z": 20,
        "max_num_neighbors": 64,
        "equivariance_invariance_group": case.group,
        "atom_filter": -1,
        "prior_model": "Atomref",
        "prior_args": {"max_z": 20},
        "output_model": "Scalar",
        "reduce_op": "add",
        "derivative": True,
    }


def use_plain_operations() -> None:
    """Have torchmd-net fall back as it does where Warp is missing, in its layers alone."""
    import torchmdnet.extensions.ops  # noqa: F401  (neighbour lists, which keep their kernels)

    sys.modules["torchmdnet.extensions.warp_ops"] = None  # type: ignore[assignment]


def build(case: Case) -> Any:
    """The torchmd-net model of a case, float64, with torchmd-net's own initial weights."""
    from torchmdnet.models.model import create_model

    model = create_model(hyperparameters(case), std=torch.tensor(case.scale))
    with torch.no_grad():
        for z in ELEMENTS:
            model.prior_model[0].atomref.weight[z] = case.energy_unit * z
    return model


def fill(model: Any, case: Case) -> None:
    """Write the recipe's weights into torchmd-net's parameters."""
    tool = converter()
    shapes = {name: value.shape for name, value in tool.convert(model, hyperparameters(case)).weights.items()}
    weights = {name: torch.from_numpy(recipe(name, shape)) for name, shape in shapes.items()}
    parameters = dict(model.named_parameters())
    embedding = "representation_model.tensor_embedding"
    with torch.no_grad():
        parameters[f"{embedding}.emb.weight"][list(ELEMENTS)] = weights.pop("embedding.elements")
        for part in ("weight", "bias"):
            pieces = weights.pop(f"embedding.radial.linear.{part}").chunk(3)
            for n, piece in enumerate(pieces, 1):
                parameters[f"{embedding}.distance_proj{n}.{part}"].copy_(piece)
        places = tool.places(case.layers)
        for name, weight in weights.items():
            module, _, part = name.rpartition(".")
            parameters[f"{places[module]}.{part}"].copy_(weight)


def predict(model: Any, atoms: Atoms) -> tuple[torch.Tensor, torch.Tensor]:
    """torchmd-net's energy `[1, 1]` and forces."""
    dtype = model.std.dtype
    charge = atoms.info.get("charge")
    return model(  # type: ignore[no-any-return]
        torch.from_numpy(atoms.numbers),
        torch.tensor(atoms.positions, dtype=dtype),
        box=torch.tensor(atoms.cell[:], dtype=dtype) if atoms.pbc.all() else None,
        q=None if charge is None else torch.tensor([charge], dtype=dtype),
    )


def predictions(model: Any, case: Case) -> list[dict[str, Any]]:
    """Structures with torchmd-net's energy and forces."""
    result = []
    for atoms in case.structures:
        energy, forces = predict(model, atoms)
        entry = {
            "numbers": atoms.numbers.tolist(),
            "positions": atoms.positions.tolist(),
            "cell": atoms.cell[:].tolist(),
            "pbc": atoms.pbc.tolist(),
            "info": atoms.info,
            "energy": float(energy.detach()),
            "forces": forces.tolist(),
        }
        result.append(entry)
    return result


def converter() -> Any:
    """`workflows/convert_torchmdnet.py` as a module."""
    path = Path(__file__).parents[3] / "workflows" / "convert_torchmdnet.py"
    spec = importlib.util.spec_from_file_location("convert_torchmdnet", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is missing")
    module = importlib.util.module_from_spec(spec)
    sys.modules["convert_torchmdnet"] = module
    spec.loader.exec_module(module)
    return module


def make_case(name: str, folder: Path) -> None:
    """Write `NAME.json`."""
    case = CASES[name]
    model = build(case).eval()
    fill(model, case)
    converted = converter().convert(model, hyperparameters(case))
    head = {
        "arguments": converted.arguments,
        "buffers": {key: value.tolist() for key, value in converted.buffers.items()},
    }
    write_json(folder / f"{name}.json", head, predictions(model, case))


def write_json(path: Path, head: Mapping[str, Any], structures: Sequence[Mapping[str, Any]]) -> None:
    """Write one line per structure."""
    lines = ",\n    ".join(json.dumps(entry) for entry in structures)
    text = json.dumps({**head, "structures": []}, indent=None)
    path.write_text(text.removesuffix("]}") + "\n    " + lines + "\n]}\n", encoding="utf-8")


def targets(structures: Sequence[Atoms]) -> list[tuple[float, torch.Tensor]]:
    """Energies beyond the isolated atoms and forces to train on, eV and eV/Å: any numbers will do."""
    random = np.random.RandomState(0)
    return [
        (
            float(len(atoms) * random.standard_normal()),
            torch.from_numpy(random.standard_normal((len(atoms), 3))),
        )
        for atoms in structures
    ]


def make_training(folder: Path) -> None:
    """Write gradients of the mean squared error of energies and forces by sciten's names."""
    from safetensors.torch import save_file

    case = CASES[TRAINING]
    model = build(case).train()
    fill(model, case)
    for atoms, (energy, forces) in zip(case.structures, targets(case.structures), strict=True):
        found_energy, found_forces = predict(model, atoms)
        reference = case.energy_unit * float(atoms.numbers.sum())
        loss = (found_energy - reference - energy).square().sum() + (found_forces - forces).square().sum()
        loss.backward()
    for parameter in model.parameters():
        parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
    gradients = converter().convert(model, hyperparameters(case), ELEMENTS).weights
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: value.contiguous() for name, value in gradients.items()}, folder / "gradients.safetensors"
    )


def make_full_width(folder: Path, names: Sequence[str]) -> None:
    """Write `NAME.ckpt` (random weights) and `NAME.json` (predictions in both precisions)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        case = FULL_WIDTH[name]
        torch.manual_seed(0)
        model = build(case).eval()
        state = {f"model.{key}": value.clone() for key, value in model.state_dict().items()}
        torch.save({"hyper_parameters": hyperparameters(case), "state_dict": state}, folder / f"{name}.ckpt")
        document = {"float64": predictions(model, case), "float32": predictions(model.float(), case)}
        (folder / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Make the fixtures that hold TensorNet to torchmd-net's numbers."
    )
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--only", nargs="*", choices=[*CASES, "training"], help="default: all")
    parser.add_argument("--full-width", nargs="*", choices=sorted(FULL_WIDTH), help="checkpoints instead")
    parser.add_argument("--operations", choices=["plain", "warp"], default="plain", help="default: plain")
    options = parser.parse_args()
    if options.operations == "plain":
        use_plain_operations()
    if options.full_width is not None:
        make_full_width(options.folder, options.full_width or list(FULL_WIDTH))
        return 0
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.only or [*CASES, "training"]:
        if name == "training":
            make_training(options.folder / name)
        else:
            make_case(name, options.folder)
        sys.stderr.write(f"{name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
