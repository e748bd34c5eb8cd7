"""The worker for sciten's `SO2Product`: `python -m sciten.cli.benchmarks.workers.so2_ours`."""

import time
from typing import Any

import numpy as np
import torch

from sciten.cli.benchmarks.workers.serve import Job, Request, serve
from sciten.equivariant.products.so2 import SO2Product


def prepare(request: Request) -> Job:
    """Build the product with the weights given; edges come as vectors in every call."""
    with np.load(request["inputs"]) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files}
    inputs = [arrays.pop(name) for name in ("features", "vectors", "radial")]
    start = time.perf_counter()
    lmax, channels = request["lmax"], request["channels"]
    product = SO2Product(lmax, lmax, channels, channels, mmax=request["mmax"], dtype=torch.float32)
    product.load_state_dict(arrays)
    load_s = time.perf_counter() - start
    training = request["task"] == "train"
    product.requires_grad_(training)

    def messages() -> torch.Tensor:
        result: torch.Tensor = product(*inputs)
        return result

    def gradients() -> tuple[torch.Tensor, ...]:
        leaves = [tensor.detach().requires_grad_(True) for tensor in inputs]
        loss = product(*leaves).square().mean()
        return torch.autograd.grad(loss, [*leaves, *product.parameters()])

    def check() -> dict[str, Any]:
        result = messages().detach()
        found = {"some": result[:4].tolist(), "squares": result.square().sum((0, 1)).tolist()}
        if training:
            found["gradient"] = gradients()[0][:4].tolist()
        return found

    return Job(gradients if training else messages, check, {"load_s": load_s})


if __name__ == "__main__":
    serve(prepare)
