"""How much memory does a training step cost with multi-grid patching?

A tensorised Fourier neural operator is trained for a step on whole fields, and on 2 x 2 and 4 x 4 patches, as many of
them at a time as there are fields. Each case runs in fresh processes, which measure peaks above what was there before:
of the memory that the step's tensors take, counted at every operation (which compiled code is not followed through, so
that this is the step of plain operations), and of the resident memory, which has the libraries' own buffers too. glibc
keeps some of what was freed, the more the smaller the tensors are, so that resident memory is measured with its
defaults and with freed memory given back. Linux only (it reads /proc).

    python benchmarks/patching_memory.py [--points 256] [--json benchmarks/results/patching_memory.json]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sciten.files import write_text
from sciten.neural_operators import TFNO, MultigridPatching, TuckerFactors

#: Makes glibc give freed blocks back, from this many bytes on: otherwise it raises the threshold up to 32 MB by itself.
_GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**18)}

#: Patches for each axis, coarser levels, and padding.
CASES = (
    (1, 0, 0.0),
    (2, 0, 0.0),
    (2, 1, 0.0),
    (2, 1, 0.05),
    (4, 0, 0.0),
    (4, 1, 0.0),
    (4, 2, 0.0),
    (4, 2, 0.05),
)


class PeakOfTensors(TorchDispatchMode):
    """Follows the storages that operations make while it is entered; `peak` is the most bytes that lived at once."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._bytes = 0
        self._living: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._follow(tensor.untyped_storage(), given)
        return result

    def _follow(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._living or key in given:  # a view, or an operation in place
            return
        self._living.add(key)
        self._bytes += size
        self.peak = max(self.peak, self._bytes)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._living.discard(key)
        self._bytes -= size


class ResidentPeak:
    """The most resident memory of this process while it is entered, above that on entry; `peak` in bytes.

    Not `resource.getrusage`: its peak begins with that of the process that started this one.
    """

    def __enter__(self) -> Self:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self._before = _status("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.peak = _status("VmHWM") - self._before


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


def training_step(count: int, levels: int, padding: float, points: int, batch: int) -> Callable[[], None]:
    """A step on `count` x `count` patches, or on whole fields where `count` is one."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 1, points, points, generator=generator)
    target = torch.randn(batch, 1, points, points, generator=generator)
    modes = (min(16, points // count),) * 2
    patching = MultigridPatching((count, count), levels, padding, at_a_time=batch) if count > 1 else None
    model = TFNO(1, 1, modes, hidden_channels=32, factorization=TuckerFactors(0.05), patching=patching)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def measure_here(count: int, levels: int, padding: float, points: int, batch: int) -> dict[str, float]:
    """Peaks (MB) and time of a step, in this process; the first of its kind in a process counts."""
    training_step(count, levels, padding, 16, 1)()  # threads, kernels and gradients are there
    step = training_step(count, levels, padding, points, batch)
    with ResidentPeak() as resident:
        step()
    with PeakOfTensors() as tensors:
        step()
    start = time.perf_counter()
    step()  # compiled code is there by now
    seconds = time.perf_counter() - start
    return {
        "patches": count,
        "levels": levels,
        "padding": padding,
        "tensors_mb": round(tensors.peak / 2**20, 1),
        "resident_mb": round(resident.peak / 2**20, 1),
        "step_s": round(seconds, 3),
    }


def measure(count: int, levels: int, padding: float, points: int, batch: int) -> dict[str, float]:
    """As `measure_here`, in a fresh process; `resident_given_back_mb` is of another one, which gives memory back."""
    case = json.dumps([count, levels, padding, points, batch])
    given_back = _fresh(case, _GIVE_BACK)["resident_mb"]
    return {**_fresh(case, {}), "resident_given_back_mb": given_back}


def _fresh(case: str, environment: dict[str, str]) -> dict[str, float]:
    root = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, __file__, "--case", case],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root, **environment},
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    """Measure all cases, print them, and keep the result."""
    default = Path(__file__).parent / "results" / "patching_memory.json"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=256, help="along each of two axes")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--json", type=Path, default=default)
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure_here(*options.case)))
        return
    cases = [measure(*case, options.points, options.batch) for case in CASES]
    for case in cases:
        for key in ("tensors", "resident", "resident_given_back"):
            case[f"{key}_times_less"] = round(cases[0][f"{key}_mb"] / case[f"{key}_mb"], 2)
        print(json.dumps(case))
    result = {
        "model": "TFNO, 32 hidden channels, 16² modes, Tucker weights of a twentieth",
        "allocator_of_resident_given_back": " ".join(f"{k}={v}" for k, v in _GIVE_BACK.items()),
        "points": options.points,
        "batch": options.batch,
        "cases": cases,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    write_text(options.json, json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
