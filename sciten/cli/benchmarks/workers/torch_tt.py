"""The worker for torchTT, run as a script by a Python that has it; no sciten in it."""

import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
import torchtt
from serve import Job, Request, serve
from torchtt.solvers import amen_solve


def prepare(request: Request) -> Job:
    """Read the trains and say what is to be done with them."""
    start = time.perf_counter()
    with np.load(request["trains"]) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files}
    call = _task(request, arrays)
    facts = {
        "load_s": time.perf_counter() - start,
        "cpp": bool(torchtt.cpp_enabled()),
        "version": version("torchTT"),
    }

    def check() -> dict[str, Any]:
        result = call()
        if isinstance(result, torch.Tensor):
            return {"value": float(result)}
        if "places" in request:  # of a result that is too large to hand on
            return {"values": [entry(result.cores, place) for place in request["places"]]}
        np.savez(request["answer"], *[core.numpy() for core in result.cores])
        return {}

    return Job(call, check, facts)


def _task(request: Request, arrays: dict[str, torch.Tensor]) -> Callable[[], Any]:
    if request["task"] == "solve":
        matrix, right_side = train(arrays, "matrix"), train(arrays, "right_side")
        options = request["options"]
        return lambda: amen_solve(
            matrix,
            right_side,
            eps=request["tolerance"],
            nswp=50,
            kickrank=4,
            preconditioner=options["preconditioner"],
            use_cpp=options["cpp"],
            verbose=False,
        )
    x, y = train(arrays, "x"), train(arrays, "y")
    tasks: dict[str, Callable[[], Any]] = {
        "round": lambda: x.round(request["tolerance"]),
        "multiply": lambda: x * y,
        "inner": lambda: torchtt.dot(x, y),
    }
    return tasks[request["task"]]


def train(arrays: dict[str, torch.Tensor], name: str) -> Any:
    """A train by the names of its cores."""
    count = sum(key.startswith(f"{name}_") for key in arrays)
    return torchtt.TT([arrays[f"{name}_{k}"] for k in range(count)])


def entry(cores: Sequence[torch.Tensor], place: Sequence[int]) -> float:
    """An entry of a train."""
    row = cores[0][:, place[0]]
    for core, index in zip(cores[1:], place[1:], strict=True):
        row = row @ core[:, index]
    return float(row)


if __name__ == "__main__":
    serve(prepare)
