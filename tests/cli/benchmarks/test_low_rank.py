import json
from itertools import pairwise
from math import log2
from types import ModuleType

import pytest
import torch

from sciten.cli.benchmarks import parts, report
from sciten.cli.benchmarks.low_rank import core_shapes, formats, newton_kernel, pde


@pytest.mark.parametrize("accuracy", [1e-4, 1e-8])
def test_gaussians_are_the_newton_kernel(accuracy: float) -> None:
    kernel = newton_kernel.newton_kernel(1 / 64, accuracy)
    r = torch.logspace(-6, log2(3) / 2, 400, base=2, dtype=torch.float64)
    assert float((kernel.radial(r) * r - 1).abs().max()) < 2 * accuracy


def test_terms_grow_with_the_logarithm_of_the_grid() -> None:
    counts = [len(newton_kernel.newton_kernel(1 / n, 1e-7).weights) for n in (64, 256, 1024, 4096)]
    steps = {b - a for a, b in pairwise(counts)}
    assert min(steps) > 0 and max(steps) - min(steps) <= 1


def test_the_long_range_part_keeps_its_tolerance() -> None:
    (row,) = newton_kernel.measure([32], 1e-5)
    assert row["converged"] and row["relative_error"] <= 1e-5
    assert max(row["ranks"]) <= row["long_range_terms"] < row["terms"] / 2
    assert row["published_rank"] is None


def test_exact_core_shapes_are_never_worse() -> None:
    film = core_shapes.moving_gaussians((12, 10, 4, 6), count=4)
    assert film.shape == (12, 10, 4, 6)
    found = core_shapes.measure(film, [60, 200, 600])
    for row in found["rows"]:
        assert row["exact"]["bound"] <= row["greedy"]["bound"]
        for name in ("greedy", "exact"):
            assert row[name]["size"] <= row["budget"]
            assert row[name]["error"] <= row[name]["bound"] * (1 + 1e-9)
    errors = [row["exact"]["bound"] for row in found["rows"]]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("benchmark", [formats, pde], ids=["formats", "pde"])
def test_small_runs_of_every_part_are_reported(benchmark: ModuleType) -> None:
    seen: list[int] = []
    settings = parts.Settings(rounds=1, small=True)
    document = benchmark.run(
        settings, progress=False, after_part=lambda found: seen.append(len(found["cases"]))
    )
    assert {case["part"] for case in document["cases"]} == set(benchmark.MEASURES)
    assert len(seen) == len(benchmark.MEASURES) and seen[-1] == len(document["cases"])
    assert all(case.get("converged", True) for case in document["cases"])
    table, markdown = report.table(document), report.markdown(document)
    assert all(case["title"] in table and case["title"] in markdown for case in document["cases"])
    json.dumps(document)
