"""Run with the Python of a torchmd-net environment: offer the converter what it must refuse.

    python tests/workflows/refused_torchmdnet_models.py FOLDER

Prints JSON: for each case the exit code, the message and what stands in the output folder's place.
"""

import contextlib
import importlib.util
import io
import json
import sys
from pathlib import Path
from typing import Any

import torch

SETTINGS: dict[str, Any] = {
    "model": "tensornet",
    "precision": 32,
    "embedding_dimension": 4,
    "num_layers": 1,
    "num_rbf": 4,
    "rbf_type": "expnorm",
    "trainable_rbf": False,
    "activation": "silu",
    "cutoff_lower": 0.0,
    "cutoff_upper": 4.0,
    "max_z": 10,
    "max_num_neighbors": 32,
    "equivariance_invariance_group": "SO(3)",
    "atom_filter": -1,
    "prior_model": "Atomref",
    "prior_args": {"max_z": 10},
    "output_model": "Scalar",
    "reduce_op": "add",
    "derivative": True,
}
REFUSED: dict[str, dict[str, Any]] = {
    "architecture": {"model": "graph-network", "aggr": "add", "neighbor_embedding": True},
    "basis": {"rbf_type": "gauss"},
    "activation": {"activation": "tanh"},
    "lower": {"cutoff_lower": 0.5},
    "output": {"output_model": "ElectronicSpatialExtent", "prior_model": None},
    "reduction": {"reduce_op": "mean"},
    "prior": {
        "prior_model": "ZBL",
        "prior_args": {
            "cutoff_distance": 3.0,
            "max_num_neighbors": 32,
            "distance_scale": 1.0,
            "energy_scale": 1.0,
            "atomic_number": [0, 1],
        },
    },
}


def checkpoint(path: Path, mean: float | None = None, extra: bool = False, **changes: Any) -> Path:
    """Write a checkpoint of a tiny model with some settings changed, as Lightning does."""
    from torchmdnet.models.model import create_model

    settings = {**SETTINGS, **changes}
    model = create_model(dict(settings), mean=None if mean is None else torch.tensor(mean))
    if settings["prior_model"] == "Atomref":
        model.prior_model[0].atomref.weight.data[[1, 8]] = torch.tensor([[-13.6], [-2000.0]])
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"hyper_parameters": settings, "state_dict": state}, path)
    return path


def converter() -> Any:
    """`workflows/convert_torchmdnet.py` as a module."""
    path = Path(__file__).parents[2] / "workflows" / "convert_torchmdnet.py"
    spec = importlib.util.spec_from_file_location("convert_torchmdnet", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["convert_torchmdnet"] = module
    spec.loader.exec_module(module)
    return module


def offer(folder: Path, name: str, source: Path, *options: str) -> dict[str, Any]:
    """Convert `source`; what came of it."""
    errors = io.StringIO()
    out = folder / f"{name}.out"
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = converter().main([str(source), str(out), *options])
        except SystemExit as error:
            code, _ = 1, errors.write(str(error))
    return {
        "code": code,
        "message": errors.getvalue(),
        "left": sorted(p.name for p in folder.glob(f"*{name}.out*")),
    }


def main() -> None:
    """Command line."""
    folder = Path(sys.argv[1])
    good = checkpoint(folder / "good.ckpt")
    results = {"good": offer(folder, "good", good), "again": offer(folder, "good", good)}
    results["named"] = offer(
        folder, "named", good, "--elements", "C", "1", "--dtype", "float64", "--operations", "plain"
    )
    for name, changes in REFUSED.items():
        results[name] = offer(folder, name, checkpoint(folder / f"{name}.ckpt", **changes))
    results["mean"] = offer(folder, "mean", checkpoint(folder / "mean.ckpt", mean=-3.5))
    bare = checkpoint(folder / "bare.ckpt", prior_model=None)
    results["elements"] = offer(folder, "elements", bare)
    results["heavy"] = offer(folder, "heavy", bare, "--elements", "Au")
    results["symbol"] = offer(folder, "symbol", bare, "--elements", "Q")
    (folder / "garbage.ckpt").write_bytes(b"nothing")
    results["garbage"] = offer(folder, "garbage", folder / "garbage.ckpt")
    results["missing"] = offer(folder, "missing", folder / "nowhere.ckpt")
    sys.stdout.write(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
