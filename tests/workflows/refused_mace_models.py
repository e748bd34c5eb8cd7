"""Run with the Python of a mace-torch environment: offer the converter what it must refuse.

    python tests/workflows/refused_mace_models.py FOLDER

Prints JSON: for each case the exit code, the message and what stands in the output folder's place.
"""

import contextlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch


def build(**changes: Any) -> Any:
    """A tiny mace-torch model with some arguments changed."""
    from e3nn import o3
    from mace import modules

    arguments: dict[str, Any] = {
        "atomic_inter_scale": 1.0,
        "atomic_inter_shift": 0.0,
        "r_max": 4.0,
        "num_bessel": 3,
        "num_polynomial_cutoff": 5,
        "max_ell": 1,
        "interaction_cls": "RealAgnosticResidualInteractionBlock",
        "interaction_cls_first": "RealAgnosticResidualInteractionBlock",
        "num_interactions": 2,
        "num_elements": 2,
        "hidden_irreps": "2x0e+2x1o",
        "MLP_irreps": "4x0e",
        "atomic_energies": np.zeros(2),
        "avg_num_neighbors": 8.0,
        "atomic_numbers": [1, 8],
        "correlation": 2,
        "gate": torch.nn.functional.silu,
        **changes,
    }
    for name in ("interaction_cls", "interaction_cls_first"):
        arguments[name] = modules.interaction_classes[arguments[name]]
    for name in ("hidden_irreps", "MLP_irreps", "edge_irreps"):
        if name in arguments:
            arguments[name] = o3.Irreps(arguments[name])
    return modules.ScaleShiftMACE(**arguments)


def with_foreign_parameter() -> Any:
    """A model with a weight that no MACE has."""
    model = build()
    model.products[0].extra = torch.nn.Parameter(torch.zeros(3))
    return model


def with_trained_agnesi() -> Any:
    """A model whose distance transform was changed."""
    model = build(distance_transform="Agnesi")
    model.radial_embedding.distance_transform.a.fill_(1.2)
    return model


#: What is offered, by name; the test says which words the refusal must contain.
OFFERS: dict[str, Callable[[], Any]] = {
    "attention": lambda: build(interaction_cls="RealAgnosticAttResidualInteractionBlock"),
    "nonlinear": lambda: build(interaction_cls="RealAgnosticResidualNonLinearInteractionBlock"),
    "heads": lambda: build(
        heads=["a", "b"],
        atomic_energies=np.zeros((2, 2)),
        atomic_inter_scale=[1.0, 1.0],
        atomic_inter_shift=[0.0, 0.0],
    ),
    "soft": lambda: build(distance_transform="Soft"),
    "gaussian": lambda: build(radial_type="gaussian"),
    "edge_irreps": lambda: build(edge_irreps="2x0e"),
    "so3": lambda: build(use_so3=True, hidden_irreps="2x0e+2x1e"),
    "agnostic": lambda: build(use_agnostic_product=True),
    "last_readout": lambda: build(use_last_readout_only=True),
    "last_irreps": lambda: build(keep_last_layer_irreps=True),
    "embedding": lambda: build(
        embedding_specs={"charge": {"type": "continuous", "emb_dim": 4, "in_dim": 1, "per": "graph"}}
    ),
    "gate": lambda: build(gate=torch.tanh),
    "apply_cutoff": lambda: build(apply_cutoff=False),
    "odd": lambda: build(hidden_irreps="2x0e+2x0o+2x1o"),
    "correlations": lambda: build(correlation=[2, 1]),
    "one_layer": lambda: build(num_interactions=1),
    "parameter": with_foreign_parameter,
    "agnesi": with_trained_agnesi,
    "checkpoint": lambda: {"model": build().state_dict()},
    "tensor": lambda: torch.zeros(3),
}


def offer(converter: Any, source: Path, target: Path) -> dict[str, Any]:
    """Convert, and say what came of it."""
    message = io.StringIO()
    with contextlib.redirect_stderr(message):
        try:
            code = converter.main([str(source), str(target)])
        except SystemExit as exit_:
            code, _ = 1, message.write(str(exit_))
    left = sorted(
        path.name
        for path in target.parent.iterdir()
        if path.name.startswith((target.name, f".{target.name}"))
    )
    return {"code": code, "message": message.getvalue().strip(), "left": left}


def main() -> int:
    """Command line; returns the exit code."""
    import mace  # noqa: F401  (before e3nn: it lets e3nn 0.4 load its constants)

    sys.path.insert(0, str(Path(__file__).parents[2] / "workflows"))
    import convert_mace

    folder = Path(sys.argv[1])
    results = {}
    for name, make in OFFERS.items():
        source = folder / f"{name}.model"
        torch.save(make(), source)
        results[name] = offer(convert_mace, source, folder / f"{name}.out")
    (folder / "garbage.model").write_bytes(b"not a model")
    for name in ("garbage", "missing"):
        results[name] = offer(convert_mace, folder / f"{name}.model", folder / f"{name}.out")
    torch.save(build(), folder / "good.model")
    results["good"] = offer(convert_mace, folder / "good.model", folder / "good.out")
    results["again"] = offer(convert_mace, folder / "good.model", folder / "good.out")
    sys.stdout.write("\n" + json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
