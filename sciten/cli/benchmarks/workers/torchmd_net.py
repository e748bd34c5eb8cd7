"""The worker for torchmd-net, run as a script by a Python that has it; imports nothing of sciten.

It also makes the model: random weights, saved by torchmd-net and converted by `workflows/convert_torchmdnet.py`. A
training step is the gradient of a squared loss for labels of zero; the optimiser is left out. torchmd-net looks for
neighbours in every call; a request with `neighbours` gives it the edges beforehand instead, as sciten has them.
"""

import importlib.util
import sys
import time
import warnings
from importlib import metadata
from typing import Any

import torch
from serve import Job, Request, read_structures, serve
from torchmdnet.models.model import create_model, load_model

warnings.simplefilter("ignore")


class Known(torch.nn.Module):
    """Distances along edges that are known, in the place of torchmd-net's search for neighbours."""

    def __init__(self, edge_index: torch.Tensor) -> None:
        super().__init__()
        self.edges = edge_index
        # An atom neighbours itself too, where a norm has no derivative.
        (self.others,) = (edge_index[0] != edge_index[1]).nonzero(as_tuple=True)

    def forward(self, pos: torch.Tensor, batch: Any, box: Any) -> tuple[torch.Tensor, ...]:
        vectors = pos[self.edges[0]] - pos[self.edges[1]]
        lengths = vectors.new_zeros(len(vectors))
        lengths = lengths.index_put((self.others,), vectors[self.others].norm(dim=1))
        return self.edges, lengths, vectors


def make(request: Request) -> dict[str, Any]:
    """Save a model with torchmd-net's own random weights, and convert it for sciten."""
    channels, layers, radial, cutoff = request["arguments"]
    settings: dict[str, Any] = {
        "model": "tensornet",
        "precision": 32,
        "embedding_dimension": channels,
        "num_layers": layers,
        "num_rbf": radial,
        "rbf_type": "expnorm",
        "trainable_rbf": False,
        "activation": "silu",
        "cutoff_lower": 0.0,
        "cutoff_upper": cutoff,
        "max_z": 20,
        "max_num_neighbors": 64,
        "equivariance_invariance_group": "O(3)",
        "atom_filter": -1,
        "prior_model": None,
        "output_model": "Scalar",
        "reduce_op": "add",
        "derivative": True,
    }
    torch.manual_seed(0)
    model = create_model(dict(settings))
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    torch.save({"hyper_parameters": settings, "state_dict": state}, request["model"])
    elements = [str(z) for z in request["elements"]]
    if _converter(request["converter"]).main(
        [request["model"], request["converted"], "--elements", *elements]
    ):
        raise RuntimeError("the model could not be converted")
    wanted = ("torchmd-net", "warp-lang", "torch")
    installed = {distribution.metadata["Name"] for distribution in metadata.distributions()}
    return {"versions": {name: metadata.version(name) for name in wanted if name in installed}}


def _converter(path: str) -> Any:
    specification = importlib.util.spec_from_file_location("convert_torchmdnet", path)
    if specification is None or specification.loader is None:
        raise RuntimeError(f"{path} is no Python file")
    module = sys.modules["convert_torchmdnet"] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def prepare(request: Request) -> Job:
    """Load a model and make a batch."""
    start = time.perf_counter()
    model = load_model(request["model"])
    training = request["task"] == "train"
    model.requires_grad_(training).train(training)
    load_s = time.perf_counter() - start
    structures = read_structures(request["structures"])
    numbers = torch.tensor([z for structure in structures for z in structure["numbers"]])
    positions = torch.tensor([r for structure in structures for r in structure["positions"]])
    batch = torch.tensor([n for n, structure in enumerate(structures) for _ in structure["numbers"]])
    network = model.representation_model
    edges = network.distance(positions, batch, None)[0]
    if request["neighbours"] == "beforehand":
        network.distance = Known(edges)
    facts = {"load_s": load_s, "atoms": len(numbers), "edges": int((edges[0] != edges[1]).sum())}

    def forward() -> tuple[torch.Tensor, torch.Tensor]:
        # The model marks the positions as its input: every call gets fresh ones, as from a data loader.
        energy, forces = model(numbers, positions.clone(), batch)
        return energy[:, 0], forces

    if not training:
        return Job(forward, lambda: _prediction(*forward()), facts)
    atoms = torch.bincount(batch)

    def train() -> torch.Tensor:
        model.zero_grad(set_to_none=True)
        energy, forces = forward()
        loss = (energy / atoms).square().mean() + forces.square().mean()
        loss.backward()
        return loss.detach()

    def check() -> dict[str, Any]:
        loss = float(train())
        gradients = [p.grad.double().square().sum() for p in model.parameters() if p.grad is not None]
        return {"loss": loss, "gradient": float(torch.stack(gradients).sum().sqrt())}

    return Job(train, check, facts)


def _prediction(energy: torch.Tensor, forces: torch.Tensor) -> dict[str, Any]:
    return {"energy": float(energy.detach().double().sum()), "forces": forces.detach().tolist()}


if __name__ == "__main__":
    serve(prepare, {"make": make})
