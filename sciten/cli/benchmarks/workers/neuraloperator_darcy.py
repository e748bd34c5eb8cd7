"""The worker that trains neuraloperator's models on Darcy's equation, run as a script by a Python that has it.

It is given a file of tensors: inputs and targets to train on, and of each grid to test on. The calculation is what
neuraloperator's own examples do: its models and its H1 loss on numbers of order one, AdamW, a cosine to zero.
"""

import time
from importlib.metadata import version
from typing import Any

import torch
from neuralop.losses import H1Loss
from neuralop.models import FNO
from serve import Job, Request, serve


def prepare(request: Request) -> Job:
    """Build the model; a call trains it, and a check gives its relative L2 errors `[grids][samples]`."""
    start = time.perf_counter()
    data = torch.load(request["data"])
    torch.manual_seed(request["seed"])
    model = FNO(in_channels=1, out_channels=1, **request["model"])
    scales = [(fields.mean(), fields.std()) for fields in data["train"]]
    x, y = (_scaled(fields, scale) for fields, scale in zip(data["train"], scales, strict=True))

    def train() -> None:
        optimizer = torch.optim.AdamW(model.parameters(), lr=request["learning_rate"], weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, request["epochs"])
        loss = H1Loss(d=2)
        for _ in range(request["epochs"]):
            for batch in torch.randperm(len(x)).split(request["batch_size"]):
                optimizer.zero_grad()
                loss(model(x[batch]), y[batch]).backward()
                optimizer.step()
            schedule.step()

    @torch.no_grad()
    def check() -> dict[str, Any]:
        mean, std = scales[1]
        errors = []
        for inputs, targets in data["test"]:
            outputs = model(_scaled(inputs, scales[0])) * std + mean
            relative = (outputs - targets).flatten(1).norm(dim=1) / targets.flatten(1).norm(dim=1)
            errors.append(relative.tolist())
        return {"errors": errors}

    facts = {
        "load_s": time.perf_counter() - start,
        "parameters": sum(p.numel() * (2 if p.is_complex() else 1) for p in model.parameters()),
        "version": version("neuraloperator"),
    }
    return Job(train, check, facts)


def _scaled(fields: torch.Tensor, scale: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return (fields - scale[0]) / scale[1]


if __name__ == "__main__":
    serve(prepare)
