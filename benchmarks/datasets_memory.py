"""How much memory does iterating a dataset of a million atoms cost?

Writes such a file to a temporary folder, then measures in a fresh process: the resident memory after the
imports, and its peak while all frames are read in order and some at random. Linux only (it reads /proc).

    python benchmarks/datasets_memory.py [--atoms 1000000] [--json benchmarks/results/datasets_memory.json]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sciten.datasets import Structure, write_structures
from sciten.files import write_text

ATOMS_PER_FRAME = 20

_MEASUREMENT = """
import json, random, sys, time
import sciten.datasets
from sciten.datasets import AtomsDataset

def memory(key):
    with open("/proc/self/status") as stream:
        return next(int(line.split()[1]) / 1024 for line in stream if line.startswith(key))

before = memory("VmRSS")
start = time.perf_counter()
with AtomsDataset(sys.argv[1]) as dataset:
    atoms = sum(len(frame.forces) for frame in dataset)
    seconds = time.perf_counter() - start
    chooser = random.Random(0)
    start = time.perf_counter()
    for _ in range(1000):
        dataset[chooser.randrange(len(dataset))]
    random_seconds = time.perf_counter() - start
result = {
    "atoms": atoms,
    "frames": len(dataset),
    "after_imports_mb": round(before, 1),
    "above_imports_mb": round(memory("VmHWM") - before, 1),
    "iteration_s": round(seconds, 2),
    "random_frame_ms": round(random_seconds, 3),
}
print(json.dumps(result))
"""


def random_structures(n_atoms: int) -> Iterator[Structure]:
    """Frames with all labels and a further array per frame and per atom, random but valid."""
    generator = np.random.default_rng(0)
    grid = 2.0 * np.stack(np.meshgrid(*[np.arange(3.0)] * 3), axis=-1).reshape(-1, 3)[:ATOMS_PER_FRAME]
    for i in range(n_atoms // ATOMS_PER_FRAME):
        yield Structure(
            positions=grid + generator.normal(scale=0.1, size=grid.shape),
            numbers=generator.choice([1, 6, 8], size=len(grid)),
            cell=8.0 * np.eye(3),
            pbc=np.ones(3, dtype=bool),
            energy=float(generator.normal()),
            forces=generator.normal(size=grid.shape),
            stress=generator.normal(size=6),
            config_type=f"type {i % 3}",
            info={"temperature": np.asarray(300.0)},
            arrays={"charges": generator.normal(size=len(grid))},
        )


def measure(path: Path) -> dict[str, float]:
    """Memory (MB) and time of reading the file at `path`, in a fresh process."""
    command = [sys.executable, "-c", _MEASUREMENT, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    """Write, measure, print, and keep the result."""
    default = Path(__file__).parent / "results" / "datasets_memory.json"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "million.h5"
        start = time.perf_counter()
        write_structures(path, random_structures(options.atoms), command="datasets_memory.py", progress=True)
        written = time.perf_counter() - start
        result = {
            **measure(path),
            "file_mb": round(path.stat().st_size / 2**20, 1),
            "writing_s": round(written, 1),
        }
    result |= {"python": platform.python_version(), "limit_mb": 150}
    text = json.dumps(result, indent=2)
    write_text(options.json, text + "\n")
    print(text)


if __name__ == "__main__":
    main()
