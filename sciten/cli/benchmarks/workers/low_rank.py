"""The worker for sciten's tensor trains: `python -m sciten.cli.benchmarks.workers.low_rank`."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from sciten.cli.benchmarks.workers.serve import Job, Request, serve
from sciten.pde import AMEn, ExponentialSums
from sciten.tensor import TensorTrain


def prepare(request: Request) -> Job:
    """Read the trains and say what is to be done with them."""
    start = time.perf_counter()
    with np.load(request["trains"]) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files}
    call = _task(request, arrays)

    def check() -> dict[str, Any]:
        result = call()
        if isinstance(result, torch.Tensor):
            return {"value": float(result)}
        if "places" in request:  # of a result that is too large to hand on
            return {"values": [entry(result.cores, place) for place in request["places"]]}
        np.savez(request["answer"], *[core.numpy() for core in result.cores])
        return {}

    return Job(call, check, {"load_s": time.perf_counter() - start})


def _task(request: Request, arrays: dict[str, torch.Tensor]) -> Callable[[], Any]:
    if request["task"] == "solve":
        right_side = train(arrays, "right_side")
        if request["options"]["solver"] == "ExponentialSums":
            factors = [arrays[f"axis_{k}"] for k in range(len(right_side))]
            return lambda: ExponentialSums(request["tolerance"]).solve(factors, right_side).field
        matrix = train(arrays, "matrix")
        return lambda: AMEn(request["tolerance"]).solve(matrix, right_side).field
    x, y = train(arrays, "x"), train(arrays, "y")
    tasks: dict[str, Callable[[], Any]] = {
        "round": lambda: x.round(request["tolerance"]),
        "multiply": lambda: x * y,
        "inner": lambda: x.inner(y),
    }
    return tasks[request["task"]]


def train(arrays: dict[str, torch.Tensor], name: str) -> TensorTrain:
    """A train by the names of its cores."""
    count = sum(key.startswith(f"{name}_") for key in arrays)
    cores = tuple(arrays[f"{name}_{k}"] for k in range(count))
    return TensorTrain(cores, operator=cores[0].ndim == 4)


def entry(cores: Sequence[torch.Tensor], place: Sequence[int]) -> float:
    """An entry of a train."""
    row = cores[0][:, place[0]]
    for core, index in zip(cores[1:], place[1:], strict=True):
        row = row @ core[:, index]
    return float(row)


if __name__ == "__main__":
    with torch.no_grad():
        serve(prepare)
