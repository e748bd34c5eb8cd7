"""The worker for sciten: `python -m sciten.cli.benchmarks.workers.ours`.

A training step is the gradient of a squared loss for labels of zero; the optimiser is left out.
"""

import time
from typing import Any

import ase
import torch

from sciten.cli.benchmarks.workers.serve import Job, Request, read_structures, serve
from sciten.potentials import Potential, Prediction, load_potential


def prepare(request: Request) -> Job:
    """Load a model and make a batch; the neighbour list is not timed."""
    start = time.perf_counter()
    model = load_potential(request["model"])
    return job(model, request, time.perf_counter() - start)


def job(model: Potential, request: Request, load_s: float) -> Job:
    """What is timed of a model that is there."""
    structures = [ase.Atoms(**structure) for structure in read_structures(request["structures"])]
    batch = model.prepare(structures)
    facts = {
        "load_s": load_s,
        "atoms": batch.n_atoms,
        "edges": batch.n_edges,
    }

    def evaluate() -> Prediction:
        return model.forward_batch(batch)

    if request["task"] == "evaluate":
        return Job(evaluate, lambda: _prediction(evaluate()), facts)

    model.requires_grad_(True).train()
    atoms = torch.bincount(batch.frame)

    def train() -> torch.Tensor:
        model.zero_grad(set_to_none=True)
        prediction = model(batch)
        loss = (prediction.energy / atoms).square().mean() + prediction.forces.square().mean()
        loss.backward()
        return loss.detach()

    def check() -> dict[str, Any]:
        loss = float(train())
        gradients = [p.grad.double().square().sum() for p in model.parameters() if p.grad is not None]
        return {"loss": loss, "gradient": float(torch.stack(gradients).sum().sqrt())}

    return Job(train, check, facts)


def _prediction(prediction: Prediction) -> dict[str, Any]:
    if prediction.forces is None:
        raise RuntimeError("there are no forces in the prediction")
    return {"energy": float(prediction.energy.sum()), "forces": prediction.forces.tolist()}


if __name__ == "__main__":
    serve(prepare)
