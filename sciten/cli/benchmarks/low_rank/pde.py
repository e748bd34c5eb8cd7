"""Stationary problems: beside torchTT, and beside exact solutions."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from sciten.cli.benchmarks import parts
from sciten.cli.benchmarks.low_rank.contest import Program, contest
from sciten.cli.benchmarks.low_rank.problems import drift_diffusion, poisson
from sciten.cli.benchmarks.parts import Measure, Settings
from sciten.cli.benchmarks.summary import at_most, target
from sciten.pde import (
    DMRG,
    AMEn,
    Bits,
    Dirichlet,
    Grid,
    Neumann,
    Problem,
    divergence,
    gradient,
    laplacian,
    solve,
)
from sciten.pde.assemble import assemble
from sciten.pde.hamiltonians import gaussian, henon_heiles
from sciten.pde.quantised.vectors import polynomial
from sciten.pde.solvers.solution import relative_residual
from sciten.tensor import TensorTrain

#: Tolerances that programs are tried at, as multiples of the residual they have to reach.
_TRIED = (1.0, 0.5, 0.2, 0.1, 0.03, 0.01, 1e-3)
QUESTION = "low-rank solvers of stationary problems: time at equal true residual, and true errors"


def run(
    settings: Settings,
    *,
    progress: bool = True,
    after_part: Callable[[dict[str, Any]], object] | None = None,
) -> dict[str, Any]:
    """Measure, and return a document for JSON; `after_part` is given what there is so far after every part."""
    return parts.run(QUESTION, MEASURES, settings, progress=progress, after_part=after_part)


def _peers(settings: Settings, *, all_ways: bool) -> list[Program]:
    """torchTT: with and without its preconditioner and its C++; or the way that is best for variable coefficients."""
    python = settings.peer_python
    if python is None:
        return []
    preconditioned = [
        Program("torchTT, C++, preconditioned", python, {"cpp": True, "preconditioner": "c"}, threads)
        for threads in (1, 2)
    ]
    if not all_ways:
        return preconditioned
    plain = [
        Program(
            f"torchTT, {'C++' if cpp else 'Python'}", python, {"cpp": cpp, "preconditioner": None}, threads
        )
        for cpp in (True, False)
        for threads in (1, 2)
    ]
    return preconditioned + plain


def _ours(solver: str) -> list[Program]:
    return [Program("sciten", options={"solver": solver}, threads=threads) for threads in (1, 2)]


def _poisson(settings: Settings, bar: tqdm) -> list[dict[str, Any]]:
    rows = []
    for d in (3,) if settings.small else (3, 6, 10):
        matrix, right_side, axes = poisson(d, 8 if settings.small else 64)
        trains = {"matrix": matrix.cores, "right_side": right_side.cores, "axis": axes}
        for solver in ("ExponentialSums", "AMEn"):
            row = contest(
                f"-Δu = 1, d = {d}, {solver}",
                [*_ours(solver), *_peers(settings, all_ways=True)],
                trains,
                {"task": "solve"},
                tolerances=[1e-8 * share for share in _TRIED],
                good=_within(matrix, right_side, 1e-8),
                rounds=settings.rounds,
                limit=settings.limit,
                bar=bar,
            )
            if solver == "AMEn" and row["ratios"]:
                fastest = min(ratio for name, ratio in row["ratios"].items() if "C++" in name)
                row["targets"] = [target("torchTT, C++ / sciten", fastest, 2.0)]
            rows.append({"part": "poisson", "d": d, **row})
    return rows


def _drift(settings: Settings, bar: tqdm) -> list[dict[str, Any]]:
    rows = []
    for d in (3,) if settings.small else (4, 5, 6):
        matrix, right_side = drift_diffusion(d, 8 if settings.small else 64)
        row = contest(
            f"-∇·(k∇u) + b·∇u = 1, d = {d}",
            [*_ours("AMEn"), *_peers(settings, all_ways=False)],
            {"matrix": matrix.cores, "right_side": right_side.cores},
            {"task": "solve"},
            tolerances=[1e-6 * share for share in _TRIED],
            good=_within(matrix, right_side, 1e-6),
            rounds=settings.rounds,
            limit=settings.limit,
            bar=bar,
        )
        fastest = _fastest_peer(row)
        if fastest is not None:
            row["targets"] = [target("fastest torchTT / sciten", fastest, 2.0)]
        rows.append({"part": "drift", "d": d, **row})
    return rows


def _within(
    matrix: TensorTrain, right_side: TensorTrain, limit: float
) -> Callable[[Mapping[str, Any], TensorTrain | None], tuple[bool, dict[str, Any]]]:
    def good(reply: Mapping[str, Any], answer: TensorTrain | None) -> tuple[bool, dict[str, Any]]:
        if answer is None:
            return False, {}
        residual = relative_residual(matrix, answer, right_side)
        return residual <= limit, {"true_residual": residual, "largest_rank": max(answer.ranks)}

    return good


def _bits(settings: Settings, bar: tqdm) -> list[dict[str, Any]]:
    """-u″ = 1, u(0) = 0, u′(1) = 0: u = x - x²/2, on up to 2^30 points."""
    rows = []
    for levels in (4, 6) if settings.small else (10, 15, 20, 25, 30):
        bar.set_description(f"-u″ = 1 on 2^{levels} points")
        grid = Grid.uniform([(0.0, 1.0)], 2**levels, [(Dirichlet(), Neumann())])
        call = partial(solve, Problem(-laplacian(grid), 1.0), format=Bits(), solver=AMEn(1e-12))
        seconds, solution = _timed(call, settings.rounds)
        axis = grid.axes[0]
        exact = polynomial(levels, [0.0, 1.0, -0.5], axis.first, axis.spacing)
        error = float((solution.field - exact).norm() / exact.norm())
        row: dict[str, Any] = {
            "part": "bits",
            "title": f"-u″ = 1, u(0) = 0, u′(1) = 0, 2^{levels} points",
            "programs": {
                "sciten": {"ms": _median_ms(seconds), "error": error, "residual": solution.residual}
            },
            "converged": solution.converged,
            "largest_rank": max(solution.ranks),
            "published": "ttpy 2 at 2^30 with BPX: error 1.8e-13, 0.51 s; without: error 1.03",
        }
        row["targets"] = [
            {
                "what": "relative L2 error",
                "found": error,
                "goal": 1e-11,
                "at_most": True,
                "met": error <= 1e-11,
            },
            target("seconds", _median_ms(seconds)["median"] / 1e3, 1.0, at_most=True),
        ]
        rows.append(row)
    return rows


def _plane(settings: Settings, bar: tqdm) -> list[dict[str, Any]]:
    """-∇·k∇u = 1 on 256² points in bits."""

    def waves(x: Tensor) -> Tensor:
        return 1 + 0.5 * torch.sin(2 * torch.pi * x[:, 0]) * torch.sin(2 * torch.pi * x[:, 1])

    def quadrants(x: Tensor) -> Tensor:
        return torch.where((x[:, 0] < 0.5) == (x[:, 1] < 0.5), 1.0, 10.0).to(torch.float64)

    published = {"1": 0.13, "1 + ½ sin(2πx) sin(2πy)": 0.30, "quadrants {1, 10}": 0.69}
    rows = []
    coefficients: Sequence[Any] = (1.0, waves, quadrants)
    for (name, theirs), k in zip(published.items(), coefficients, strict=True):
        bar.set_description(f"-∇·k∇u = 1, k = {name}")
        grid = Grid.uniform([(0.0, 1.0)] * 2, 16 if settings.small else 256)
        problem = Problem(-divergence(k, gradient(grid)), 1.0)
        call = partial(solve, problem, format=Bits(), solver=AMEn(3e-9))
        seconds, solution = _timed(call, settings.rounds)
        rows.append(
            {
                "part": "plane",
                "title": f"-∇·k∇u = 1 on 256² points, solved in whole dimensions and split into bits, k = {name}",
                "programs": {"sciten": {"ms": _median_ms(seconds), "true_residual": solution.residual}},
                "converged": solution.converged,
                "largest_rank": max(solution.ranks),
                "published": f"ttpy 2: {theirs} s",
                "targets": [at_most("true residual", solution.residual, 3e-9)],
            }
        )
    return rows


def _oscillators(settings: Settings, bar: tqdm) -> list[dict[str, Any]]:
    """Hénon-Heiles: the state at the origin; two dimensions beside dense diagonalisation, ten by a larger rank."""
    rows = []
    for f in (2,) if settings.small else (2, 4, 6, 8, 10):
        bar.set_description(f"Hénon-Heiles, f = {f}")
        operator = henon_heiles(f)
        matrix = assemble(operator).matrix
        rough, fine = DMRG(1e-4, follow=True), DMRG(2e-6, follow=True)
        first = rough.lowest(matrix, start=gaussian(operator.grid))[0]
        call = partial(fine.lowest, matrix, start=gaussian(operator.grid))
        seconds, (state,) = _timed(call, settings.rounds)
        row: dict[str, Any] = {
            "part": "oscillators",
            "title": f"Hénon-Heiles, f = {f}, sine DVR 32 on [-9, 9]",
            "programs": {"sciten": {"ms": _median_ms(seconds), "residual": state.residual}},
            "energy": state.energy,
            "converged": state.converged,
            "largest_rank": max(state.ranks),
            "rougher": {"energy": first.energy, "largest_rank": max(first.ranks), "residual": first.residual},
        }
        if f == 2:
            exact = float(torch.linalg.eigvalsh(matrix.full().reshape(32**2, 32**2))[0])
            row["targets"] = [
                at_most("error against dense diagonalisation", abs(state.energy - exact), 1e-10)
            ]
        else:
            change = abs(state.energy - first.energy)
            row["targets"] = [at_most("change of the energy from the rank of a rougher search", change, 1e-6)]
        rows.append(row)
    return rows


def _fastest_peer(row: Mapping[str, Any]) -> float | None:
    """The least ratio to ours; where all peers were stopped, what it is at least."""
    if row["ratios"]:
        return float(min(row["ratios"].values()))
    stopped = [p["stopped_s"] for p in row["programs"].values() if "stopped_s" in p]
    ours = min(p["ms"]["median"] for p in row["programs"].values() if "ms" in p)
    return 1e3 * min(stopped) / ours if stopped else None


def _timed(call: Callable[[], Any], rounds: int) -> tuple[list[float], Any]:
    found, seconds = call(), []
    for _ in range(rounds):
        start = time.perf_counter()
        found = call()
        seconds.append(time.perf_counter() - start)
    return seconds, found


def _median_ms(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(1e3 * s for s in seconds)
    return {
        "min": round(ordered[0], 2),
        "median": round(ordered[len(ordered) // 2], 2),
        "max": round(ordered[-1], 2),
    }


#: The parts of the benchmark, by name.
MEASURES: Mapping[str, Measure] = {
    "poisson": _poisson,
    "drift": _drift,
    "bits": _bits,
    "plane": _plane,
    "oscillators": _oscillators,
}
