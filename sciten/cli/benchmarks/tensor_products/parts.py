"""More parts: the convolution, and products within potentials."""

from typing import Any

from sciten.cli.benchmarks.machine import checkout
from sciten.cli.benchmarks.summary import first_call, ratios, target
from sciten.cli.benchmarks.systems import molecules
from sciten.cli.benchmarks.tensor_products.degrees import e3nn_programs, fastest_e3nn
from sciten.cli.benchmarks.tensor_products.rows import Measurer, Program
from sciten.cli.benchmarks.tensor_products.settings import (
    CONVOLUTION_TARGET,
    PASSES,
    TENSORNET_TARGET,
)
from sciten.datasets import batch_from_ase
from sciten.errors import ConfigError

OURS = "sciten"
_TASKS = {"evaluate": "energy + forces", "train": "training step"}


def convolution(measurer: Measurer) -> list[dict[str, Any]]:
    """The convolution as MACE runs it, `TensorProduct` between a gather and a scatter, and e3nn's likewise."""
    settings = measurer.settings
    lmax, channels = settings.convolution_lmax, settings.convolution_channels
    case = {
        "product": "convolution",
        "n_atoms": settings.atoms,
        "n_neighbours": settings.neighbours,
        "channels": channels,
        "lmax": lmax,
        "device": "cpu",
    }
    edges = settings.atoms * settings.neighbours
    dropin = {"program": "TensorProduct convolution", "case": case}
    programs = [
        Program(OURS, "products", {"program": "convolution", "case": case}, cached=True),
        Program("TensorProduct", "products", dropin, like=OURS, cached=True),
        *e3nn_programs({"case": case}, OURS, settings.e3nn_limit),
    ]
    passes = {name: {"pass": name} for name in PASSES}
    rows = measurer.rows("convolution", programs, passes, "us_per_edge", edges)
    found = []
    for name, row in rows.items():
        over = ratios(row["programs"], OURS, "us_per_edge")
        best = fastest_e3nn(row["programs"], "us_per_edge")
        targets = [first_call(row["programs"][OURS])]
        if name == "backward" and best is not None:
            targets.append(target(f"{best} / {OURS}", over[best], CONVOLUTION_TARGET))
        title = f"convolution, {edges} edges, {channels} channels, lmax = {lmax}, {PASSES[name]}"
        head = {"part": "convolution", "title": title, "pass": name, "case": case, "edges": edges}
        found.append({**head, **row, "ratios": over, "fastest_e3nn": best, "targets": targets})
    return found


def tensornet(measurer: Measurer) -> list[dict[str, Any]]:
    """TensorNet with the same weights as torchmd-net's, which looks for neighbours itself or is given them."""
    settings = measurer.settings
    root = checkout()
    if root is None:
        raise ConfigError(
            "sciten benchmark tensor-products: comparing with torchmd-net needs workflows/convert_torchmdnet.py, "
            "found none; run it in a checkout of sciten, or without --torchmd-python"
        )
    system = molecules(settings.frames)
    files = {
        "structures": str(measurer.folder / "structures.json"),
        "model": str(measurer.folder / "model.ckpt"),
    }
    system.write(measurer.folder / "structures.json")
    converted = str(measurer.folder / "tensornet")
    peer = Program("torchmd-net", "torchmd_net", python=settings.torchmd_python)
    measurer.bar.set_description("making models")
    with measurer.worker(peer) as worker:
        request = {
            "arguments": settings.tensornet,
            "elements": system.elements,
            "model": files["model"],
            "converted": converted,
            "converter": str(root / "workflows" / "convert_torchmdnet.py"),
        }
        measurer.versions |= {
            k: v for k, v in worker.ask("make", request)["versions"].items() if k != "torch"
        }
    theirs = {"searched": peer.name, "beforehand": f"{peer.name}, neighbours beforehand"}
    programs = [
        Program(OURS, "ours", {"model": converted, "structures": files["structures"]}, cached=True),
        *(
            Program(name, "torchmd_net", {**files, "neighbours": way}, settings.torchmd_python, like=OURS)
            for way, name in theirs.items()
        ),
    ]
    atoms = sum(map(len, system.structures))
    tasks = {task: {"task": task} for task in _TASKS}
    rows = measurer.rows("TensorNet", programs, tasks, "us_per_atom", atoms)
    found = []
    for task, row in rows.items():
        over = ratios(row["programs"], OURS)
        best = min(theirs.values(), key=lambda name: over[name])
        head = {
            "part": "tensornet",
            "title": f"TensorNet, {_TASKS[task]}",
            "task": task,
            "system": system.source,
        }
        targets = [target(f"{best} / {OURS}", over[best], TENSORNET_TARGET)]
        found.append({**head, "atoms": atoms, **row, "ratios": over, "targets": targets})
    return found


def mace(measurer: Measurer) -> list[dict[str, Any]]:
    """MACE with either product: other models, so that their results are not compared."""
    settings = measurer.settings
    system = molecules(settings.frames)
    structures = measurer.folder / "mace.json"
    system.write(structures)
    batch = batch_from_ase(system.structures, 5.0)
    arguments = {
        "elements": system.elements,
        "channels": settings.mace_channels,
        "hidden_lmax": settings.mace_hidden_lmax,
        "cutoff": 5.0,
        "average_neighbors": batch.n_edges / batch.n_atoms,
    }
    request = {"task": "train", "structures": str(structures), "arguments": arguments}
    products = {"MACE, Clebsch-Gordan": "clebsch_gordan", "MACE, Gaunt": "gaunt"}
    programs = [
        Program(name, "mace_products", {**request, "product": product}, cached=True)
        for name, product in products.items()
    ]
    row = measurer.rows("MACE", programs, {"train": {}}, "us_per_atom", batch.n_atoms)["train"]
    title = f"MACE, L = {settings.mace_hidden_lmax}, training step"
    head = {"part": "mace", "title": title, "system": system.source, "atoms": batch.n_atoms}
    return [{**head, **row, "ratios": ratios(row["programs"], "MACE, Clebsch-Gordan"), "targets": []}]
