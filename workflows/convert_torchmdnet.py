"""Convert a torchmd-net checkpoint of a TensorNet into a sciten model folder.

Run it with the Python of a torchmd-net environment that also has safetensors; sciten need not be there:

    python workflows/convert_torchmdnet.py MODEL.ckpt OUTDIR [--elements H C O] [--dtype float32|float64]

The folder holds `model.safetensors` (weights) and `model.json` (the constructor's arguments);
`load_potential(OUTDIR)` and `SciTenCalculator(OUTDIR)` read it. Whatever sciten does not support is refused
in one sentence that names it, and every weight of the model must find its place.

A checkpoint has features for every atomic number up to its `max_z`, trained or not. The elements are those of
`--elements`, or without it those that the model's Atomref prior gives an energy. Energies are taken to be in eV and
lengths in Å: scale the energies of another unit by `--energy-unit`, their size in eV.

torchmd-net has two implementations of its layers, which differ in the sign of the antisymmetric part of a matrix: plain
torch operations, and Warp kernels since they came. Models of the group SO(3) give other energies with the one than with
the other; the converted model gives those of `--operations` (by default the ones in use where this script runs, which
for an old model need not be the ones that it was trained with). With O(3) there is no difference.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DTYPES = {"float32": torch.float32, "float64": torch.float64}
#: Settings of a checkpoint that must have this value, and what they mean where they have not.
REQUIRED = {
    "model": ("tensornet", "the architecture {}"),
    "rbf_type": ("expnorm", "the radial basis {}"),
    "activation": ("silu", "the activation {}"),
    "output_model": ("Scalar", "the output model {}"),
    "cutoff_lower": (0.0, "a lower cutoff of {} Å"),
    "atom_filter": (-1, "the atom filter {}"),
    "box_vecs": (None, "the fixed box {}"),
}


class NotSupportedError(Exception):
    """The model has something that sciten's TensorNet has not; the message names it."""


@dataclass(frozen=True)
class Converted:
    """A model in sciten's terms.

    Attributes:
        arguments: of sciten's `TensorNet`, as JSON values.
        weights: parameters by sciten's names, in the model's dtype.
        buffers: constants by sciten's names, float64.
    """

    arguments: dict[str, Any]
    weights: dict[str, Tensor]
    buffers: dict[str, Tensor]


def require(condition: bool, what: str) -> None:
    """Refuse the model because of `what`, unless `condition` holds."""
    if not condition:
        raise NotSupportedError(f"sciten's TensorNet does not support this model: it has {what}")


def convert(
    model: Any,
    settings: Mapping[str, Any],
    elements: Sequence[int] | None = None,
    *,
    operations: str = "plain",
    energy_unit: float = 1.0,
) -> Converted:
    """Translate a torchmd-net model with the given hyperparameters; raises `NotSupportedError`."""
    check(model, settings)
    energies = reference_energies(model)
    present = sorted(elements if elements is not None else energies)
    if not present:
        raise NotSupportedError(
            "the checkpoint does not say which elements it was trained on; give --elements"
        )
    network = model.representation_model
    largest = len(network.tensor_embedding.emb.weight) - 1
    require(max(present) <= largest, f"no features for atomic numbers above {largest}")
    arguments = {
        "elements": [int(z) for z in present],
        "isolated_atom_energies": [energies.get(z, 0.0) * energy_unit for z in present],
        "cutoff": float(network.cutoff_upper),
        "channels": int(network.hidden_channels),
        "layers": len(network.layers),
        "radial_functions": int(network.num_rbf),
        "group": network.equivariance_invariance_group,
        "charge_coupling": 0.1,
        "spin_coupling": 0.0,
        "scale": float(model.std) * energy_unit,
        "shift": 0.0,
    }
    radial = network.distance_expansion
    buffers = {
        "isolated_atom_energies": torch.tensor(arguments["isolated_atom_energies"], dtype=torch.float64),
        "scale": torch.tensor(arguments["scale"], dtype=torch.float64),
        "shift": torch.tensor(0.0, dtype=torch.float64),
        "radial_centres": radial.means.detach().double(),
        "radial_inverse_widths": radial.betas.detach().double(),
    }
    weights = named_weights(model, arguments)
    if operations == "warp":
        # Before this map only the squares of the antisymmetric part are used: here its sign can still be turned.
        weights["embedding.mixing.layers.1.weight"] = -weights["embedding.mixing.layers.1.weight"]
    return Converted(arguments, weights, buffers)


def named_weights(model: Any, arguments: Mapping[str, Any]) -> dict[str, Tensor]:
    """Every weight by its name in sciten; refuses a model that has others."""
    left = {name: value.detach() for name, value in model.named_parameters()}
    # Constants of ours, taken elsewhere: energies of isolated atoms and, where trained, the radial basis.
    ours_already = ("prior_model.", "representation_model.distance_expansion.")
    left = {name: value for name, value in left.items() if not name.startswith(ours_already)}
    embedding = "representation_model.tensor_embedding"
    projections = [f"{embedding}.distance_proj{n}" for n in (1, 2, 3)]
    result = {
        "embedding.elements": left.pop(f"{embedding}.emb.weight")[arguments["elements"]],
        "embedding.radial.linear.weight": torch.cat([left.pop(f"{p}.weight") for p in projections]),
        "embedding.radial.linear.bias": torch.cat([left.pop(f"{p}.bias") for p in projections]),
    }
    for ours, theirs in places(arguments["layers"]).items():
        for part in ("weight", "bias"):
            if f"{theirs}.{part}" in left:
                result[f"{ours}.{part}"] = left.pop(f"{theirs}.{part}")
    require(not left, f"the parameter {next(iter(left), '')}")
    return result


def places(layers: int) -> dict[str, str]:
    """Names of modules in torchmd-net by their names in sciten."""
    theirs = "representation_model.tensor_embedding"
    found = {"embedding.pair": f"{theirs}.emb2", "embedding.norm": f"{theirs}.init_norm"}
    found |= {f"embedding.gates.{n}": f"{theirs}.linears_scalar.{n}" for n in range(2)}
    found |= {f"embedding.mixing.layers.{l}": f"{theirs}.linears_tensor.{l}" for l in range(3)}
    for t in range(layers):
        ours, theirs = f"interactions.{t}", f"representation_model.layers.{t}"
        found |= {f"{ours}.radial.layers.{n}": f"{theirs}.linears_scalar.{n}" for n in range(3)}
        for l in range(3):
            found[f"{ours}.mixing_before.layers.{l}"] = f"{theirs}.linears_tensor.{l}"
            found[f"{ours}.mixing_after.layers.{l}"] = f"{theirs}.linears_tensor.{l + 3}"
    return found | {
        "readout.norm": "representation_model.out_norm",
        "readout.linear": "representation_model.linear",
        "readout.hidden": "output_model.output_network.layers.0",
        "readout.energy": "output_model.output_network.layers.2",
    }


def check(model: Any, settings: Mapping[str, Any]) -> None:
    """Refuse what is not a TensorNet of energies, and settings that sciten's has not."""
    for name, (expected, what) in REQUIRED.items():
        require(settings.get(name, expected) == expected, what.format(settings.get(name)))
    reduction = settings.get("reduce_op", "add")
    require(reduction in ("add", "sum"), f"the reduction {reduction} over atoms")
    mean = float(model.mean)
    require(mean == 0, f"a mean energy of {mean:g} per structure, whatever its size (option standardize)")
    for prior in model.prior_model or []:
        require(type(prior).__name__ in ("Atomref", "LearnableAtomref"), f"the prior {type(prior).__name__}")
    require(next(model.parameters()).dtype in DTYPES.values(), f"weights of {next(model.parameters()).dtype}")


def reference_energies(model: Any) -> dict[int, float]:
    """Energies of isolated atoms that the model adds, by atomic number, in the model's unit; zeros are left out."""
    energies: dict[int, float] = {}
    for prior in model.prior_model or []:
        values = prior.atomref.weight.detach().double()[:, 0].tolist() if prior.enable else []
        for z, value in enumerate(values):
            if value:
                energies[z] = energies.get(z, 0.0) + value
    return energies


# Files.


def load(path: Path) -> tuple[Any, dict[str, Any]]:
    """Unpickle a torchmd-net checkpoint: the model and its hyperparameters.

    Only the user can say whether the file is to be trusted.
    """
    try:
        from torchmdnet.models.model import load_model
    except ImportError as error:
        raise SystemExit(
            f"convert_torchmdnet: run this with the Python of a torchmd-net environment ({error})"
        ) from error
    try:
        settings = dict(torch.load(path, map_location="cpu", weights_only=False)["hyper_parameters"])
        require(settings.get("model") == "tensornet", f"the architecture {settings.get('model')}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return load_model(str(path)), settings
    except (OSError, NotSupportedError):
        raise
    except Exception as error:  # unpickling foreign content can fail in any way
        raise NotSupportedError(
            f"the file cannot be read as a checkpoint of torchmd-net ({error!r})"
        ) from error


def write_folder(
    folder: Path, converted: Converted, dtype: torch.dtype, provenance: Mapping[str, str]
) -> None:
    """Write a sciten model folder; it appears complete or not at all."""
    from safetensors.torch import save_file

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SystemExit(f"convert_torchmdnet: {folder} exists already; remove it or name another folder")
    identity = {
        "class": "TensorNet",
        "arguments": converted.arguments,
        "dtype": str(dtype).removeprefix("torch."),
        "clebsch_gordan": "e3nn-0.5",
    }
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    stamp = {"sciten_model_sha256": hashlib.sha256(canonical.encode()).hexdigest()}
    weights = {name: weight.to(dtype).contiguous().clone() for name, weight in converted.weights.items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
    try:
        tensors = temporary / "model.safetensors"
        save_file({**weights, **converted.buffers}, tensors, stamp)
        description = {
            "format": "sciten-potential",
            "format_version": 1,
            **identity,
            "tensors_sha256": hashlib.sha256(tensors.read_bytes()).hexdigest(),
            "units": {"energy": "eV", "length": "Å"},
            "provenance": dict(provenance),
        }
        text = json.dumps(description, indent=1, ensure_ascii=False) + "\n"
        (temporary / "model.json").write_text(text, encoding="utf-8")
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)  # temporary files are private; users expect the usual permissions
        tensors.chmod(0o666 & ~umask)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def operations_in_use() -> str:
    """Which of its implementations torchmd-net uses here: "plain" or "warp"."""
    from torchmdnet.models import tensornet

    return "warp" if getattr(tensornet, "OPT", False) else "plain"


def provenance_of(path: Path, operations: str) -> dict[str, str]:
    """Where a converted model comes from."""
    return {
        "converted_from": path.name,
        "source_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "converter": "workflows/convert_torchmdnet.py",
        "operations": operations,
        "torchmd_net": metadata.version("torchmd-net"),
        "torch": torch.__version__,
    }


def atomic_numbers(symbols: Sequence[str]) -> list[int]:
    """Atomic numbers of chemical symbols (or of numbers)."""
    from ase.data import atomic_numbers as known

    if unknown := [symbol for symbol in symbols if not symbol.isdigit() and symbol not in known]:
        raise SystemExit(f"convert_torchmdnet: expected chemical symbols in --elements, got {unknown[0]!r}")
    return sorted({int(symbol) if symbol.isdigit() else known[symbol] for symbol in symbols})


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Convert a torchmd-net checkpoint of a TensorNet into a sciten model folder.",
        epilog="CHECKPOINT is a pickle, loaded with torch.load(weights_only=False), which runs whatever code it "
        "contains: convert only files whose origin you trust. sciten itself never unpickles.",
    )
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="of torchmd-net (a pickle: see below)"
    )
    parser.add_argument(
        "folder", type=Path, metavar="OUTDIR", help="folder to write; must not exist or be empty"
    )
    parser.add_argument(
        "--elements", nargs="+", metavar="SYMBOL", help="that the model was trained on (default: see above)"
    )
    parser.add_argument("--dtype", choices=sorted(DTYPES), help="of the weights (default: the model's own)")
    parser.add_argument(
        "--energy-unit", type=float, default=1.0, metavar="EV", help="of the model, in eV (default: 1)"
    )
    parser.add_argument(
        "--operations",
        choices=["plain", "warp"],
        help="whose energies to give, for SO(3) (default: see above)",
    )
    options = parser.parse_args(argv)
    elements = atomic_numbers(options.elements) if options.elements else None
    try:
        model, settings = load(options.checkpoint)
        operations = options.operations or operations_in_use()
        converted = convert(model, settings, elements, operations=operations, energy_unit=options.energy_unit)
        own = converted.weights["embedding.elements"].dtype
        dtype = DTYPES[options.dtype] if options.dtype else own
        write_folder(options.folder, converted, dtype, provenance_of(options.checkpoint, operations))
    except NotSupportedError as error:
        print(f"convert_torchmdnet: {options.checkpoint}: {error}.", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"convert_torchmdnet: {error}", file=sys.stderr)
        return 1
    arguments = converted.arguments
    kind = f"{arguments['group']}, {arguments['layers']} layers, {arguments['channels']} channels"
    print(f"{options.folder}: TensorNet, {kind}, {len(arguments['elements'])} elements, {dtype}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
