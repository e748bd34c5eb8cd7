"""Products of features up to degree L: ours, and e3nn's in every way of running it."""

from collections.abc import Sequence
from typing import Any

from sciten.cli.benchmarks.summary import ratios, target
from sciten.cli.benchmarks.tensor_products.rows import Measurer, Program
from sciten.cli.benchmarks.tensor_products.settings import (
    CHANNELWISE_TARGETS,
    FIRST_CALL_DEGREE,
    FIRST_CALL_TARGET,
    GAUNT_TARGETS,
    PASSES,
)

QUANTITY = "ns_per_sample_and_channel"
OURS = "TensorProduct"
#: Ways of running e3nn: as it comes with a recent torch, as TorchScript, and with everything that is timed compiled.
E3NN_MODES = {"eager": "e3nn", "script": "e3nn, TorchScript", "compile": "e3nn, torch.compile"}
#: Products that are cheaper than a Clebsch-Gordan product, and our Clebsch-Gordan products on the same irreps.
ALTERNATIVES = {
    "GauntProduct": ("ClebschGordanProduct", OURS),
    "VectorGauntProduct": ("ClebschGordanProduct, odd paths",),
    "MatrixProduct": ("ClebschGordanProduct, all paths",),
}
SIGNALS = tuple(name for product, peers in ALTERNATIVES.items() for name in (product, *peers) if name != OURS)


def measure(measurer: Measurer) -> list[dict[str, Any]]:
    """A row for each L and pass."""
    found = []
    given_up: dict[str, int] = {}
    for degree in measurer.settings.degrees:
        programs = _programs(measurer, degree, given_up)
        size = {"samples": measurer.settings.samples, "channels": measurer.settings.channels}
        rows = measurer.rows(
            f"L = {degree}",
            programs,
            {name: {"pass": name} for name in PASSES},
            QUANTITY,
            size["samples"] * size["channels"] / 1e3,
        )
        for name, row in rows.items():
            head = {"part": "degrees", "title": f"L = {degree}, {PASSES[name]}", "L": degree, "pass": name}
            row["left_out"] |= {
                E3NN_MODES[mode]: f"not tried: it failed or took too long for L = {at}"
                for mode, at in given_up.items()
            }
            found.append({**head, **size, **row, **_judged(row["programs"], degree, name)})
        for mode, name in E3NN_MODES.items():
            if name in rows["backward"]["left_out"]:
                given_up.setdefault(mode, degree)
    return found


def _programs(measurer: Measurer, degree: int, given_up: dict[str, int]) -> list[Program]:
    settings = measurer.settings
    request = {"lmax": degree, "samples": settings.samples, "channels": settings.channels}
    cached = degree <= FIRST_CALL_DEGREE
    ours = [
        Program(name, "products", {"program": name, **request}, cached=cached) for name in (OURS, *SIGNALS)
    ]
    modes = [mode for mode in E3NN_MODES if mode not in given_up]
    return [*ours, *e3nn_programs(request, OURS, settings.e3nn_limit, modes)]


def e3nn_programs(
    request: dict[str, Any], like: str, limit: float, modes: Sequence[str] = tuple(E3NN_MODES)
) -> list[Program]:
    """e3nn's product of a request, in several ways."""
    return [
        Program(
            E3NN_MODES[mode],
            "products",
            {"program": "e3nn", "mode": mode, **request},
            like=like,
            limit=limit,
        )
        for mode in modes
    ]


def fastest_e3nn(programs: dict[str, Any], quantity: str) -> str | None:
    """The fastest way of running e3nn among those measured; None where there is none."""
    names = [name for name in E3NN_MODES.values() if name in programs]
    return min(names, key=lambda name: float(programs[name][quantity]["median"])) if names else None


def _judged(programs: dict[str, Any], degree: int, name: str) -> dict[str, Any]:
    targets = []
    over = ratios(programs, OURS, QUANTITY)
    best = fastest_e3nn(programs, QUANTITY)
    if name == "backward" and best is not None and degree in CHANNELWISE_TARGETS:
        targets.append(target(f"{best} / {OURS}", over[best], CHANNELWISE_TARGETS[degree]))
    if name == "forward" and degree in GAUNT_TARGETS:
        found = programs["GauntProduct"][QUANTITY]["median"]
        targets.append(target("GauntProduct, ns", found, GAUNT_TARGETS[degree], at_most=True))
    if degree <= FIRST_CALL_DEGREE:
        ours = {product: programs[product]["first_s"] for product in (OURS, *SIGNALS)}
        slowest = max(ours, key=lambda product: float(ours[product]))
        targets.append(target(f"first call of {slowest}, s", ours[slowest], FIRST_CALL_TARGET, at_most=True))
    return {"ratios": over, "fastest_e3nn": best, "targets": targets}
