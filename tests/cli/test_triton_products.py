"""What `benchmarks/triton_products.py` does besides running on a GPU."""

import argparse
import sys

import numpy as np
import pytest
import torch

from benchmarks import triton_products
from benchmarks.triton_products import bytes_of_passes, cases, commands, factors, slug
from sciten.cli.benchmarks.processes import Worker, WorkerError
from sciten.cli.benchmarks.workers.triton_products import (
    PROGRAMS,
    fingerprint,
    graph,
    milliseconds,
    passes,
    paths,
)
from sciten.equivariant.products.channelwise import convolution_paths

TINY = {"channels": 3, "lmax": 2, "device": "cpu"}
CONVOLUTION = {"product": "convolution", "n_atoms": 10, "n_neighbours": 5, **TINY}
CONTRACTION = {
    "product": "contraction",
    "n_atoms": 6,
    "n_species": 2,
    "correlation": 2,
    "degrees": [0, 1],
    **TINY,
}


@pytest.mark.parametrize(("n_atoms", "n_neighbours"), [(400, 25), (11, 4)])
def test_the_graph_is_symmetric_and_sorted(n_atoms: int, n_neighbours: int) -> None:
    receivers, senders = graph(n_atoms, n_neighbours)
    edges = list(zip(receivers.tolist(), senders.tolist(), strict=True))
    assert edges == sorted(set(edges)) and len(edges) == n_atoms * n_neighbours
    assert {(s, r) for r, s in edges} == set(edges)
    assert (np.bincount(receivers) == n_neighbours).all() and (receivers != senders).all()


def test_paths_are_those_of_the_convolution() -> None:
    assert paths(3) == [tuple(path) for path in convolution_paths(3, 3, 3)]


def test_e3nn_and_sciten_compute_the_same() -> None:
    ours, theirs = (fingerprint(PROGRAMS[name](CONVOLUTION)) for name in ("sciten", "e3nn"))
    assert factors(theirs, ours, "e3nn") == pytest.approx([1.0] * len(paths(2)), abs=1e-4)
    theirs["projection"][1] *= -1.01
    with pytest.raises(WorkerError, match="other: its paths are not proportional"):
        factors(theirs, ours, "other")


@pytest.mark.parametrize("case", [CONVOLUTION, CONTRACTION])
def test_every_pass_runs(case) -> None:
    product = PROGRAMS["sciten"](case)
    for name, function in passes(product).items():
        found = function()
        if name != "forward":
            assert [g.shape for g in found] == [value.shape for value in product.inputs]
        assert len(milliseconds(function, 2, "cpu")) == 2


def test_what_a_program_lacks_is_said() -> None:
    with pytest.raises(NotImplementedError, match="e3nn has no symmetric contraction"):
        PROGRAMS["e3nn"](CONTRACTION)


def test_passes_move_more_and_more() -> None:
    for case in cases([1, 3], "cuda"):
        least = bytes_of_passes(case)
        assert 0 < least["forward"] < least["backward"] < least["double_backward"]


def test_a_measurement_on_the_cpu() -> None:
    """Everything but the GPU: workers, turns, checks, and the summary."""
    options = argparse.Namespace(rounds=2, calls=2, limit=120.0)
    started = {**commands(None), "nonsense": [sys.executable, "-c", "raise SystemExit('no such program')"]}
    workers = [Worker(name, command, threads=1) for name, command in started.items()]
    try:
        document = triton_products.measure(workers, CONVOLUTION, options)
    finally:
        for worker in workers:
            worker.close()
    assert list(document["left_out"]) == ["nonsense"]
    assert document["programs"]["e3nn"]["factors"] == pytest.approx([1.0] * len(paths(2)), abs=1e-4)
    summary = triton_products.summarised(document, bytes_per_second=1e12)
    ours = summary["programs"]["sciten"]
    assert ours["times_of_sciten"] == dict.fromkeys(triton_products.PASSES, 1.0)
    assert 0 <= ours["fraction_of_roofline"]["forward"] < 1
    assert set(ours["versions"]) == {"sciten", "triton", "torch"}
    assert any("nonsense left out" in row for row in triton_products.rows(summary))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_refuses() -> None:
    with pytest.raises(SystemExit, match="expected a CUDA device to time kernels on, and torch finds none"):
        triton_products.main([])


def test_the_device_names_the_file() -> None:
    assert slug("NVIDIA H100 80GB HBM3") == "nvidia_h100_80gb_hbm3"


def test_peers_run_in_their_own_environment() -> None:
    assert list(commands(None)) == ["sciten", "e3nn"]
    started = commands("/peers/python")
    assert started["cuequivariance"][0] == started["openequivariance"][0] == "/peers/python"
    assert started["sciten"][0] == started["e3nn"][0] == sys.executable
