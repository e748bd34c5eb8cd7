"""The worker for mace-torch, run as a script by a Python that has it; imports nothing of sciten.

It also makes the models: random weights, saved by mace-torch and converted by `workflows/convert_mace.py`.
A training step is the gradient of a squared loss for labels of zero; the optimiser is left out.
"""

import importlib.util
import sys
import time
import warnings
from importlib import metadata
from typing import Any

import ase
import numpy as np
import torch
from e3nn import o3
from mace import data
from mace.modules import ScaleShiftMACE, gate_dict, interaction_classes
from mace.tools import AtomicNumberTable
from mace.tools.torch_geometric import Batch
from serve import Job, Request, read_structures, serve

warnings.simplefilter("ignore")


def make(request: Request) -> dict[str, Any]:
    """Save a model of mace-torch with random weights, and convert it for sciten."""
    arguments = request["arguments"]
    hidden = o3.Irreps([(arguments["channels"], (l, (-1) ** l)) for l in range(arguments["hidden_lmax"] + 1)])
    torch.manual_seed(0)
    model = ScaleShiftMACE(
        r_max=arguments["cutoff"],
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        # The blocks that mace_run_train takes when nothing is said about them.
        interaction_cls=interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=interaction_classes["RealAgnosticInteractionBlock"],
        num_interactions=2,
        num_elements=len(arguments["elements"]),
        hidden_irreps=hidden,
        MLP_irreps=o3.Irreps("16x0e"),
        gate=gate_dict["silu"],
        atomic_energies=np.zeros(len(arguments["elements"])),
        avg_num_neighbors=arguments["average_neighbors"],
        atomic_numbers=arguments["elements"],
        correlation=3,
        radial_MLP=[64, 64, 64],
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )
    torch.save(model, request["model"])
    if _converter(request["converter"]).main([request["model"], request["converted"]]):
        raise RuntimeError("the model could not be converted")
    return {"parameters": sum(p.numel() for p in model.parameters()), "versions": _versions()}


def _converter(path: str) -> Any:
    specification = importlib.util.spec_from_file_location("convert_mace", path)
    if specification is None or specification.loader is None:
        raise RuntimeError(f"{path} is no Python file")
    module = sys.modules["convert_mace"] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def _versions() -> dict[str, str]:
    wanted = ("mace-torch", "e3nn", "cuequivariance", "torch", "symmetrix-xl")
    installed = {distribution.metadata["Name"] for distribution in metadata.distributions()}
    return {name: metadata.version(name) for name in wanted if name in installed}


def prepare(request: Request) -> Job:
    """Load a model and make a batch; the neighbour list is not timed."""
    start = time.perf_counter()
    model = torch.load(request["model"], map_location="cpu", weights_only=False)
    training = request["task"] == "train"
    model.requires_grad_(training).train(training)
    load_s = time.perf_counter() - start
    batch = _batch(model, read_structures(request["structures"]))
    facts = {"load_s": load_s, "atoms": len(batch["positions"]), "edges": batch["edge_index"].shape[1]}

    def forward() -> dict[str, torch.Tensor]:
        # The model marks the positions as its input: every call gets fresh ones, as from a data loader.
        inputs = {**batch, "positions": batch["positions"].detach().clone()}
        output: dict[str, torch.Tensor] = model(inputs, training=training, compute_force=True)
        return output

    if not training:
        return Job(forward, lambda: _prediction(forward()), facts)

    atoms = batch["ptr"].diff()

    def train() -> torch.Tensor:
        model.zero_grad(set_to_none=True)
        output = forward()
        loss = (output["energy"] / atoms).square().mean() + output["forces"].square().mean()
        loss.backward()
        return loss.detach()

    def check() -> dict[str, Any]:
        loss = float(train())
        gradients = [p.grad.double().square().sum() for p in model.parameters() if p.grad is not None]
        return {"loss": loss, "gradient": float(torch.stack(gradients).sum().sqrt())}

    return Job(train, check, facts)


def _batch(model: Any, structures: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    table = AtomicNumberTable(model.atomic_numbers.tolist())
    frames = [data.config_from_atoms(ase.Atoms(**structure)) for structure in structures]
    graphs = [
        data.AtomicData.from_config(frame, z_table=table, cutoff=float(model.r_max)) for frame in frames
    ]
    batch: dict[str, torch.Tensor] = Batch.from_data_list(graphs).to_dict()
    return batch


def _prediction(output: dict[str, torch.Tensor]) -> dict[str, Any]:
    return {"energy": float(output["energy"].double().sum()), "forces": output["forces"].tolist()}


if __name__ == "__main__":
    serve(prepare, {"make": make})
