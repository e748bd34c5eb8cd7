"""Make the parity fixtures: what mace-torch says about structures, for models that the tests can rebuild.

Run it with the Python of a mace-torch environment (with safetensors):

    python tests/potentials/mace/make_fixtures.py tests/potentials/mace/fixtures

Each `NAME.json` holds the arguments that `workflows/convert_mace.py` read off a mace-torch model, structures,
and mace-torch's float64 energies, forces and stress. The weights are not stored: `recipe` gives them from
sciten's names and shapes alone, here (written into mace-torch's parameters by the converter's views) and in
the tests. `training/` holds one small model as the converter writes it, mace-torch's gradients of a loss, and
its weights after twenty steps of Adam. `reduced/` is a model in cuequivariance's smaller product basis, made
where that is installed. With `--full-width` the published architectures become model files instead.
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
from ase.build import bulk, fcc111, molecule

STEPS = 20
LEARNING_RATE = 0.01
ALL_ELEMENTS = (*range(1, 84), *range(89, 95))  # the 89 elements of the Materials Project models
ORGANIC_ELEMENTS = (1, 6, 7, 8, 9, 15, 16, 17, 35, 53)


def recipe(name: str, shape: Sequence[int]) -> np.ndarray:
    """The weight called `name` in sciten, float64: numbers that depend on nothing but name and shape.

    NumPy guarantees that `RandomState` never changes its stream. Sizes are as in mace-torch's own beginning.
    """
    values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(shape))
    is_path_weight = name.startswith("products.") and ".linear." not in name
    return values / shape[1] if is_path_weight else values


@dataclass(frozen=True)
class Case:
    """A model to make: mace-torch's arguments where they differ from the defaults below, and structures."""

    structures: Sequence[Atoms]
    elements: Sequence[int]
    channels: int = 8
    hidden_lmax: int = 1
    lmax: int = 3
    correlation: int = 3
    layers: int = 2
    cutoff: float = 5.0
    bessel: int = 8
    power: int = 5
    first: str = "RealAgnosticResidualInteractionBlock"
    later: str = "RealAgnosticResidualInteractionBlock"
    radial_mlp: Sequence[int] = (64, 64, 64)
    readout: int = 16
    neighbors: float = 12.0
    agnesi: bool = False
    zbl: bool = False
    shift: float = 0.25
    energy_unit: float = -13.6  # isolated atoms get this times their atomic number


# Structures.


def rattled(atoms: Atoms, seed: int, size: float = 0.15) -> Atoms:
    """`atoms` with random displacements (Å) and, where periodic, a random strain: nothing stays symmetric."""
    random = np.random.RandomState(seed)
    atoms = atoms.copy()
    if atoms.pbc.all():
        atoms.set_cell(atoms.cell[:] @ (np.eye(3) + 0.04 * random.standard_normal((3, 3))), scale_atoms=True)
    atoms.positions += size * random.standard_normal((len(atoms), 3))
    return atoms


def molecules() -> list[Atoms]:
    """Molecules of H, C, N, O, and an atom without neighbours."""
    names = ("H2O", "CH3OH", "CH3CONH2")
    return [*(rattled(molecule(name), seed) for seed, name in enumerate(names)), Atoms("O")]


def oxides() -> list[Atoms]:
    """Cells smaller than the cutoff, one triclinic with atoms outside of it, and a slab; of O, Si and Ti."""
    titania = Atoms("Ti2O4", cell=[[4.4, 0.3, 0.0], [-0.4, 4.7, 0.2], [0.5, 0.1, 3.1]], pbc=True)
    fractions = [[0, 0, 0], [0.5, 0.5, 0.5], [0.3, 0.3, 0], [0.7, 0.7, 1], [0.8, 0.2, 0.5], [1.2, -0.2, 0.5]]
    titania.set_scaled_positions(fractions)
    silicon = bulk("Si", "diamond", a=5.43)
    slab = fcc111("Ti", (1, 1, 3), a=4.1, vacuum=6.0)
    slab.set_atomic_numbers([22, 8, 14])
    cells = [
        rattled(atoms, seed, 0.08) for seed, atoms in enumerate([bulk("Ti", "bcc", a=3.2), silicon, titania])
    ]
    return [*cells, rattled(slab, 3, 0.08)]


def organics() -> list[Atoms]:
    """Molecules with halogens, sulphur and phosphorus."""
    names = ("CH3Cl", "CH3SH", "PH3", "HCF3")
    return [rattled(molecule(name), seed, 0.08) for seed, name in enumerate(names)]


def inorganics(*, squeezed: bool = False) -> list[Atoms]:
    """Crystals and a molecule over the periodic table; `squeezed` brings atoms within the reach of ZBL."""
    perovskite = Atoms("CsPbI3", cell=[6.3] * 3, pbc=True)
    perovskite.set_scaled_positions([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    found = [
        perovskite,
        bulk("UO", "rocksalt", a=5.0),
        bulk("PuFe", "cesiumchloride", a=3.1),
        molecule("H2O"),
    ]
    found = [rattled(atoms, seed, 0.08) for seed, atoms in enumerate(found)]
    if squeezed:
        for atoms in found:
            atoms.set_cell(0.8 * atoms.cell[:], scale_atoms=True)
            atoms.positions *= 0.9 if not atoms.pbc.any() else 1.0
    return found


# Models.


CASES = {
    "molecules_l0": Case(molecules(), (1, 6, 7, 8), hidden_lmax=0),
    "oxides_l1": Case(oxides(), (8, 14, 22), first="RealAgnosticInteractionBlock", neighbors=31.5),
    "molecules_l2": Case(molecules(), (1, 6, 7, 8), channels=5, hidden_lmax=2, radial_mlp=(16,), cutoff=4.0),
    "density_l2": Case(
        oxides(),
        (8, 14, 22),
        channels=4,
        hidden_lmax=2,
        lmax=2,
        first="RealAgnosticDensityResidualInteractionBlock",
        later="RealAgnosticDensityResidualInteractionBlock",
        cutoff=4.5,
    ),
    "three_layers": Case(
        molecules(),
        (1, 6, 7, 8),
        channels=7,
        lmax=2,
        correlation=2,
        layers=3,
        bessel=5,
        power=6,
        first="RealAgnosticInteractionBlock",
        later="RealAgnosticInteractionBlock",
        radial_mlp=(16, 32),
        readout=9,
        zbl=True,
    ),
    "four_factors": Case(molecules()[:2], (1, 6, 8), channels=3, lmax=2, correlation=4, radial_mlp=(16,)),
    # The published models' hyperparameters, from their training scripts, with eight channels.
    "mp_0": Case(inorganics(), ALL_ELEMENTS, cutoff=6.0, bessel=10, neighbors=61.96, energy_unit=-0.2),
    "mpa_0": Case(
        inorganics(squeezed=True),
        ALL_ELEMENTS,
        cutoff=6.0,
        bessel=10,
        first="RealAgnosticDensityInteractionBlock",
        later="RealAgnosticDensityResidualInteractionBlock",
        agnesi=True,
        zbl=True,
        energy_unit=-0.2,
    ),
    "off23": Case(
        organics(),
        ORGANIC_ELEMENTS,
        hidden_lmax=2,
        first="RealAgnosticInteractionBlock",
        energy_unit=-2000.0,
    ),
}
FULL_WIDTH = {
    "mp_0_small": replace(CASES["mp_0"], channels=128, hidden_lmax=0),
    "mp_0_medium": replace(CASES["mp_0"], channels=128),
    "mp_0_large": replace(CASES["mp_0"], channels=128, hidden_lmax=2),
    "mpa_0_medium": replace(CASES["mpa_0"], channels=128),
    "omat_0_medium": replace(CASES["mpa_0"], channels=128, bessel=8),
    "off23_small": replace(CASES["off23"], channels=96, hidden_lmax=0, cutoff=4.5),
    "off23_medium": replace(CASES["off23"], channels=128, hidden_lmax=1),
    "off23_large": replace(CASES["off23"], channels=192),
}
TRAINING = Case(
    [*molecules()[:2], *(rattled(bulk("CO", "cesiumchloride", a=2.9), seed, 0.1) for seed in range(2))],
    (1, 6, 8),
    channels=4,
    lmax=2,
    radial_mlp=(8, 8),
    readout=6,
    cutoff=3.5,
    first="RealAgnosticDensityInteractionBlock",
    energy_unit=-1.0,
)
REDUCED = replace(TRAINING, lmax=3, structures=TRAINING.structures[:3], elements=(8, 1, 6))


def build(case: Case, scale: float = 1.0) -> Any:
    """The mace-torch model of a case, float64, with mace-torch's own initial weights."""
    from e3nn import o3
    from mace import modules

    irreps = "+".join(f"{case.channels}x{l}{'eo'[l % 2]}" for l in range(case.hidden_lmax + 1))
    return modules.ScaleShiftMACE(
        atomic_inter_scale=scale,
        atomic_inter_shift=case.shift,
        r_max=case.cutoff,
        num_bessel=case.bessel,
        num_polynomial_cutoff=case.power,
        max_ell=case.lmax,
        interaction_cls=modules.interaction_classes[case.later],
        interaction_cls_first=modules.interaction_classes[case.first],
        num_interactions=case.layers,
        num_elements=len(case.elements),
        hidden_irreps=o3.Irreps(irreps),
        MLP_irreps=o3.Irreps(f"{case.readout}x0e"),
        atomic_energies=case.energy_unit * np.array(case.elements, dtype=float),
        avg_num_neighbors=case.neighbors,
        atomic_numbers=list(case.elements),
        correlation=case.correlation,
        gate=torch.nn.functional.silu,
        pair_repulsion=case.zbl,
        distance_transform="Agnesi" if case.agnesi else "None",
        radial_MLP=list(case.radial_mlp),
    )


def batch_of(case: Case, structures: Sequence[Atoms]) -> dict[str, torch.Tensor]:
    """mace-torch's input for structures."""
    from mace import data
    from mace.tools import torch_geometric, utils

    table = utils.AtomicNumberTable(list(case.elements))
    graphs = [
        data.AtomicData.from_config(data.config_from_atoms(atoms), z_table=table, cutoff=case.cutoff)
        for atoms in structures
    ]
    loader = torch_geometric.dataloader.DataLoader(graphs, batch_size=len(graphs), shuffle=False)
    return next(iter(loader)).to_dict()


def calibrate(model: Any, case: Case) -> None:
    """Choose the scale so that interaction energies are about one eV per atom, to three digits."""
    model.scale_shift.scale.fill_(1.0)
    energies = model(batch_of(case, case.structures), compute_force=False)["node_energy"].detach()
    numbers = np.concatenate([atoms.numbers for atoms in case.structures])
    interaction = energies.numpy() - case.energy_unit * numbers - case.shift
    model.scale_shift.scale.fill_(float(f"{1 / np.sqrt((interaction**2).mean()):.3g}"))


def predictions(model: Any, case: Case) -> list[dict[str, Any]]:
    """Structures with mace-torch's energy, forces and, where periodic, stress (Voigt, tension positive)."""
    result = []
    for atoms in case.structures:
        out = model(batch_of(case, [atoms]), compute_stress=True)
        entry = {
            "numbers": atoms.numbers.tolist(),
            "positions": atoms.positions.tolist(),
            "cell": atoms.cell[:].tolist(),
            "pbc": atoms.pbc.tolist(),
            "energy": float(out["energy"]),
            "forces": out["forces"].tolist(),
        }
        if atoms.pbc.all():
            s = out["stress"][0]
            entry["stress"] = [float(s[i, j]) for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))]
        result.append(entry)
    return result


def converter() -> Any:
    """`workflows/convert_mace.py` as a module."""
    path = Path(__file__).parents[3] / "workflows" / "convert_mace.py"
    spec = importlib.util.spec_from_file_location("convert_mace", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is missing")
    module = importlib.util.module_from_spec(spec)
    sys.modules["convert_mace"] = module
    spec.loader.exec_module(module)
    return module


def fill(model: Any) -> None:
    """Write the recipe's weights into mace-torch's parameters, through the views that the converter gives."""
    for name, weight in converter().convert(model).weights.items():
        weight.copy_(torch.from_numpy(recipe(name, weight.shape)))


def make_case(name: str, case: Case, folder: Path) -> None:
    """Write `NAME.json`."""
    model = build(case)
    fill(model)
    calibrate(model, case)
    converted = converter().convert(model)
    write_json(
        folder / f"{name}.json",
        {
            "arguments": converted.arguments,
            "clebsch_gordan": converted.convention,
            "structures": predictions(model, case),
        },
    )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write one line per structure."""
    head = {key: value for key, value in content.items() if key != "structures"}
    lines = ",\n    ".join(json.dumps(entry) for entry in content["structures"])
    text = json.dumps({**head, "structures": []}, indent=None)
    path.write_text(text.removesuffix("]}") + "\n    " + lines + "\n]}\n", encoding="utf-8")


def make_folder(case: Case, folder: Path, seed: int) -> Any:
    """Convert a model with mace-torch's own initial weights by the converter's command line."""
    torch.manual_seed(seed)
    model = build(case)
    calibrate(model, case)
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "mace.model"
    torch.save(model, source)
    for old in folder.glob("model/*"):
        old.unlink()
    if converter().main([str(source), str(folder / "model")]):
        raise SystemExit("the converter refused the model")
    source.unlink()
    write_json(folder / "predictions.json", {"structures": predictions(model, case)})
    return model


def targets(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """Energies and forces to train on, eV and eV/Å: any numbers will do."""
    random = np.random.RandomState(0)
    sizes = np.array([len(atoms) for atoms in case.structures])
    numbers = np.array([atoms.numbers.sum() for atoms in case.structures])
    energies = case.energy_unit * numbers + sizes * random.standard_normal(len(sizes))
    return torch.from_numpy(energies), torch.from_numpy(0.5 * random.standard_normal((sizes.sum(), 3)))


def loss_of(energy: Any, forces: Any, energy_target: Any, forces_target: Any, sizes: Any) -> Any:
    """The loss of the training fixture: per-atom energies and forces, squared, one to ten."""
    return ((energy - energy_target) / sizes).square().mean() + 10 * (forces - forces_target).square().mean()


def make_training(folder: Path) -> None:
    """Gradients of the loss at the initial weights, and weights after some steps of Adam."""
    from safetensors.torch import save_file

    model = make_folder(TRAINING, folder, seed=1)
    batch = batch_of(TRAINING, TRAINING.structures)
    energy_target, forces_target = targets(TRAINING)
    sizes = torch.tensor([len(atoms) for atoms in TRAINING.structures], dtype=torch.float64)
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    losses = []
    for step in range(STEPS):
        optimiser.zero_grad()
        out = model(batch, training=True)
        loss = loss_of(out["energy"], out["forces"], energy_target, forces_target, sizes)
        loss.backward()
        losses.append(float(loss))
        if step == 0:
            save_file(gradients(model), folder / "gradients.safetensors")
        optimiser.step()
    save_file(parameters_of(model), folder / "final.safetensors")
    (folder / "losses.json").write_text(json.dumps(losses) + "\n", encoding="utf-8")


def parameters_of(model: Any) -> dict[str, torch.Tensor]:
    """A model's parameters by sciten's names; the coupling coefficients of a reduced basis are none."""
    weights = converter().convert(model).weights
    return {name: w.contiguous().clone() for name, w in weights.items() if ".coupling_" not in name}


def gradients(model: Any) -> dict[str, torch.Tensor]:
    """Gradients by sciten's names: the converter is applied to a model that holds them as its weights."""
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    try:
        for parameter in model.parameters():
            parameter.data = (
                parameter.grad.clone() if parameter.grad is not None else torch.zeros_like(parameter)
            )
        return parameters_of(model)
    finally:
        for parameter, weight in zip(model.parameters(), weights, strict=True):
            parameter.data = weight


def make_full_width(folder: Path, names: Sequence[str]) -> None:
    """Write `NAME.model` (random weights) and `NAME.json` (predictions) for the published architectures."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        case = FULL_WIDTH[name]
        torch.manual_seed(0)
        model = build(case)
        calibrate(model, case)
        torch.save(model, folder / f"{name}.model")
        write_json(folder / f"{name}.json", {"structures": predictions(model, case)})
        sys.stderr.write(f"{name}\n")


def main() -> int:
    """Command line; returns the exit code."""
    import mace  # noqa: F401  (before e3nn: it lets e3nn 0.4 load its constants)

    parser = argparse.ArgumentParser(description="Make the fixtures that hold MACE to mace-torch's numbers.")
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--only", nargs="*", help="cases, training, reduced (default: all that can be made)")
    parser.add_argument("--full-width", nargs="*", choices=sorted(FULL_WIDTH), help="model files instead")
    options = parser.parse_args()
    torch.set_default_dtype(
        torch.float64
    )  # mace-torch makes and evaluates models in the global default dtype
    if options.full_width is not None:
        make_full_width(options.folder, options.full_width or list(FULL_WIDTH))
        return 0
    options.folder.mkdir(parents=True, exist_ok=True)
    reduced = importlib.util.find_spec("cuequivariance") is not None
    # Where cuequivariance is installed, models come in its smaller basis and only that case makes sense.
    wanted = options.only or (["reduced", "training_reduced"] if reduced else [*CASES, "training"])
    for name in wanted:
        if name.startswith("training"):
            make_training(options.folder / name)
        elif name == "reduced":
            make_folder(REDUCED, options.folder / name, seed=2)
        else:
            make_case(name, CASES[name], options.folder)
        sys.stderr.write(f"{name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
