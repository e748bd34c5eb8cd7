"""The worker for neuraloperator, run as a script by a Python that has it; no sciten in it.

It makes the model, and where it is asked to check, it writes the weights with what the model gives for some fields, in
single and in double precision, for others to start from.
"""

import copy
import time
from importlib.metadata import version
from typing import Any
from unittest import mock

import torch
from neuralop.models import FNO
from serve import Job, Request, serve


def prepare(request: Request) -> Job:
    """Build the model and a training step or a forward pass of it."""
    start = time.perf_counter()
    torch.manual_seed(0)
    model = FNO(
        n_modes=tuple(request["modes"]),
        in_channels=1,
        out_channels=1,
        hidden_channels=request["hidden_channels"],
        factorization=request["format"],
        rank=request["rank"],
        implementation=request["options"]["implementation"],
    )
    fields = torch.randn(request["batch"], 1, *request["grid"])
    # A fused optimiser does not take the model's complex weights.
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)

    def step() -> None:
        optimizer.zero_grad()
        model(fields).square().mean().backward()
        optimizer.step()

    @torch.no_grad()
    def forward() -> torch.Tensor:
        return model(fields)

    @torch.no_grad()
    def check() -> dict[str, Any]:
        paths = request["weights"]
        given = {**_tensors(model.state_dict()), "fields": fields, "outputs": model(fields)}
        torch.save(given, paths["float32"])
        exact = copy.deepcopy(model).double()
        for parameter in exact.parameters():
            if parameter.is_complex():  # which `double` leaves alone
                parameter.data = parameter.data.to(torch.complex128)
        # The convolution asks for torch.cfloat where it keeps its coefficients, whatever it is given.
        with mock.patch.object(torch, "cfloat", torch.complex128):
            outputs = exact(fields.double())
        torch.save({**_tensors(exact.state_dict()), "fields": fields, "outputs": outputs}, paths["float64"])
        return {}

    facts = {
        "load_s": time.perf_counter() - start,
        "parameters": sum(p.numel() * (2 if p.is_complex() else 1) for p in model.parameters()),
        "version": version("neuraloperator"),
    }
    return Job(step if request["task"] == "step" else forward, check, facts)


def _tensors(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


if __name__ == "__main__":
    serve(prepare)
