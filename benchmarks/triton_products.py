"""How fast are the Triton kernels, beside e3nn, cuEquivariance and OpenEquivariance, and beside the memory's bandwidth?

    python benchmarks/triton_products.py --peer-python PATH/TO/peer-environment/bin/python

Run with sciten's Python on a machine with a CUDA device. The peer environment has torch for the same device,
cuequivariance-torch with its kernels (cuequivariance-ops-torch-cu12 or -cu13) and openequivariance; what it lacks is
left out, and so said. Times the channelwise convolution and the symmetric contraction, forward, backward and double
backward, in float32, one program at a time in turns. Writes benchmarks/results/triton_products_<device>.json.
"""

import argparse
import contextlib
import datetime
import json
import platform
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import sciten
from sciten.cli.benchmarks.processes import SCRIPTS, Worker, WorkerError
from sciten.cli.benchmarks.workers.triton_products import PROGRAMS, Case, milliseconds
from sciten.equivariant.products.channelwise import convolution_map
from sciten.equivariant.products.symmetric import contraction_map
from sciten.files import write_text

ROOT = Path(__file__).parents[1]
PASSES = ("forward", "backward", "double_backward")
TOLERANCE = 1e-4  # relative, between programs that compute the same in float32


def cases(lmaxs: Sequence[int], device: str) -> list[Case]:
    """What is measured: 10,000 edges between 400 atoms, and 1,000 atoms of ten species, 128 channels each."""
    common = {"channels": 128, "device": device}
    convolution = {"product": "convolution", "n_atoms": 400, "n_neighbours": 25, **common}
    contraction = {
        "product": "contraction",
        "n_atoms": 1000,
        "n_species": 10,
        "correlation": 3,
        "degrees": [0, 1],
        **common,
    }
    return [{**case, "lmax": lmax} for case in (convolution, contraction) for lmax in lmaxs]


def bytes_of_passes(case: Case) -> dict[str, int]:
    """Least bytes of each pass: those of the maps that it evaluates, one after the other."""
    lmax, n_atoms = case["lmax"], case["n_atoms"]
    if case["product"] == "convolution":
        map_ = convolution_map(lmax, lmax, lmax)
        batch, rows = n_atoms * case["n_neighbours"], {"senders": n_atoms, "receivers": n_atoms}
    else:
        map_ = contraction_map(lmax, tuple(case["degrees"]), case["correlation"])
        batch, rows = n_atoms, {"species": case["n_species"]}
    every = range(len(map_.arguments))
    forces = map_.derivative(every[1:])
    evaluated = {
        "forward": [map_],
        "backward": [map_, map_.derivative(every)],
        "double_backward": [map_, forces, forces.derivative(every)],
    }
    return {
        name: sum(each.bytes_moved(batch, case["channels"], rows=rows) for each in maps)
        for name, maps in evaluated.items()
    }


def bandwidth(device: str, size: int = 2**30) -> float:
    """Bytes per second of a copy within the device's memory, read and written."""
    source = torch.ones(size, dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    times = milliseconds(lambda: target.copy_(source), 20, device)
    return 2 * size / (1e-3 * statistics.median(times[5:]))


def factors(theirs: Mapping[str, list[float]], ours: Mapping[str, list[float]], program: str) -> list[float]:
    """By what each path of a program's convolution differs from ours; normalisations do, directions must not.

    Raises:
        WorkerError: some path is not proportional to ours.
    """
    found = [a / b for a, b in zip(theirs["projection"], ours["projection"], strict=True)]
    norms = [a / b for a, b in zip(theirs["norm"], ours["norm"], strict=True)]
    if not all(abs(abs(f) - n) <= TOLERANCE * n for f, n in zip(found, norms, strict=True)):
        raise WorkerError(f"{program}: its paths are not proportional to sciten's: {found} against {norms}")
    return found


def measure(workers: Sequence[Worker], case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Times of all programs that know the product, in turns, and the factors between their paths."""
    document: dict[str, Any] = {"case": case, "programs": {}, "left_out": {}}
    ready, checks = [], {}
    for worker in workers:
        try:
            facts = worker.ask("prepare", {"case": case, "warm_up": 3}, limit=options.limit)
            checks[worker.name] = worker.ask("check")
            if worker.name != "sciten" and checks[worker.name]:
                known = factors(checks[worker.name], checks["sciten"], worker.name)
                facts["factors"] = [round(f, 6) for f in known]
        except WorkerError as error:
            if worker.name == "sciten":
                raise
            document["left_out"][worker.name] = str(error)
            continue
        document["programs"][worker.name] = {**facts, "milliseconds": {name: [] for name in PASSES}}
        ready.append(worker)
    for i in range(options.rounds):
        for name in PASSES:
            for worker in ready if i % 2 == 0 else ready[::-1]:
                reply = worker.ask("time", {"pass": name, "calls": options.calls}, limit=options.limit)
                document["programs"][worker.name]["milliseconds"][name] += reply["milliseconds"]
    return document


def summarised(document: dict[str, Any], bytes_per_second: float) -> dict[str, Any]:
    """Medians and quartiles instead of all times, ratios to sciten, and fractions of the roofline."""
    least = bytes_of_passes(document["case"])
    for program in document["programs"].values():
        for name, times in program["milliseconds"].items():
            low, median, high = statistics.quantiles(times, n=4, method="inclusive")
            program["milliseconds"][name] = {
                "lower_quartile": round(low, 4),
                "median": round(median, 4),
                "upper_quartile": round(high, 4),
            }
            program.setdefault("fraction_of_roofline", {})[name] = round(
                least[name] / bytes_per_second / (1e-3 * median), 4
            )
    ours = document["programs"]["sciten"]["milliseconds"]
    for program in document["programs"].values():
        program["times_of_sciten"] = {
            name: round(program["milliseconds"][name]["median"] / ours[name]["median"], 3) for name in PASSES
        }
    document["least_bytes"] = least
    return document


def slug(device: str) -> str:
    """The device's name as part of a file's."""
    return re.sub(r"[^a-z0-9]+", "_", device.lower()).strip("_")


def commands(peer: str | None) -> dict[str, list[str | Path]]:
    """How each program's worker is started."""
    script = SCRIPTS / "triton_products.py"
    pythons = {"sciten": sys.executable, "e3nn": sys.executable}
    if peer is not None:
        pythons |= {name: peer for name in PROGRAMS if name not in pythons}
    return {name: [python, script, name] for name, python in pythons.items()}


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Time the Triton kernels beside other libraries.")
    parser.add_argument("--peer-python", help="Python of an environment with the peers; default: e3nn alone")
    parser.add_argument("--lmax", type=int, nargs="*", default=[1, 2, 3], help="default: 1 2 3")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each program (default: 5)")
    parser.add_argument("--calls", type=int, default=20, help="timed calls in each turn (default: 20)")
    parser.add_argument(
        "--limit", type=float, default=900.0, help="seconds for a program to compile a product"
    )
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/triton_products_<device>.json")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = options_of(arguments)
    if not torch.cuda.is_available():
        raise SystemExit(
            "triton_products: expected a CUDA device to time kernels on, and torch finds none; run this command on a "
            "machine with one, with a torch built for it"
        )
    name = torch.cuda.get_device_name()
    bytes_per_second = bandwidth("cuda")
    print(f"{name}: a copy moves {bytes_per_second / 1e9:.0f} GB/s")
    found = []
    with contextlib.ExitStack() as stack:
        environment = {"PYTHONPATH": str(ROOT), "TRITON_INTERPRET": None}
        workers = [
            stack.enter_context(Worker(program, command, threads=4, environment=environment))
            for program, command in commands(options.peer_python).items()
        ]
        for case in tqdm(cases(options.lmax, "cuda"), disable=None):
            document = summarised(measure(workers, case, options), bytes_per_second)
            found.append(document)
            for line in rows(document):
                tqdm.write(line)
    result = {
        "question": "channelwise convolution and symmetric contraction in float32: ms, ratios, roofline fractions",
        "measured": datetime.date.today().isoformat(),
        "device": {
            "name": name,
            "capability": ".".join(map(str, torch.cuda.get_device_capability())),
            "copy_gb_per_s": round(bytes_per_second / 1e9, 1),
            "cuda": torch.version.cuda,
        },
        "versions": {
            "sciten": sciten.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "settings": {"rounds": options.rounds, "calls": options.calls},
        "cases": found,
    }
    target = options.json or ROOT / f"benchmarks/results/triton_products_{slug(name)}.json"
    write_text(target, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(f"written: {target}")
    return 0


def rows(document: dict[str, Any]) -> list[str]:
    """Lines for the terminal, one for each program."""
    title = f"{document['case']['product']}, lmax {document['case']['lmax']}"
    lines = [f"{title}: {program} left out: {why}" for program, why in document["left_out"].items()]
    for program, values in document["programs"].items():
        shown = "  ".join(
            f"{name} {values['milliseconds'][name]['median']:.3f} ms ({values['times_of_sciten'][name]:.2f} x, "
            f"{values['fraction_of_roofline'][name]:.0%})"
            for name in PASSES
        )
        lines.append(f"{title}: {program:17s} {shown}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
