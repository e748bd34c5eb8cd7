"""The worker for symmetrix-xl, run as a script by a Python that has it and mace-torch; no sciten in it.

symmetrix-xl has no batches: molecules become one structure of fragments far apart, which is the same work.
Its neighbour list is kept from the first call (positions do not change), with a skin so thin that it holds no
needless pairs. Its fast path computes the stress as well. On the CPU its default profile, "capacity", generates
more code than "speed" and is the faster one.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ase
from serve import Job, Request, read_structures, serve

THREADS = int(os.environ["OMP_NUM_THREADS"])
SKIN = 0.001  # Å; zero would search the neighbours anew in every call
SEPARATION = 100.0  # Å


def prepare(request: Request) -> Job:
    """Convert a model and let symmetrix-xl generate and compile its code, unless its cache has it."""
    os.environ["KOKKOS_NUM_THREADS"] = str(THREADS)
    from symmetrix import Symmetrix

    atoms = _one([ase.Atoms(**structure) for structure in read_structures(request["structures"])])
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        model = Path(folder) / "model.json"
        extract = [sys.executable, "-m", "symmetrix.cli.extract_mace"]
        subprocess.run([*extract, "--model", request["model"], "--output", str(model)], check=True)
        calculator = Symmetrix(model, dtype="float32", neighbor_skin=SKIN)
        load_s = time.perf_counter() - start
    facts = {"load_s": load_s, "atoms": len(atoms)}

    def evaluate() -> None:
        calculator.calculate(atoms, properties=["energy", "forces"], system_changes=[])

    def check() -> dict[str, Any]:
        evaluate()
        return {
            "energy": float(calculator.results["energy"]),
            "forces": calculator.results["forces"].tolist(),
        }

    return Job(evaluate, check, facts)


def _one(frames: list[ase.Atoms]) -> ase.Atoms:
    if len(frames) == 1 and frames[0].pbc.any():
        return frames[0]
    result = ase.Atoms()
    for i, frame in enumerate(frames):
        frame.translate([i * SEPARATION, 0, 0])
        result += frame
    result.center(vacuum=10.0)  # its neighbour search wants a cell even where nothing is periodic
    return result


if __name__ == "__main__":
    serve(prepare)
