"""Products of features up to degree L: ours, and e3nn's in every way of running it."""

from collections.abc import Sequence
from typing import Any

from sciten.cli.benchmarks.summary import FIRST_CALL_TARGET, ratios, target
from sciten.cli.benchmarks.tensor_products.rows import Measurer, Program
from sciten.cli.benchmarks.tensor_products.settings import (
    CHANNELWISE_TARGETS,
    FIRST_CALL_DEGREE,
    GAUNT_TARGETS,
    PASSES,
)

QUANTITY = "ns_per_sample_and_channel"
OURS = "TensorProduct"
#: Ways of running e3nn: as it comes with a recent torch, as TorchScript, and with everything that is timed compiled.
E3NN_MODES = {"eager": "e3nn", "script": "e3nn, TorchScript", "compile": "e3nn, torch.compile"}
#: Our Clebsch-Gordan products: the paths that each has, with a weight for each path and channel.
CHANNELWISE = {OURS: "even", f"{OURS}, odd paths": "odd", f"{OURS}, all paths": "all"}
#: Products without weights on paths, and the Clebsch-Gordan product of the same irreps and channels.
ALTERNATIVES = {
    "GauntProduct": OURS,
    "GauntProduct, fourier": OURS,
    "VectorGauntProduct": f"{OURS}, odd paths",
    "MatrixProduct": f"{OURS}, all paths",
}
#: Products that compute the same as another one of ours.
_ALIKE = {"GauntProduct, fourier": "GauntProduct"}
#: For people who read the times.
COMPARED = (
    f'{OURS}: mode "uuu", a weight for each path and channel, in time (with its gradient) and in expressivity; '
    "other products: the same irreps and channels, no weights; expressivity: of single channels, between linear maps "
    "that mix no degrees and are not timed"
)


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
    wanted = {name: {"program": OURS, "paths": paths} for name, paths in CHANNELWISE.items()}
    wanted |= {name: {"program": name} for name in ALTERNATIVES}
    cached = degree <= FIRST_CALL_DEGREE
    ours = [
        Program(name, "products", {**details, **request}, like=_ALIKE.get(name), cached=cached)
        for name, details in wanted.items()
    ]
    modes = [mode for mode in E3NN_MODES if mode not in given_up]
    theirs = {"paths": CHANNELWISE[OURS], **request}
    return [*ours, *e3nn_programs(theirs, OURS, settings.e3nn_limit, modes)]


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
        ours = {product: programs[product]["first_s"] for product in (*CHANNELWISE, *ALTERNATIVES)}
        slowest = max(ours, key=lambda product: float(ours[product]))
        targets.append(target(f"first call of {slowest}, s", ours[slowest], FIRST_CALL_TARGET, at_most=True))
    return {"ratios": over, "fastest_e3nn": best, "targets": targets}
