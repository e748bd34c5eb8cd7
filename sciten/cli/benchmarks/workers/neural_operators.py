"""The worker for sciten's neural operators: `python -m sciten.cli.benchmarks.workers.neural_operators`."""

import time
from typing import Any

import torch

from sciten.cli.benchmarks.workers.serve import Job, Request, serve
from sciten.integrations.neuraloperator import operator_from_neuraloperator
from sciten.neural_operators import FNO


def prepare(request: Request) -> Job:
    """Take over the peer's weights, and prepare a training step or a forward pass."""
    start = time.perf_counter()
    model, fields, _ = _given(request["weights"]["float32"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        model(fields).square().mean().backward()
        optimizer.step()

    @torch.no_grad()
    def forward() -> torch.Tensor:
        return model(fields)

    @torch.no_grad()
    def check() -> dict[str, Any]:
        found = {}
        for dtype, path in request["weights"].items():
            operator, given, expected = _given(path)
            error = operator(given.to(operator.dtype)) - expected
            found[f"error_{dtype}"] = float(error.norm() / expected.norm())
        return found

    facts = {
        "load_s": time.perf_counter() - start,
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    return Job(step if request["task"] == "step" else forward, check, facts)


def _given(path: str) -> tuple[FNO, torch.Tensor, torch.Tensor]:
    """A peer's model as ours, the fields it was given, and what it made of them."""
    content = torch.load(path, weights_only=True)
    fields, outputs = content.pop("fields"), content.pop("outputs")
    return operator_from_neuraloperator(content), fields, outputs


if __name__ == "__main__":
    serve(prepare)
